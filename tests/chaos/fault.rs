//! What can go wrong, each with its name, what it needs, and how it is made and mended.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::chaos::faults::{clock, damage, disks, links, membership, processes, restarts};
use crate::chaos::means::Need;
use crate::chaos::scene::{LEASE_TTL, Scene};

pub(crate) type Step<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One thing that goes wrong. `inject` and `heal` go on while clients and tasks do.
pub(crate) trait Fault: Debug {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()>;

    /// Mends it, and says how often it really happened.
    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64>;
}

/// Where a fault hits; one of replicas and one of workers may happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Replicas,
    /// Attempts are interrupted by it.
    Workers,
    /// A replica and a worker, both of them well. It happens alone.
    Between,
}

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) place: Place,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    pub(crate) replicas: u64,
    pub(crate) make: fn() -> Box<dyn Fault>,
}

const SHORT: Duration = Duration::from_millis(1500);
/// Long enough for a worker to be given up.
const PAST_LEASE: Duration = Duration::from_millis(LEASE_TTL.as_millis() as u64 + 2000);
/// The fault is a story of its own, which is over when it is injected; a moment more, for what shows late.
const OVER: Duration = Duration::from_millis(500);

const fn row(name: &'static str, needs: &'static [Need], lasts: Duration, make: fn() -> Box<dyn Fault>) -> Row {
    Row { name, needs, place: Place::Replicas, lasts, replicas: 3, make }
}

const fn at_workers(row: Row) -> Row {
    Row { place: Place::Workers, ..row }
}

const fn between(row: Row) -> Row {
    Row { place: Place::Between, ..row }
}

const fn of_five(row: Row) -> Row {
    Row { replicas: 5, ..row }
}

/// Every fault there is.
pub(crate) const MATRIX: &[Row] = &[
    row("leader killed", &[], SHORT, || Box::new(processes::Killed::leader())),
    row("all replicas killed", &[], Duration::from_millis(200), || Box::new(processes::Killed::all())),
    row("leader stopped", &[], SHORT, || Box::new(processes::Stopped::leader())),
    row("follower stopped", &[], SHORT, || Box::new(processes::Stopped::follower())),
    at_workers(row("agent stopped", &[], PAST_LEASE, || Box::new(processes::Stopped::agent()))),
    at_workers(row("watchdog stopped", &[], PAST_LEASE, || Box::new(processes::Stopped::watchdog()))),
    row("leader cut off", &[Need::Network], SHORT, || Box::new(links::Broken::leader())),
    row("leader heard by nobody", &[Need::Network], SHORT, || Box::new(links::Broken::leader_unheard())),
    row("leader hears nobody", &[Need::Network], SHORT, || Box::new(links::Broken::leader_deaf())),
    row("bridge partition", &[Need::Network], SHORT, || Box::new(links::Broken::bridge())),
    of_five(row("bridge partition of five", &[Need::Network], SHORT, || Box::new(links::Broken::bridge()))),
    at_workers(row("worker cut off", &[Need::Network], PAST_LEASE, || Box::new(links::Broken::worker()))),
    between(row("worker cut off from the leader", &[Need::Network], PAST_LEASE, || {
        Box::new(links::CutFromLeader::new())
    })),
    row("packet loss of 30 %", &[Need::Network], Duration::from_secs(3), || Box::new(links::Broken::lossy())),
    row("link of 200 ms", &[Need::Network, Need::LinkDelay], Duration::from_secs(3), || Box::new(links::Slow::new())),
    row("clock jumps", &[Need::Faketime], SHORT, || Box::new(clock::Jumping::new())),
    at_workers(row("a worker's clock jumps", &[Need::Faketime], OVER, || Box::new(clock::WorkersJumping::new()))),
    row("disk full", &[Need::Disks], SHORT, || Box::new(disks::Full::new())),
    row("fsync error", &[Need::Strace], SHORT, || Box::new(disks::FsyncFails::new())),
    row("disk stalled", &[Need::Disks, Need::Fsfreeze], Duration::from_secs(3), || Box::new(disks::Stalled::new())),
    row("disk read-only", &[Need::Disks], SHORT, || Box::new(disks::ReadOnly::new())),
    row("replica replaced", &[], OVER, || Box::new(membership::Replaced::new())),
    row("follower far behind", &[], OVER, || Box::new(restarts::FarBehind::new())),
    row("bit flip in the log", &[], OVER, || Box::new(damage::Damage::flip_in_log())),
    row("torn tail of the log", &[], OVER, || Box::new(damage::Damage::torn_log())),
    row("bit flip in a snapshot", &[], OVER, || Box::new(damage::Damage::flip_in_snapshot())),
    row("torn tail of a snapshot", &[], OVER, || Box::new(damage::Damage::torn_snapshot())),
    row("ten restarts", &[], OVER, || Box::new(restarts::Restarts::new(10))),
    row("a hundred restarts", &[], OVER, || Box::new(restarts::Restarts::new(100))),
    of_five(row("two of five lost", &[], SHORT, || Box::new(membership::TwoLost::new()))),
    row("two clusters, one address", &[Need::Network], SHORT, || Box::new(membership::Stranger::new())),
];

/// The quick and telling ones: what every test run can afford, in this order.
pub(crate) const SHARE: &[&str] = &[
    "leader killed",
    "leader stopped",
    "leader cut off",
    "leader hears nobody",
    "bridge partition",
    "worker cut off",
    "agent stopped",
    "watchdog stopped",
    "fsync error",
    "disk full",
    "disk read-only",
    "clock jumps",
    "bit flip in a snapshot",
    "torn tail of the log",
    "replica replaced",
    "ten restarts",
    "all replicas killed",
    "two of five lost",
];

impl Row {
    /// What keeps this machine from it.
    pub(crate) fn absent(&self) -> Option<&'static str> {
        self.needs.iter().find_map(|need| need.absent())
    }
}

pub(crate) fn row_named(name: &str) -> &'static Row {
    MATRIX.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("there is no fault {name:?}"))
}
