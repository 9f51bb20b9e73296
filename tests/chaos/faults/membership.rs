//! Replicas that are lost for good, replaced, or not what they seem.

use std::ffi::OsString;

use crate::chaos::fault::{Fault, Step};
use crate::chaos::scene::Scene;
use crate::support::process::{Process, flags, path};
use crate::support::{PATIENCE, wait_until};

/// A replica's machine is gone; a new one takes its place under a new id.
#[derive(Debug)]
pub(crate) struct Replaced {
    replaced: u64,
}

impl Replaced {
    pub(crate) fn new() -> Self {
        Self { replaced: 0 }
    }
}

impl Fault for Replaced {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let all = scene.cluster.alive();
            let old = scene.chance.pick(&all);
            scene.replace(old).await;
            self.replaced += 1;
        })
    }

    fn heal<'a>(&'a mut self, _scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move { self.replaced })
    }
}

/// The leader and another one of five.
#[derive(Debug)]
pub(crate) struct TwoLost {
    lost: u64,
}

impl TwoLost {
    pub(crate) fn new() -> Self {
        Self { lost: 0 }
    }
}

impl Fault for TwoLost {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let victims = [scene.leader().await, scene.followers().await[0]];
            for id in victims {
                scene.cluster.kill(id);
                self.lost += 1;
            }
            // Three of five go on.
            scene.load.goes_on(20, PATIENCE).await;
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            scene.cluster.start_all();
            self.lost
        })
    }
}

/// A replica of another cluster is started by mistake where one of ours was, with the same id and address.
#[derive(Debug)]
pub(crate) struct Stranger {
    process: Option<Process>,
    refused: u64,
}

impl Stranger {
    pub(crate) fn new() -> Self {
        Self { process: None, refused: 0 }
    }
}

/// Either side says which cluster it belongs to.
const REFUSED: &str = "this is cluster";
/// Clients and workers stay with the true one.
const STRANGERS_PORT: u16 = 7071;
/// What a replica logs that knows its cluster's name.
const NAMED: &str = "the replica belongs to a cluster";

/// A process on the host and with the peer address of replica `id`: a cluster of one with a folder of its own.
fn stranger(scene: &mut Scene, id: u64) -> Process {
    let (data, log) = (scene.cluster.dir.join("stranger"), scene.cluster.dir.join("stranger.log"));
    let _ = (std::fs::remove_dir_all(&data), std::fs::remove_file(&log));
    let http = format!("{}:{STRANGERS_PORT}", scene.cluster.host_of(id).unwrap().address);
    let replica = scene.cluster.replica(id);
    let (number, data, cluster) = (id.to_string(), path(&data), format!("{id}={}", replica.peer));
    let mut args: Vec<OsString> = vec!["serve".into(), "--exit-with-stdin".into(), "--insecure".into()];
    args.extend(flags(&[("--id", &number), ("--data", &data), ("--http", &http), ("--peer", &replica.peer)]));
    args.extend(flags(&[("--cluster", &cluster)]));
    let mut process = Process::new("stranger", args, log);
    process.wrapper.clone_from(&replica.process.wrapper);
    process
}

fn refusals(scene: &Scene, stranger: &Process) -> u64 {
    let ours = scene.cluster.replicas.values().map(|replica| replica.process.log_text());
    ours.chain([stranger.log_text()]).map(|log| log.matches(REFUSED).count() as u64).sum()
}

impl Fault for Stranger {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let id = scene.followers().await[0];
            scene.cluster.kill(id);
            // It finds its name before the two clusters meet.
            let own = scene.host_name(id);
            let others: Vec<String> = scene.cluster.alive().into_iter().map(|id| scene.host_name(id)).collect();
            others.iter().for_each(|other| scene.network().drop_packets(other, &own));
            let mut process = stranger(scene, id);
            process.start();
            wait_until("a second cluster", PATIENCE, || async { process.log_text().contains(NAMED).then_some(()) })
                .await;
            let before = refusals(scene, &process);
            scene.network().heal();
            wait_until("a refusal", PATIENCE, || async { (refusals(scene, &process) > before).then_some(()) }).await;
            self.refused = refusals(scene, &process) - before;
            self.process = Some(process);
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            let mut process = self.process.take().unwrap();
            process.kill();
            assert!(!process.log_text().contains("panicked"), "{}", process.log_tail());
            scene.cluster.start_all();
            self.refused
        })
    }
}
