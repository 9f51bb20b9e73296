//! What goes wrong, when, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_types::{ReplicaId, Timestamp};

use crate::chance::Chance;
use crate::disk::Trouble;
use crate::network::Host;
use crate::node::Node;
use crate::replica::Fate;
use crate::worker::Worker;
use crate::world::World;

pub use self::kind::Fault;

mod kind;
mod members;

const CALM_MIN: Duration = Duration::from_millis(500);
const CALM_MAX: Duration = Duration::from_secs(12);
const LASTS_MIN: Duration = Duration::from_millis(200);
const LASTS_MAX: Duration = Duration::from_secs(9);
/// A replica that has stopped by itself is started again after this.
const REPAIR: Duration = Duration::from_secs(2);
/// How many requests come twice while some do.
const DOUBLES_PERMILLE: u32 = 300;
const DAY_MILLIS: usize = 24 * 3600 * 1000;

/// What ends a fault.
#[derive(Clone, Debug)]
enum Heal {
    Start(ReplicaId),
    Resume(ReplicaId),
    Mend(Host, Host),
    /// Requests come once again.
    Once,
    FastDisk(ReplicaId),
    RightClock(ReplicaId),
    Repair(ReplicaId),
    /// Somebody looks at a replica whose disk may be damaged.
    Inspect(ReplicaId),
    StartWorker(String),
    ResumeAgent(String),
    ResumeWatchdog(String),
}

/// Makes faults and heals them.
pub(crate) struct Faults {
    chance: Chance,
    kinds: Vec<Fault>,
    next: Duration,
    heals: BTreeMap<(Duration, u64), Heal>,
    made: u64,
    pub(crate) counts: BTreeMap<Fault, u64>,
}

impl Faults {
    pub(crate) fn new(mut chance: Chance, kinds: Vec<Fault>) -> Self {
        let next = Duration::from_secs(3) + chance.between(CALM_MIN, CALM_MAX);
        Self { chance, kinds, next, heals: BTreeMap::new(), made: 0, counts: BTreeMap::new() }
    }

    /// Makes and heals what is due.
    pub(crate) fn on_time(&mut self, world: &mut World) {
        while let Some(((at, n), heal)) = self.heals.first_key_value().map(|(key, heal)| (*key, heal.clone()))
            && at <= world.now
        {
            self.heals.remove(&(at, n));
            self.heal(world, heal);
        }
        if world.now < self.next {
            return;
        }
        self.next = world.now + self.chance.between(CALM_MIN, CALM_MAX);
        let Some(fault) = self.chance.pick(&self.kinds).copied() else { return };
        if self.make(world, fault).is_some() {
            *self.counts.entry(fault).or_default() += 1;
        }
    }

    /// Heals everything, and starts what is down.
    pub(crate) fn heal_all(&mut self, world: &mut World) {
        for heal in std::mem::take(&mut self.heals).into_values() {
            self.heal(world, heal);
        }
        world.network.heal();
        self.next = Duration::MAX;
    }

    fn later(&mut self, world: &World, heal: Heal) {
        let at = world.now + self.chance.between(LASTS_MIN, LASTS_MAX);
        self.made += 1;
        self.heals.insert((at, self.made), heal);
    }

    fn victim(&mut self, world: &World) -> Option<ReplicaId> {
        let up: Vec<ReplicaId> = world.replicas.values().filter(|r| r.is_well()).map(|r| r.id).collect();
        self.chance.pick(&up).copied()
    }

    /// A worker that nothing has happened to. Agent and watchdog both stopped is outside the promise.
    fn worker(&mut self, world: &World) -> Option<String> {
        let well = |worker: &&Worker| worker.is_up() && !worker.is_agent_paused() && !worker.is_watchdog_paused();
        let names: Vec<String> = world.workers.values().filter(well).map(|worker| worker.name.clone()).collect();
        self.chance.pick(&names).cloned()
    }

    /// Two different replicas.
    fn pair(&mut self, world: &World) -> Option<(Host, Host)> {
        let hosts: Vec<Host> = world.replicas.values().map(|replica| replica.host).collect();
        if hosts.len() < 2 {
            return None;
        }
        let first = self.chance.below(hosts.len());
        let second = (first + 1 + self.chance.below(hosts.len() - 1)) % hosts.len();
        Some((*hosts.get(first)?, *hosts.get(second)?))
    }

