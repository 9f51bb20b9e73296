//! The kinds of faults.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A replica's process is killed.
    Kill,
    /// The leader's process is killed.
    KillLeader,
    /// A replica's machine loses power, and with it what was not synced.
    PowerCut,
    /// All of them at once.
    PowerCutAll,
    /// A process is stopped and goes on later.
    Pause,
    PauseLeader,
    /// A replica is cut off from everybody.
    Isolate,
    IsolateLeader,
    /// The leader is cut off from the other replicas, and from nobody else.
    IsolateFromPeers,
    /// One replica does not hear another one, which hears it.
    OneWay,
    /// Two replicas can't talk to each other; both can to the third.
    Bridge,
    /// Messages between two hosts are lost and sent again.
    Loss,
    SlowLink,
    /// Firewalls reject what other replicas send to the leader: to them it looks like a process that ended.
    Reject,
    /// Requests of clients come twice, as from a proxy that sends again what it has no answer to.
    Duplicate,
    /// A wall clock jumps, forward or back, by up to a day.
    WallClock,
    SlowDisk,
    /// A disk fails its syncs: the replica must stop by itself.
    SyncFails,
    /// A disk is full: the replica must stop by itself.
    DiskFull,
    /// The leader hands over.
    Transfer,
    /// A worker's agent is killed; its watchdog lives.
    AgentKilled,
    /// Agent and watchdog are killed at the same instant.
    WorkerKilled,
    WatchdogKilled,
    AgentPaused,
    WatchdogPaused,
    /// A worker is cut off from everybody.
    WorkerCutOff,
    /// A replica's machine is gone for good: it is removed from the cluster, and a new replica with a new id
    /// and an empty disk takes its place.
    Replace,
    /// A replica more joins the cluster.
    Grow,
    /// A replica is removed from a cluster that has grown; it must stop by itself.
    Shrink,
    /// A replica loses power, and a bit of what its disk keeps changes.
    BitFlip,
}

impl Fault {
    pub const ALL: [Self; 30] = [
        Self::Kill,
        Self::KillLeader,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Pause,
        Self::PauseLeader,
        Self::Isolate,
        Self::IsolateLeader,
        Self::IsolateFromPeers,
        Self::OneWay,
        Self::Bridge,
        Self::Loss,
        Self::SlowLink,
        Self::Reject,
        Self::Duplicate,
        Self::WallClock,
        Self::SlowDisk,
        Self::SyncFails,
        Self::DiskFull,
        Self::Transfer,
        Self::AgentKilled,
        Self::WorkerKilled,
        Self::WatchdogKilled,
        Self::AgentPaused,
        Self::WatchdogPaused,
        Self::WorkerCutOff,
        Self::Replace,
        Self::Grow,
        Self::Shrink,
        Self::BitFlip,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
