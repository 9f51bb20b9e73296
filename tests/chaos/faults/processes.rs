//! Processes that are killed or stopped.

use crate::chaos::fault::{Fault, Step};
use crate::chaos::scene::Scene;
use crate::support::sys;

/// kill -9, and a start on the same folder.
#[derive(Debug)]
pub(crate) struct Killed {
    everyone: Everyone,
    killed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Everyone {
    Dies,
    ButTheLeaderLives,
}

impl Killed {
    pub(crate) fn leader() -> Self {
        Self { everyone: Everyone::ButTheLeaderLives, killed: 0 }
    }

    pub(crate) fn all() -> Self {
        Self { everyone: Everyone::Dies, killed: 0 }
    }
}

impl Fault for Killed {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            match self.everyone {
                Everyone::Dies => {
                    self.killed = scene.cluster.alive().len() as u64;
                    scene.cluster.kill_all_at_once();
                }
                Everyone::ButTheLeaderLives => {
                    let leader = scene.leader().await;
                    scene.cluster.kill(leader);
                    self.killed = 1;
                }
            }
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            scene.cluster.start_all();
            self.killed
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Leader,
    Follower,
    Agent,
    Watchdog,
}

/// SIGSTOP and SIGCONT.
#[derive(Debug)]
pub(crate) struct Stopped {
    who: Who,
    pid: i32,
    seen_stopped: u64,
}

impl Stopped {
    fn new(who: Who) -> Self {
        Self { who, pid: 0, seen_stopped: 0 }
    }

    pub(crate) fn leader() -> Self {
        Self::new(Who::Leader)
    }

    pub(crate) fn follower() -> Self {
        Self::new(Who::Follower)
    }

    pub(crate) fn agent() -> Self {
        Self::new(Who::Agent)
    }

    pub(crate) fn watchdog() -> Self {
        Self::new(Who::Watchdog)
    }

    async fn pid(&self, scene: &mut Scene) -> i32 {
        let worker = scene.busy_worker();
        match self.who {
            Who::Leader => {
                let leader = scene.leader().await;
                scene.cluster.replica(leader).process.pid()
            }
            Who::Follower => {
                let follower = scene.followers().await[0];
                scene.cluster.replica(follower).process.pid()
            }
            Who::Agent => scene.cluster.worker(worker).agent(),
            Who::Watchdog => scene.cluster.worker(worker).watchdog(),
        }
    }
}

fn is_stopped(pid: i32) -> bool {
    sys::seen(pid).is_some_and(|seen| seen.state == 'T')
}

impl Fault for Stopped {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            // Its agent kills a watchdog that does not answer, and says so.
            scene.cluster.expected_errors.extend(["the watchdog does not answer", "the watchdog is gone"]);
            self.pid = self.pid(scene).await;
            assert!(sys::signal(self.pid, libc::SIGSTOP), "{self:?} is gone");
            crate::support::wait_until("the stop", crate::support::PATIENCE, || async {
                is_stopped(self.pid).then_some(())
            })
            .await;
            self.seen_stopped = 1;
        })
    }

    fn heal<'a>(&'a mut self, _scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            if is_stopped(self.pid) {
                sys::signal(self.pid, libc::SIGCONT);
            }
            self.seen_stopped
        })
    }
}
