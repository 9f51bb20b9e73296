//! Disks that are full, that fail to sync, that stall, and that turn read-only.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::chaos::fault::{Fault, Step};
use crate::chaos::scene::Scene;
use crate::support::{PATIENCE, note, sys};

/// What a replica says when it stops because of its disk.
const GIVES_UP: [&str; 2] = ["can't go on", "storage failed"];

/// Half of the time the leader's disk, else a follower's.
async fn victim(scene: &mut Scene) -> u64 {
    match scene.chance.below(2) {
        0 => scene.leader().await,
        _ => scene.followers().await[0],
    }
}

/// How much the replica had logged before.
fn logged(scene: &Scene, id: u64) -> usize {
    scene.cluster.replicas[&id].process.log_text().len()
}

/// A replica that can't write must end by itself, and say why, rather than go on.
async fn gives_up(scene: &mut Scene, id: u64, logged_before: usize) {
    let process = &mut scene.cluster.replica(id).process;
    let status = process.wait_exit(PATIENCE).await;
    let log = process.log_since(logged_before);
    assert!(!status.success() && log.contains("can't go on"), "replica {id} ended with {status}:\n{log}");
}

/// All space of the disk is taken, and given back.
#[derive(Debug)]
pub(crate) struct Full {
    id: u64,
    taken: u64,
    logged_before: usize,
}

impl Full {
    pub(crate) fn new() -> Self {
        Self { id: 0, taken: 0, logged_before: 0 }
    }
}

impl Fault for Full {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            scene.cluster.expected_errors.extend(GIVES_UP);
            self.id = victim(scene).await;
            self.logged_before = logged(scene, self.id);
            self.taken = scene.disks().fill(self.id);
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            // It may live on what space sled had taken before, or have ended; both are right.
            let ended = scene.cluster.replica(self.id).process.exited();
            note(&format!("the full disk's replica {}", ended.map_or("lived on".into(), |status| status.to_string())));
            if ended.is_some() {
                let log = scene.cluster.replica(self.id).process.log_since(self.logged_before);
                assert!(log.contains("can't go on") && log.contains("No space left"), "{log}");
            }
            scene.disks().free(self.id);
            u64::from(self.taken > 0)
        })
    }
}

/// `fsync` and `fdatasync` fail: what was written may be lost, and the next success would tell nothing about it.
#[derive(Debug)]
pub(crate) struct FsyncFails {
    id: u64,
    strace: Option<Child>,
    log: PathBuf,
}

impl FsyncFails {
    pub(crate) fn new() -> Self {
        Self { id: 0, strace: None, log: PathBuf::new() }
    }

    fn detach(&mut self) {
        if let Some(mut strace) = self.strace.take() {
            // It lets go of the replica, should that still live.
            sys::signal(i32::try_from(strace.id()).unwrap(), libc::SIGTERM);
            strace.wait().unwrap();
        }
    }
}

impl Drop for FsyncFails {
    fn drop(&mut self) {
        self.detach();
    }
}

impl Fault for FsyncFails {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            scene.cluster.expected_errors.extend(GIVES_UP);
            self.id = victim(scene).await;
            self.log = scene.cluster.dir.join(format!("strace-{}", self.id));
            let _ = std::fs::remove_file(&self.log);
            let logged_before = logged(scene, self.id);
            let pid = scene.cluster.replica(self.id).process.pid().to_string();
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"]);
            command.arg("-o").arg(&self.log).args(["-p", &pid]);
            self.strace = Some(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
            gives_up(scene, self.id, logged_before).await;
        })
    }

    fn heal<'a>(&'a mut self, _scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            self.detach();
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            log.matches("(INJECTED)").count() as u64
        })
    }
}

/// Every write waits.
#[derive(Debug)]
pub(crate) struct Stalled {
    id: u64,
}

impl Stalled {
    pub(crate) fn new() -> Self {
        Self { id: 0 }
    }
}

impl Fault for Stalled {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            self.id = victim(scene).await;
            scene.disks().freeze(self.id);
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            // Some thread of the replica waits for the disk, or nothing was stalled.
            let pid = scene.cluster.replica(self.id).process.pid();
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            let states = threads.filter_map(|thread| sys::seen(thread.file_name().to_str()?.parse().ok()?));
            let waiting = states.filter(|seen| seen.state == 'D').count() as u64;
            scene.disks().thaw();
            waiting
        })
    }
}

/// The kernel has found an error and makes the file system read-only.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    id: u64,
    happened: u64,
}

impl ReadOnly {
    pub(crate) fn new() -> Self {
        Self { id: 0, happened: 0 }
    }
}

impl Fault for ReadOnly {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            scene.cluster.expected_errors.extend(GIVES_UP);
            self.id = victim(scene).await;
            let logged_before = logged(scene, self.id);
            scene.disks().make_read_only(self.id).unwrap();
            gives_up(scene, self.id, logged_before).await;
            self.happened = u64::from(scene.disks().is_read_only(self.id));
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            scene.disks().mount_again(self.id);
            self.happened
        })
    }
}