    /// `None` if there is nobody to whom it could happen now.
    fn make(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        match fault {
            Fault::Kill | Fault::KillLeader => self.kill(world, fault),
            Fault::PowerCut => {
                let id = self.victim(world)?;
                self.cut_power(world, id);
                Some(())
            }
            Fault::PowerCutAll => {
                let ids: Vec<ReplicaId> = world.replicas.values().filter(|r| r.is_up()).map(|r| r.id).collect();
                ids.into_iter().for_each(|id| self.cut_power(world, id));
                Some(())
            }
            Fault::Pause | Fault::PauseLeader => self.pause(world, fault),
            Fault::Isolate | Fault::IsolateLeader | Fault::IsolateFromPeers => self.isolate(world, fault),
            Fault::OneWay | Fault::Bridge => self.divide(world, fault),
            Fault::Loss | Fault::SlowLink => self.disturb(world, fault),
            Fault::Reject => self.reject(world),
            Fault::Duplicate => {
                world.trace.line(format_args!("{fault}: what clients send"));
                world.doubles_permille = DOUBLES_PERMILLE;
                self.later(world, Heal::Once);
                Some(())
            }
            Fault::WallClock => self.turn_clock(world),
            Fault::SlowDisk | Fault::SyncFails | Fault::DiskFull => self.spoil_disk(world, fault),
            Fault::Transfer => {
                let id = world.leader()?;
                world.trace.line(format_args!("{fault}: from replica {id}"));
                world.replica(id).hand_over();
                Some(())
            }
            Fault::AgentKilled | Fault::WorkerKilled | Fault::WatchdogKilled => self.kill_on_worker(world, fault),
            Fault::AgentPaused | Fault::WatchdogPaused => self.pause_on_worker(world, fault),
            Fault::WorkerCutOff => {
                let name = self.worker(world)?;
                let own = world.worker(&name).0.host;
                world.trace.line(format_args!("{fault}: {name}"));
                self.cut_off(world, own, world.hosts());
                Some(())
            }
            Fault::Replace | Fault::Grow | Fault::Shrink => self.change_members(world, fault),
            Fault::BitFlip => self.flip_bit(world),
        }
    }

    fn kill(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let id = if fault == Fault::Kill { self.victim(world)? } else { world.leader()? };
        world.trace.line(format_args!("{fault}: replica {id}"));
        world.replica(id).kill();
        self.later(world, Heal::Start(id));
        Some(())
    }

    fn pause(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let id = if fault == Fault::Pause { self.victim(world)? } else { world.leader()? };
        world.trace.line(format_args!("{fault}: replica {id}"));
        world.replica(id).node.as_mut()?.pause();
        self.later(world, Heal::Resume(id));
        Some(())
    }

    fn isolate(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let id = if fault == Fault::Isolate { self.victim(world)? } else { world.leader()? };
        let own = world.replica(id).host;
        world.trace.line(format_args!("{fault}: replica {id}"));
        let from = match fault {
            Fault::IsolateFromPeers => world.replicas.values().map(|replica| replica.host).collect(),
            _ => world.hosts(),
        };
        self.cut_off(world, own, from);
        Some(())
    }

    fn divide(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let (from, to) = self.pair(world)?;
        world.trace.line(format_args!("{fault}: from {from} to {to}"));
        self.cut(world, from, to);
        if fault == Fault::Bridge {
            self.cut(world, to, from);
        }
        Some(())
    }

    fn disturb(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let (from, to) = self.pair(world)?;
        if fault == Fault::Loss {
            let loss = 50 + self.chance.below(400) as u32;
            world.trace.line(format_args!("{fault}: {loss} in a thousand from {from} to {to}"));
            world.network.lose(from, to, loss);
        } else {
            let slow = self.chance.between(Duration::from_millis(10), Duration::from_millis(300));
            world.trace.line(format_args!("{fault}: {slow:?} from {from} to {to}"));
            world.network.slow_down(from, to, slow);
        }
        self.later(world, Heal::Mend(from, to));
        Some(())
    }

    /// At least one of the others believes that the leader's process has ended.
    fn reject(&mut self, world: &mut World) -> Option<()> {
        let leader = world.leader()?;
        let to = world.replica(leader).host;
        let mut others: Vec<Host> = world.replicas.values().map(|r| r.host).filter(|host| *host != to).collect();
        let spared = self.chance.below(others.len() + 1);
        if others.len() > 1 && spared < others.len() {
            others.remove(spared);
        }
        world.trace.line(format_args!("{}: {others:?} by the leader {leader}", Fault::Reject));
        for from in others {
            world.network.reject(from, to);
            self.later(world, Heal::Mend(from, to));
        }
        Some(())
    }

    fn turn_clock(&mut self, world: &mut World) -> Option<()> {
        let id = self.victim(world)?;
        let jump = self.chance.below(2 * DAY_MILLIS) as i64 - DAY_MILLIS as i64;
        let shows = Timestamp(world.wall_clock().0.saturating_add_signed(jump));
        world.trace.line(format_args!("{}: replica {id} by {jump} ms", Fault::WallClock));
        world.replica(id).node.as_ref()?.machine.set_wall_clock(shows);
        self.later(world, Heal::RightClock(id));
        Some(())
    }

