//! The simulation finds bugs: each one that is planted, within a stated number of seeds.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it did")]

use std::time::{Duration, Instant};

use quorate_sim::{Fault, Options, run};
use quorate_types::planted::{Bug, plant};

/// With which faults a bug shows, and in how many runs at most.
fn hunt(bug: Bug) -> (Vec<Fault>, u64) {
    let worker_and_leader = vec![Fault::WorkerCutOff, Fault::IsolateFromPeers, Fault::AgentPaused, Fault::KillLeader];
    match bug {
        Bug::AcknowledgeBeforeSync => (vec![Fault::PowerCutAll, Fault::PowerCut, Fault::SlowDisk], 4),
        Bug::VoteNotSynced => (vec![Fault::PowerCutAll, Fault::PowerCut, Fault::Bridge, Fault::Kill], 30),
        Bug::PurgeWithoutSnapshot => (vec![Fault::Kill, Fault::PowerCut], 2),
        Bug::DedupNotInSnapshot => (Fault::ALL.to_vec(), 1),
        Bug::ReadWithoutBarrier => (vec![Fault::Isolate, Fault::OneWay, Fault::SlowLink, Fault::Pause], 2),
        Bug::DeposedLeaderAcknowledges | Bug::NoGraceAfterTakeover | Bug::NoLeaseMargin => (worker_and_leader, 10),
        Bug::StopNotAwaited => (vec![Fault::SlowLink], 10),
        Bug::StaleAssignment | Bug::StaleReport => (Fault::ALL.to_vec(), 10),
        Bug::HashOrder | Bug::CapacityIgnored => (Fault::ALL.to_vec(), 1),
        Bug::EventsLostAtInstall => (vec![Fault::Isolate, Fault::Pause], 10),
        Bug::ReportsLostAtReconnect => (vec![Fault::Kill, Fault::SlowLink, Fault::Isolate], 4),
    }
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("QUORATE_SIM_BUG").ok();
    let mut missed = Vec::new();
    for bug in Bug::ALL.iter().copied().filter(|bug| only.as_ref().is_none_or(|only| format!("{bug:?}") == *only)) {
        let (faults, seeds) = hunt(bug);
        plant(Some(bug));
        let started = Instant::now();
        let found = (1..=seeds).find_map(|seed| {
            let trouble = Duration::from_secs(60);
            run(&Options { seed, trouble, faults: faults.clone(), ..Options::default() }).err()
        });
        plant(None);
        match found {
            Some(failure) => println!("{bug:?} by {failure} ({:.1?})", started.elapsed()),
            None => {
                println!("{bug:?} MISSED ({:.1?})", started.elapsed());
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
