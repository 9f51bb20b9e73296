//! Bugs that can be planted, to see that the simulation finds them. Only builds with the feature `planted`
//! have any of them, and there only the threads that ask for one.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A small change that breaks a promise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name),+
        }

        impl Bug {
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

bugs! {
    /// The log says that it is durable before it is synced.
    AcknowledgeBeforeSync,
    /// A vote is remembered only for as long as the process lives.
    VoteNotStored,
    /// The log is purged although the snapshot was never written.
    PurgeWithoutSnapshot,
    /// A snapshot leaves out which proposals were applied already.
    DedupNotInSnapshot,
    /// A linearizable read does not ask the leader.
    ReadWithoutBarrier,
    /// A leader that may be deposed acknowledges heartbeats.
    DeposedLeaderAcknowledges,
    /// A new leader gives workers no time to be heard of.
    NoGraceAfterTakeover,
    /// A worker uses its lease up to the end, and beyond by what killing takes.
    NoLeaseMargin,
    /// A task that is moved away is placed again before its worker has stopped it.
    StopNotAwaited,
    /// An assignment is taken although its task is not waiting for one.
    StaleAssignment,
    /// A report counts whatever attempt it is of.
    StaleReport,
    /// Events come in the order of a hash map.
    HashOrder,
    /// A follower that installs a snapshot passes over what happened meanwhile.
    EventsLostAtInstall,
    /// Reports that were under way when a session broke are not sent again.
    ReportsLostAtReconnect,
    /// A worker is given more than it has.
    CapacityIgnored,
    /// A snapshot gets its name before its content is synced.
    SnapshotNotSynced,
    /// What is read from the disk is believed whatever its checksum is.
    ChecksumIgnored,
    /// What a task needs counts as done when it starts.
    NeedsOnlyStarted,
    /// A replica that was removed is not told so.
    RemovedNotTold,
    /// A linearizable read shows what was there before it asked the leader, and calls it new.
    ReadBeforeBarrier,
    /// A namespace gets more than its limit.
    LimitIgnored,
    /// More is given of a counted resource of the cluster than there is.
    ResourceOvercommitted,
    /// A worker starts at once what is to wait for another's end.
    LineIgnored,
    /// A tick of a schedule that nobody could act on at once is left out.
    LateTickLost,
    /// A lock goes to the next one when its holder is told to end, not when it has ended.
    LockFreedEarly,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread, or removes it.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the bug is there.
#[cfg(feature = "planted")]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether the bug is there. It is not.
#[cfg(not(feature = "planted"))]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