    fn spoil_disk(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let id = self.victim(world)?;
        world.trace.line(format_args!("{fault}: replica {id}"));
        let trouble = match fault {
            Fault::DiskFull => Trouble::Full,
            Fault::SyncFails => Trouble::SyncFails,
            _ => {
                let slow = self.chance.between(Duration::from_millis(5), Duration::from_millis(400));
                world.replica(id).node.as_ref()?.machine.set_slow_disk(slow);
                self.later(world, Heal::FastDisk(id));
                return Some(());
            }
        };
        world.replica(id).disk.set_trouble(trouble);
        self.made += 1;
        self.heals.insert((world.now + LASTS_MAX, self.made), Heal::Repair(id));
        Some(())
    }

    fn kill_on_worker(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let name = self.worker(world)?;
        let (worker, physical) = world.worker(&name);
        match fault {
            Fault::AgentKilled => worker.kill_agent(),
            Fault::WatchdogKilled => worker.kill_watchdog(physical).then_some(())?,
            _ => worker.kill_all(physical),
        }
        world.trace.line(format_args!("{fault}: {name}"));
        // An agent starts another watchdog by itself.
        if fault != Fault::WatchdogKilled {
            self.later(world, Heal::StartWorker(name));
        }
        Some(())
    }

    fn pause_on_worker(&mut self, world: &mut World, fault: Fault) -> Option<()> {
        let name = self.worker(world)?;
        world.trace.line(format_args!("{fault}: {name}"));
        let worker = world.worker(&name).0;
        let heal = if fault == Fault::AgentPaused {
            worker.pause_agent();
            Heal::ResumeAgent(name)
        } else {
            worker.pause_watchdog();
            Heal::ResumeWatchdog(name)
        };
        self.later(world, heal);
        Some(())
    }

    fn cut_off(&mut self, world: &World, own: Host, from: Vec<Host>) {
        for other in from.into_iter().filter(|other| *other != own) {
            self.cut(world, own, other);
            self.cut(world, other, own);
        }
    }

    fn cut_power(&mut self, world: &mut World, id: ReplicaId) {
        let mut chance = self.chance.clone();
        let lost = world.replica(id).cut_power(&mut chance);
        self.chance = chance;
        world.trace.line(format_args!("replica {id} loses power, and {lost} writes"));
        self.later(world, Heal::Start(id));
    }

    fn cut(&mut self, world: &World, from: Host, to: Host) {
        world.network.cut(from, to);
        self.later(world, Heal::Mend(from, to));
    }

    fn heal(&mut self, world: &mut World, heal: Heal) {
        world.trace.line(format_args!("healed: {heal:?}"));
        let right = world.wall_clock();
        let there = |world: &World, id| world.replicas.get(&id).is_some_and(|replica| replica.fate != Fate::Gone);
        match heal {
            Heal::Start(id) if there(world, id) && !world.replica(id).is_up() => world.start(id),
            Heal::Start(_) => {}
            Heal::Resume(id) => {
                if let Some(node) = world.replicas.get_mut(&id).and_then(|replica| replica.node.as_mut()) {
                    node.resume();
                }
            }
            Heal::Mend(from, to) => world.network.mend(from, to),
            Heal::Once => world.doubles_permille = 0,
            Heal::FastDisk(id) => {
                if let Some(node) = node_of(world, id) {
                    node.machine.set_slow_disk(Duration::ZERO);
                }
            }
            Heal::RightClock(id) => {
                if let Some(node) = node_of(world, id) {
                    node.machine.set_wall_clock(right);
                }
            }
            Heal::StartWorker(name) if !world.worker(&name).0.is_up() => world.start_worker(&name),
            Heal::StartWorker(_) => {}
            Heal::ResumeAgent(name) => world.worker(&name).0.resume_agent(),
            Heal::ResumeWatchdog(name) => world.worker(&name).0.resume_watchdog(),
            Heal::Inspect(id) => Self::inspect(world, id),
            Heal::Repair(id) if there(world, id) => {
                // By now it must have stopped by itself, if it wanted to write. Its machine is started again.
                if world.replica(id).goes_on_regardless() {
                    world.complaint = Some(format!("replica {id} goes on although its disk failed"));
                }
                let mut chance = self.chance.clone();
                world.replica(id).cut_power(&mut chance);
                self.chance = chance;
                self.made += 1;
                self.heals.insert((world.now + REPAIR, self.made), Heal::Start(id));
            }
            Heal::Repair(_) => {}
        }
    }
}

fn node_of(world: &World, id: ReplicaId) -> Option<&Node> {
    world.replicas.get(&id)?.node.as_ref()
}
