//! Links that lose packets, all of them or some, one way or both, and links that are slow.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::chaos::fault::{Fault, Step};
use crate::chaos::means::link_delay;
use crate::chaos::scene::Scene;
use crate::support::{PATIENCE, wait_until};

#[derive(Clone, Copy, Debug)]
enum Which {
    Leader,
    LeaderUnheard,
    LeaderDeaf,
    Bridge,
    Worker,
    Lossy,
}

/// Packets are lost in silence.
#[derive(Debug)]
pub(crate) struct Broken {
    which: Which,
}

const LOSS_PERCENT: u8 = 30;

impl Broken {
    pub(crate) fn leader() -> Self {
        Self { which: Which::Leader }
    }

    /// Its own packets are lost.
    pub(crate) fn leader_unheard() -> Self {
        Self { which: Which::LeaderUnheard }
    }

    /// The others' packets to it are lost.
    pub(crate) fn leader_deaf() -> Self {
        Self { which: Which::LeaderDeaf }
    }

    /// Two sides that reach one replica between them, but not each other; the leader is on one of the sides.
    pub(crate) fn bridge() -> Self {
        Self { which: Which::Bridge }
    }

    pub(crate) fn worker() -> Self {
        Self { which: Which::Worker }
    }

    pub(crate) fn lossy() -> Self {
        Self { which: Which::Lossy }
    }
}

impl Fault for Broken {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let leader = scene.leader().await;
            let leader = scene.host_name(leader);
            let others: Vec<String> = scene.followers().await.into_iter().map(|id| scene.host_name(id)).collect();
            let worker = scene.busy_worker();
            let network = scene.network();
            match self.which {
                Which::Leader => others.iter().for_each(|other| {
                    network.drop_packets(other, &leader);
                    network.drop_packets(&leader, other);
                }),
                Which::LeaderUnheard => others.iter().for_each(|other| network.drop_packets(&leader, other)),
                Which::LeaderDeaf => others.iter().for_each(|other| network.drop_packets(other, &leader)),
                Which::Bridge => {
                    let half = others.len() / 2;
                    let (near, far) = (&others[1..half], &others[half.max(1)..]);
                    for one in near.iter().chain([&leader]) {
                        for other in far {
                            network.drop_packets(one, other);
                            network.drop_packets(other, one);
                        }
                    }
                }
                Which::Worker => others.iter().chain([&leader]).for_each(|replica| {
                    network.drop_packets(replica, worker);
                    network.drop_packets(worker, replica);
                }),
                Which::Lossy => others.iter().for_each(|other| {
                    network.lose_packets(other, &leader, LOSS_PERCENT);
                    network.lose_packets(&leader, other, LOSS_PERCENT);
                }),
            }
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move { scene.network().heal() })
    }
}

/// A worker loses the leader, with which its session is, and nobody else: it goes on through the others.
#[derive(Debug)]
pub(crate) struct CutFromLeader {
    worker: &'static str,
    /// How long the worker's log was before.
    said: usize,
}

impl CutFromLeader {
    pub(crate) fn new() -> Self {
        Self { worker: "", said: 0 }
    }
}

impl Fault for CutFromLeader {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            self.worker = scene.busy_worker();
            let through = scene.replica_of(self.worker);
            scene.make_leader(through).await;
            self.said = scene.cluster.workers[self.worker].process.log_text().len();
            let leader = scene.host_name(through);
            scene.network().drop_packets(&leader, self.worker);
            scene.network().drop_packets(self.worker, &leader);
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            let said = scene.cluster.workers[self.worker].process.log_since(self.said);
            assert!(said.contains("resumed=true"), "{} did not go on elsewhere: {said}", self.worker);
            scene.network().heal()
        })
    }
}

/// What the leader and one follower tell each other arrives late.
#[derive(Debug)]
pub(crate) struct Slow {
    relay: Option<Child>,
    /// The two hosts, and by which addresses they are reached otherwise.
    ends: Vec<(String, String)>,
}

const DELAY: &str = "0.2";
const ENDS: [&str; 2] = ["10.79.0.1", "10.79.0.2"];
/// Longer than any fault: the relay does not stay behind whatever happens.
const RELAY_LIFE: Duration = Duration::from_secs(60);

impl Slow {
    pub(crate) fn new() -> Self {
        Self { relay: None, ends: Vec::new() }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if let Some(relay) = &mut self.relay {
            let _ = relay.kill();
            let _ = relay.wait();
        }
    }
}

impl Fault for Slow {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let ids = [scene.leader().await, scene.followers().await[0]];
            let end = |id: u64| (scene.host_name(id), scene.cluster.host_of(id).unwrap().address.clone());
            self.ends = ids.into_iter().map(end).collect();
            let network = scene.network();
            let mut command = Command::new("python3");
            command.arg(link_delay().unwrap());
            for ((name, _), end) in self.ends.iter().zip(ENDS) {
                command.args([network.namespace(name), format!("{end}/24")]);
            }
            command.args([DELAY, DELAY, "0"]).arg(RELAY_LIFE.as_secs().to_string());
            self.relay = Some(command.stdin(Stdio::null()).spawn().unwrap());
            for (at, to) in [(0, 1), (1, 0)] {
                let ((name, own), (_, other)) = (&self.ends[at], &self.ends[to]);
                let route = format!("route add {other}/32 via {} dev delay0 src {own}", ENDS[to]);
                let words: Vec<&str> = route.split(' ').collect();
                wait_until("the slow link", PATIENCE, || async { network.inside(name, "ip", &words).ok() }).await;
            }
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            let network = scene.network();
            // /sys shows the network of who mounted it, so the counter comes from /proc.
            let table = network.inside(&self.ends[0].0, "cat", &["/proc/net/dev"]).unwrap();
            let row = table.lines().find_map(|line| line.trim().strip_prefix("delay0:")).unwrap_or_default();
            let received = row.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
            for ((name, _), (_, other)) in self.ends.iter().zip(self.ends.iter().rev()) {
                let _ = network.inside(name, "ip", &["route", "del", &format!("{other}/32")]);
            }
            if let Some(mut relay) = self.relay.take() {
                let _ = relay.kill();
                let _ = relay.wait();
            }
            received
        })
    }
}
