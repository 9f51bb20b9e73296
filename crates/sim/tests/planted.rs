//! The simulation finds bugs: each one that is planted, within a stated number of seeds, by runs that find
//! nothing without it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it did")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quorate_sim::{Failure, Fault, Kind, Options, run};
use quorate_types::planted::{Bug, plant};

/// With which faults a bug shows, and in how many runs at most.
fn hunt(bug: Bug) -> (Vec<Fault>, u64) {
    let worker_and_leader = vec![Fault::WorkerCutOff, Fault::IsolateFromPeers, Fault::AgentPaused, Fault::KillLeader];
    match bug {
        Bug::AcknowledgeBeforeSync => {
            let slow = Fault::SlowDisk;
            (vec![Fault::PowerCutAll, Fault::PowerCut, slow, slow, slow], 80)
        }
        Bug::VoteNotStored => (vec![Fault::PowerCutAll, Fault::PowerCut, Fault::Bridge, Fault::Kill], 10),
        Bug::PurgeWithoutSnapshot => (vec![Fault::Kill, Fault::PowerCut], 4),
        Bug::ReadWithoutBarrier => (vec![Fault::Isolate, Fault::OneWay, Fault::SlowLink, Fault::Pause], 4),
        Bug::DeposedLeaderAcknowledges | Bug::NoGraceAfterTakeover | Bug::NoLeaseMargin => (worker_and_leader, 20),
        Bug::StopNotAwaited => (vec![Fault::SlowLink], 30),
        Bug::StaleAssignment => (vec![Fault::SlowDisk, Fault::SlowLink, Fault::Transfer], 60),
        Bug::EventsLostAtInstall => (vec![Fault::Isolate, Fault::Pause], 20),
        Bug::ReportsLostAtReconnect => (vec![Fault::Kill, Fault::SlowLink, Fault::Isolate], 10),
        Bug::SnapshotNotSynced => (vec![Fault::PowerCut, Fault::PowerCutAll], 10),
        Bug::ChecksumIgnored => (vec![Fault::BitFlip], 40),
        Bug::NeedsOnlyStarted => (vec![Fault::SlowLink], 4),
        Bug::RemovedNotTold => (vec![Fault::Grow, Fault::Shrink, Fault::Isolate, Fault::Kill], 10),
        Bug::ReadBeforeBarrier => (vec![Fault::SlowLink, Fault::Isolate], 60),
        Bug::StaleReport => (Fault::ALL.to_vec(), 20),
        Bug::DedupNotInSnapshot | Bug::HashOrder | Bug::CapacityIgnored | Bug::ResourceOvercommitted => {
            (Fault::ALL.to_vec(), 4)
        }
        Bug::LineIgnored => (vec![Fault::SlowLink], 10),
        Bug::LateTickLost => (vec![Fault::KillLeader, Fault::SlowLink, Fault::Transfer, Fault::IsolateFromPeers], 20),
        Bug::LockFreedEarly => (vec![Fault::SlowLink, Fault::AgentPaused, Fault::KillLeader], 20),
        Bug::LimitIgnored => (vec![Fault::KillLeader, Fault::SlowLink, Fault::Transfer], 60),
    }
}

/// What is wrong in one run, if anything is.
fn look(bug: Bug, seed: u64, faults: &[Fault]) -> Option<Box<Failure>> {
    let trouble = Duration::from_secs(60);
    // The numbers of seeds are those of runs without, but for the bugs of whoever has them.
    let services = matches!(bug, Bug::LateTickLost | Bug::LockFreedEarly);
    let options = Options { seed, trouble, faults: faults.to_vec(), services, ..Options::default() };
    run(&options).err().filter(|failure| matches!(failure.kind, Kind::Violated | Kind::Stuck))
}

/// What came of the hunt for a bug, and whether it was found.
fn hunt_for(bug: Bug) -> (String, bool) {
    let (faults, seeds) = hunt(bug);
    let started = Instant::now();
    plant(Some(bug));
    let found = (1..=seeds).find_map(|seed| look(bug, seed, &faults));
    plant(None);
    let Some(found) = found else { return (format!("{bug:?} MISSED ({:.1?})", started.elapsed()), false) };
    if let Some(failure) = look(bug, found.report.seed, &faults) {
        return (format!("{bug:?}: {failure}, and no bug was planted"), false);
    }
    (format!("{bug:?}: {:?} by {found} ({:.1?})", found.kind, started.elapsed()), true)
}

/// On all cores: a bug is planted for its thread alone.
#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("QUORATE_SIM_BUG").ok();
    let is_meant = |bug: &Bug| only.as_ref().is_none_or(|only| format!("{bug:?}") == *only);
    let bugs: Vec<Bug> = Bug::ALL.iter().copied().filter(is_meant).collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (said, found) = hunt_for(*bug);
                    println!("{said}");
                    if !found {
                        missed.lock().unwrap().push(said);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
