//! Files of a stopped replica that are not what it wrote.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::chaos::fault::{Fault, Step};
use crate::chaos::scene::Scene;
use crate::support::{LOOK_EVERY, PATIENCE, note, wait_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Log,
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    BitFlip,
    TornTail,
}

/// The replica must refuse its folder with a clear message, or mend itself with what its peers have.
#[derive(Debug)]
pub(crate) struct Damage {
    what: What,
    how: How,
    id: u64,
    logged_before: usize,
    damaged: u64,
}

/// What a replica says that can't go on with what it has.
const REFUSALS: [&str; 3] = ["is damaged", "that speaks of damage", "can't go on"];
/// How much of the end is torn off, at most.
const TORN_MAX: u64 = 2000;
/// Damage that is noticed only while the replica runs is noticed within this, or goes unpunished.
const LOOK_FOR: Duration = Duration::from_secs(2);

impl Damage {
    fn new(what: What, how: How) -> Self {
        Self { what, how, id: 0, logged_before: 0, damaged: 0 }
    }

    pub(crate) fn flip_in_log() -> Self {
        Self::new(What::Log, How::BitFlip)
    }

    pub(crate) fn torn_log() -> Self {
        Self::new(What::Log, How::TornTail)
    }

    pub(crate) fn flip_in_snapshot() -> Self {
        Self::new(What::Snapshot, How::BitFlip)
    }

    pub(crate) fn torn_snapshot() -> Self {
        Self::new(What::Snapshot, How::TornTail)
    }

    /// The file to damage, if it is there yet.
    fn file(&self, data: &Path) -> Option<PathBuf> {
        let mut files = files_below(data).into_iter();
        match self.what {
            What::Log => files.find(|file| file.ends_with("db") && file.is_file()),
            What::Snapshot => {
                let index = |file: &PathBuf| file.file_stem()?.to_str()?.split('-').next()?.parse::<u64>().ok();
                files.filter(|file| file.extension().is_some_and(|ext| ext == "snap")).max_by_key(index)
            }
        }
    }

    fn damage(&self, path: &Path, scene: &mut Scene) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        // What follows the last byte of all was never written.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        match self.how {
            How::BitFlip => {
                let at = scene.chance.below(used);
                let flipped = bytes[at as usize] ^ (1 << scene.chance.below(8));
                file.write_all_at(&[flipped], at).unwrap();
                note(&format!("bit flip at {at} of {used} in {}", path.display()));
            }
            How::TornTail => {
                let length = used - 1 - scene.chance.below(TORN_MAX.min(used - 1));
                file.set_len(length).unwrap();
                note(&format!("cut to {length} of {used} bytes: {}", path.display()));
            }
        }
        file.sync_all().unwrap();
    }

    /// Whether the replica refused to go on. If it did not, it serves.
    async fn refuses(&self, scene: &mut Scene) -> bool {
        let api = scene.at(self.id);
        let replica = std::sync::Mutex::new(scene.cluster.replica(self.id));
        let ended = || replica.lock().unwrap().process.exited();
        let ended = wait_until("the damaged replica to end or to serve", PATIENCE, || async {
            match ended() {
                Some(status) => Some(Some(status)),
                None => api.try_get("/readyz").await.filter(|answer| answer.status == 200).map(|_| None),
            }
        })
        .await;
        let until = Instant::now() + LOOK_FOR;
        let mut ended = ended;
        while ended.is_none() && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            ended = replica.lock().unwrap().process.exited();
        }
        let Some(status) = ended else { return false };
        let log = replica.lock().unwrap().process.log_since(self.logged_before);
        assert!(!status.success(), "it says that all is well: {status}\n{log}");
        assert!(REFUSALS.iter().any(|said| log.contains(said)), "no clear message: {status}\n{log}");
        true
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

impl Fault for Damage {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            scene.cluster.expected_errors.extend(["damaged", "can't go on"]);
            self.id = scene.followers().await[0];
            let data = scene.cluster.replicas[&self.id].data.clone();
            wait_until("a file to damage", PATIENCE * 2, || async { self.file(&data) }).await;
            scene.cluster.kill(self.id);
            let file = self.file(&data).unwrap();
            self.damage(&file, scene);
            self.damaged += 1;
            self.logged_before = scene.cluster.replicas[&self.id].process.log_text().len();
            scene.cluster.replica(self.id).process.start();
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            let refused = self.refuses(scene).await;
            note(if refused { "the damaged replica refused" } else { "the damaged replica serves" });
            if refused {
                scene.replace(self.id).await;
            }
            self.damaged
        })
    }
}
