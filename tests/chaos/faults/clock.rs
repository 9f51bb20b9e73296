//! Wall clocks that jump by hours, there and back: a replica's, as it leads and as it follows, and a worker's.

use crate::chaos::fault::{Fault, Step};
use crate::chaos::means::faketime;
use crate::chaos::scene::Scene;
use crate::support::process::path;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// In seconds, both ways.
const SHIFTS: [&str; 4] = ["+9000", "-9000", "+20000", "-300"];
/// How long it leads with each of them.
const REIGN: Duration = Duration::from_millis(500);
const SECONDS_PER_DAY: u64 = 86_400;
/// Less than any of the shifts, more than any delay.
const NOTABLE: u64 = 120;

/// The replica is started with a clock that can be shifted, made the leader, whose clock stamps the log, and jumps.
#[derive(Debug)]
pub(crate) struct Jumping {
    id: u64,
    file: PathBuf,
    jumps: u64,
}

impl Jumping {
    pub(crate) fn new() -> Self {
        Self { id: 0, file: PathBuf::new(), jumps: 0 }
    }

    /// Starts the replica anew with this environment.
    async fn start(&self, scene: &mut Scene, env: Vec<(String, String)>) {
        scene.cluster.kill(self.id);
        scene.cluster.replica(self.id).process.env = env;
        scene.cluster.restart(self.id).await;
    }
}

/// The same for a worker, which counts its lease by another clock.
#[derive(Debug)]
pub(crate) struct WorkersJumping {
    worker: &'static str,
    file: PathBuf,
    jumps: u64,
}

impl WorkersJumping {
    pub(crate) fn new() -> Self {
        Self { worker: "", file: PathBuf::new(), jumps: 0 }
    }

    /// Kills the agent, and starts it anew with this environment.
    async fn start(&self, scene: &mut Scene, env: Vec<(String, String)>) {
        let process = &mut scene.cluster.worker(self.worker).process;
        process.kill();
        process.env = env;
        process.start();
        scene.cluster.any().worker_is(self.worker, "ready").await;
    }
}

impl Fault for WorkersJumping {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            self.worker = scene.busy_worker();
            self.file = scene.cluster.dir.join(format!("clock-{}", self.worker));
            std::fs::write(&self.file, "+0").unwrap();
            self.start(scene, environment(&self.file)).await;
            let process = &scene.cluster.workers[self.worker].process;
            let (agent, said) = (process.pid(), process.log_text().len());
            for shift in SHIFTS {
                std::fs::write(&self.file, shift).unwrap();
                tokio::time::sleep(REIGN).await;
                let maps = std::fs::read_to_string(format!("/proc/{agent}/maps")).unwrap_or_default();
                self.jumps += u64::from(maps.contains("libfaketime"));
            }
            let said = scene.cluster.workers[self.worker].process.log_since(said);
            assert!(!said.contains("the lease ran out"), "the lease counts by the wall clock: {said}");
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            self.start(scene, Vec::new()).await;
            self.jumps
        })
    }
}

fn environment(file: &std::path::Path) -> Vec<(String, String)> {
    let pairs = [
        ("LD_PRELOAD", path(&faketime().unwrap())),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_TIMESTAMP_FILE", path(file)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The time of day that a replica puts on its answers, in seconds.
async fn time_of_day(scene: &Scene, id: u64) -> Option<u64> {
    let answer = scene.at(id).try_get("/livez").await?;
    let clock = answer.header("date").split(' ').find(|word| word.contains(':'))?.to_owned();
    let parts: Vec<u64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
    parts.iter().copied().reduce(|whole, part| whole * 60 + part)
}

/// How far the replica's clock is from the true one, around the day.
async fn is_shifted(scene: &Scene, id: u64) -> bool {
    let Some(shown) = time_of_day(scene, id).await else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % SECONDS_PER_DAY;
    let apart = now.abs_diff(shown);
    apart.min(SECONDS_PER_DAY - apart) > NOTABLE
}

impl Fault for Jumping {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            self.id = scene.followers().await[0];
            self.file = scene.cluster.dir.join(format!("clock-{}", self.id));
            std::fs::write(&self.file, "+0").unwrap();
            self.start(scene, environment(&self.file)).await;
            for shift in SHIFTS {
                std::fs::write(&self.file, shift).unwrap();
                // A leader looks at the wall clock when it takes over.
                let other = scene.cluster.ids().into_iter().find(|id| *id != self.id).unwrap();
                scene.make_leader(other).await;
                scene.make_leader(self.id).await;
                tokio::time::sleep(REIGN).await;
                self.jumps += u64::from(is_shifted(scene, self.id).await);
            }
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            std::fs::write(&self.file, "+0").unwrap();
            self.start(scene, Vec::new()).await;
            self.jumps
        })
    }
}
