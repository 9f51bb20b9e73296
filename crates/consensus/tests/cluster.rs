//! Three replicas and more in one process.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Cluster, eventually, job_of, small_limits, submit};
use quorate_consensus::{
    FatalError, Limits, MembershipError, Planner, ProposeError, Role, StartError, Status, Version,
};
use quorate_state::command::{Command, Entry};
use quorate_state::outcome::Outcome;
use quorate_types::ReplicaId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_takes_proposals_and_reads_them() {
    let cluster = Cluster::start(3).await;
    let mut jobs = Vec::new();
    for round in 0..30 {
        let replica = cluster.handle(round % 3);
        let committed = replica.propose(submit(100)).await.unwrap();
        let job = job_of(&committed.outcome);
        for reader in cluster.running() {
            let version = reader.read_barrier().await.unwrap();
            assert!(version.index >= committed.index);
            assert!(version.state.knows_job(job), "a read began after the answer and does not see the job");
        }
        jobs.push(job);
    }
    jobs.dedup();
    assert_eq!(jobs.len(), 30);
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_proposals_share_entries() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let before = cluster.handle(follower).read_barrier().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..600 {
        let handle = cluster.handle(at % 3).clone();
        tasks.spawn(async move { handle.propose(submit(50)).await });
    }
    let mut jobs = std::collections::BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        jobs.insert(job_of(&done.unwrap().unwrap().outcome));
    }
    assert_eq!(jobs.len(), 600);
    let entries = cluster.converge().await.0 - before.index.0;
    assert!(entries < 300, "{entries} entries for 600 commands");
    cluster.shutdown().await;
}

/// Adds to each entry how many jobs there are with those of the entry.
#[derive(Debug)]
struct Counting {
    heard: Arc<AtomicU64>,
}

impl Planner for Counting {
    fn plan(&self, version: &Version, entry: &Entry) -> Vec<Command> {
        let jobs = entry.proposals.iter().filter(|one| matches!(one.command, Command::Submit(_))).count() as u64;
        let known = version.state.http_of(ReplicaId(99)).map_or(0, |text| text.parse().unwrap());
        let http = (known + jobs).to_string();
        if jobs == 0 { Vec::new() } else { vec![Command::AnnounceReplica { replica: ReplicaId(99), http }] }
    }

    fn done(&self, outcomes: &[Outcome]) {
        assert_eq!(outcomes, [Outcome::Done]);
        self.heard.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the planner adds shares the entry, is asked for with the state that the entry will find, and disturbs
/// nobody's outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_leader_plans_shares_the_entry() {
    // With one place each entry is alone.
    let cluster = Cluster::start_with(3, Limits { entries_in_flight: 1, ..Limits::default() }).await;
    let heard = Arc::new(AtomicU64::new(0));
    for handle in cluster.running() {
        handle.plan_with(Arc::new(Counting { heard: heard.clone() }));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..300 {
        let handle = cluster.handle(at % 3).clone();
        tasks.spawn(async move {
            let committed = handle.propose(submit(50)).await.unwrap();
            let version = handle.wait_applied(committed.index, harness::PATIENCE).await.unwrap();
            assert!(version.state.http_of(ReplicaId(99)).is_some(), "it came later than the entry");
            job_of(&committed.outcome)
        });
    }
    let mut jobs = std::collections::BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        jobs.insert(done.unwrap());
    }
    assert_eq!(jobs.len(), 300);
    cluster.converge().await;
    let version = cluster.handle(0).read_barrier().await.unwrap();
    assert_eq!(
        version.state.http_of(ReplicaId(99)),
        Some("300"),
        "an entry was planned on an old state, or not at all"
    );
    assert!((1..=300).contains(&heard.load(Ordering::SeqCst)), "nobody heard what came of it");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_in_a_row_through_any_replica_is_applied_in_a_row() {
    let cluster = Cluster::start(3).await;
    for at in [cluster.leader().await, cluster.follower().await] {
        // So that all find the way open; a proposal that has to be repeated loses its place.
        cluster.handle(at).propose(submit(10)).await.unwrap();
        for _ in 0..20 {
            let row = (0..100).map(|_| cluster.handle(at).propose(submit(10)));
            let jobs: Vec<_> = futures_util::future::join_all(row)
                .await
                .into_iter()
                .map(|done| job_of(&done.unwrap().outcome))
                .collect();
            assert!(jobs.is_sorted(), "{jobs:?}");
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_is_replaced_and_comes_back() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term = cluster.handle(leader).leadership().borrow().term;
    for _ in 0..20 {
        cluster.handle(leader).propose(submit(10)).await.unwrap();
    }
    let follower = cluster.follower().await;
    let writer = {
        let handle = cluster.handle(follower).clone();
        tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for _ in 0..200 {
                let start = Instant::now();
                handle.propose(submit(10)).await.unwrap();
                slowest = slowest.max(start.elapsed());
            }
            slowest
        })
    };
    cluster.replicas[leader].shutdown().await;
    let slowest = writer.await.unwrap();
    assert!(slowest < Duration::from_millis(1500), "a hand-over took {slowest:?}");
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.handle(next).leadership().borrow().term > term);
    assert!(!cluster.replicas[leader].path().join("db/blobs").read_dir().is_ok_and(|mut b| b.next().is_some()));

    cluster.restart(leader).await;
    let jobs = cluster.handle(leader).read_barrier().await.unwrap().state.jobs().count();
    assert_eq!(jobs, 220);
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stop_and_all_is_there_again() {
    let mut cluster = Cluster::start(3).await;
    for at in 0..30 {
        cluster.handle(at % 3).propose(submit(40_000)).await.unwrap();
    }
    cluster.converge().await;
    let totals = cluster.handle(0).version().state.totals();
    for replica in &mut cluster.replicas {
        replica.shutdown().await;
    }
    for at in 0..3 {
        cluster.restart(at).await;
        assert_eq!(cluster.handle(at).version().state.jobs().count(), 30, "replayed at the start");
    }
    cluster.converge().await;
    assert_eq!(cluster.handle(0).version().state.totals(), totals);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_promised() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    eventually("a quorum acknowledges", || cluster.handle(leader).holds_quorum_lease()).await;
    for at in (0..3).filter(|at| *at != leader) {
        cluster.replicas[at].shutdown().await;
    }
    let handle = cluster.handle(leader).clone();
    eventually("the lease ends", || !handle.holds_quorum_lease()).await;
    let (proposed, read) = tokio::join!(handle.propose(submit(1)), handle.read_barrier());
    assert!(matches!(proposed, Err(ProposeError::NoLeader | ProposeError::OutcomeUnknown)), "{proposed:?}");
    assert!(read.is_err());
    drop(handle);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leaders_own_writes_are_fenced_by_its_term() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.handle(leader).leadership().borrow().term;
    let advance = || vec![Command::Advance, Command::Advance];
    assert_eq!(cluster.handle(leader).propose_as_leader(term, advance()).await.unwrap().len(), 2);
    let stale = cluster.handle(leader).propose_as_leader(term - 1, advance()).await;
    assert_eq!(stale, Err(ProposeError::NotLeader));
    let elsewhere = cluster.handle(follower).propose_as_leader(term, advance()).await;
    assert_eq!(elsewhere, Err(ProposeError::NotLeader));

    let to = cluster.handle(follower).id();
    assert_eq!(cluster.handle(follower).transfer_leader(Some(to)).await, Ok(to));
    eventually("the new leader's state is complete", || cluster.handle(follower).leadership().borrow().local).await;
    let deposed = cluster.handle(leader).propose_as_leader(term, advance()).await;
    assert_eq!(deposed, Err(ProposeError::NotLeader));
    let stamped = cluster.handle(follower).leader_time();
    assert!(stamped >= cluster.handle(leader).version().state.now());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_long_gets_a_snapshot() {
    let mut cluster = Cluster::start_with(3, small_limits()).await;
    let away = cluster.follower().await;
    let (mut jobs, mut restored) = (0, 0);
    // The leader gives up old entries a while after its snapshot; until it has, the log itself will do.
    while restored == 0 {
        assert!(jobs < 3000, "it caught up ten times without a snapshot");
        cluster.replicas[away].shutdown().await;
        let leader = cluster.leader().await;
        let before = cluster.handle(leader).status().last_log.0;
        for _ in 0..300 {
            cluster.handle(leader).propose(submit(3000)).await.unwrap();
        }
        jobs += 300;
        eventually("there is a snapshot", || cluster.handle(leader).status().snapshot.0 > before + 200).await;
        cluster.restart(away).await;
        // In later rounds it starts from a snapshot of its own, which does not count.
        let own = cluster.restored(away);
        cluster.converge().await;
        restored = cluster.restored(away) - own;
    }
    assert_eq!(cluster.handle(away).version().state.jobs().count(), jobs);
    // What it got is its own now: it starts from it.
    cluster.replicas[away].shutdown().await;
    cluster.restart(away).await;
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_come_and_go() {
    let mut cluster = Cluster::start_with(3, small_limits()).await;
    for _ in 0..150 {
        cluster.handle(0).propose(submit(500)).await.unwrap();
    }
    let new = cluster.join(4).await;
    let there = harness::addresses(cluster.replicas[new].address);
    let follower = cluster.follower().await;
    cluster.handle(follower).add_replica(ReplicaId(4), there.clone()).await.unwrap();
    cluster.handle(follower).add_replica(ReplicaId(4), there.clone()).await.unwrap();
    cluster.converge().await;
    let status = cluster.handle(cluster.leader().await).status();
    assert!(status.members.iter().any(|member| member.id == ReplicaId(4) && member.voter && member.healthy));
    let committed = cluster.handle(new).propose(submit(10)).await.unwrap();
    cluster.handle(new).wait_applied(committed.index, harness::PATIENCE).await.unwrap();

    // A replica that leads is removed like any other.
    let old = cluster.leader().await;
    let id = cluster.handle(old).id();
    let other = cluster.follower().await;
    cluster.handle(other).remove_replica(id).await.unwrap();
    cluster.handle(other).remove_replica(id).await.unwrap();
    cluster.replicas[old].shutdown().await;
    cluster.handle(other).propose(submit(10)).await.unwrap();
    let again = cluster.handle(other).add_replica(id, harness::addresses(cluster.replicas[old].address)).await;
    assert_eq!(again, Err(MembershipError::RemovedBefore(id)));
    assert_eq!(
        cluster.handle(other).remove_replica(ReplicaId(9)).await,
        Err(MembershipError::NotAMember(ReplicaId(9)))
    );

    // It may start again, but nobody lets it in.
    cluster.restart(old).await;
    let fatal = tokio::time::timeout(harness::PATIENCE, cluster.handle(old).fatal()).await.unwrap();
    assert_eq!(fatal, FatalError::Removed(id));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_would_end_the_cluster_is_refused() {
    let mut cluster = Cluster::start_with(3, small_limits()).await;
    let leader = cluster.leader().await;
    let followers: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let (dead, living) = (followers[0], followers[1]);
    let ids = [dead, living].map(|at| cluster.handle(at).id());
    cluster.replicas[dead].shutdown().await;
    let is_healthy = |status: Status| status.members.iter().any(|member| member.id == ids[0] && member.healthy);
    eventually("the dead one is noticed", || !is_healthy(cluster.handle(leader).status())).await;
    let refused = cluster.handle(leader).remove_replica(ids[1]).await;
    assert_eq!(refused, Err(MembershipError::NoMajorityWithout(ids[1])));
    cluster.handle(living).propose(submit(10)).await.unwrap();
    cluster.handle(living).remove_replica(ids[0]).await.unwrap();
    cluster.handle(living).propose(submit(10)).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_be_added_again_with_another_http_address_only() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let (id, mut there) = (cluster.handle(follower).id(), harness::addresses(cluster.replicas[follower].address));
    there.http = "http://elsewhere:1".into();
    assert_eq!(cluster.handle(leader).add_replica(id, there.clone()).await, Ok(()));
    there.peer = "elsewhere:2".into();
    let moved = cluster.handle(leader).add_replica(id, there).await;
    assert!(matches!(moved, Err(MembershipError::OtherAddresses { .. })), "{moved:?}");
    cluster.shutdown().await;
}

/// A first attempt that was cut short leaves a learner; the next one makes a voter of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adding_goes_on_until_the_replica_votes() {
    let limits = quorate_consensus::Limits { catch_up_wait: Duration::from_millis(300), ..Default::default() };
    let mut cluster = Cluster::start_with(1, limits).await;
    cluster.leader().await;
    let new = cluster.join(2).await;
    let mut there = harness::addresses(cluster.replicas[new].address);
    cluster.replicas[new].halt().await;
    let first = cluster.handle(0).add_replica(ReplicaId(2), there.clone()).await;
    assert_eq!(first, Err(MembershipError::CatchingUp(ReplicaId(2))));
    cluster.replicas[new].start(quorate_consensus::Start::Join, limits, cluster.token.clone()).await.unwrap();
    there.http.clear();
    let start = Instant::now();
    while let Err(error) = cluster.handle(0).add_replica(ReplicaId(2), there.clone()).await {
        assert!(error == MembershipError::CatchingUp(ReplicaId(2)) && start.elapsed() < harness::PATIENCE, "{error}");
    }
    let votes = cluster.handle(0).status().members.iter().any(|member| member.id == ReplicaId(2) && member.voter);
    assert!(votes, "it was added and is a learner");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_wiped_folder_is_refused() {
    let mut cluster = Cluster::start(3).await;
    cluster.handle(0).propose(submit(10)).await.unwrap();
    let named = || cluster.running().all(|h| (1..=3).all(|id| h.version().state.storage_of(ReplicaId(id)).is_some()));
    eventually("all folders are known", named).await;
    let wiped = cluster.follower().await;
    cluster.replicas[wiped].shutdown().await;
    std::fs::remove_dir_all(cluster.replicas[wiped].path()).unwrap();
    cluster.restart(wiped).await;
    let fatal = tokio::time::timeout(harness::PATIENCE, cluster.handle(wiped).fatal()).await.unwrap();
    let id = cluster.handle(wiped).id();
    assert_eq!(fatal, FatalError::OtherStorage(id));
    let words = fatal.to_string();
    assert!(words.contains(&format!("quorate cluster remove {id}")) && words.contains("new id"), "{words}");
    assert_eq!(cluster.handle(wiped).version().state.jobs().count(), 0, "it got no entries");
    cluster.replicas[wiped].shutdown().await;
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_serves_one_process_and_one_replica() {
    let mut cluster = Cluster::start(1).await;
    assert_eq!(cluster.handle(cluster.leader().await).status().role, Role::Leader);
    let mut second = harness::Replica::new(1);
    let path = cluster.replicas[0].path();
    let mut options = second.options(quorate_consensus::Start::Join, cluster.limits, None);
    options.dir.clone_from(&path);
    assert!(matches!(quorate_consensus::start(options).await, Err(StartError::FolderInUse(dir)) if dir == path));
    cluster.replicas[0].shutdown().await;
    let mut other = harness::Replica::new(2);
    let mut options = other.options(quorate_consensus::Start::Join, cluster.limits, None);
    options.dir = path;
    let error = quorate_consensus::start(options).await.unwrap_err();
    assert!(matches!(error, StartError::OtherReplica { .. }), "{error}");
    cluster.restart(0).await;
    cluster.leader().await;
    cluster.handle(0).propose(submit(10)).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_call_each_other() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    for handle in cluster.running() {
        let id = handle.id();
        handle.on_call(Arc::new(move |from, request: Bytes| {
            Box::pin(async move { Bytes::from(format!("{from} asked {id}: {}", request.len())) })
        }));
    }
    let asker = cluster.handle(0);
    eventually("the members are known", || asker.status().members.len() == 3).await;
    let calls = (0..100).map(|n| asker.call(ReplicaId(2 + n % 2), Bytes::from(vec![7; 1000 * n as usize])));
    for (n, answer) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("1 asked {}: {}", 2 + n % 2, 1000 * n));
    }
    assert!(asker.call(ReplicaId(9), Bytes::new()).await.is_err());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_large_is_refused_at_once() {
    let cluster =
        Cluster::start_with(3, quorate_consensus::Limits { command_bytes_max: 5000, ..Default::default() }).await;
    let follower = cluster.follower().await;
    assert_eq!(cluster.handle(follower).propose(submit(6000)).await, Err(ProposeError::TooLarge));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaders_crash_costs_no_proposal_and_doubles_none() {
    let mut cluster = Cluster::start(3).await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let mut writers = tokio::task::JoinSet::new();
    for (at, handle) in
        cluster.replicas.iter().enumerate().filter(|(at, _)| *at != leader).map(|(at, r)| (at, r.handle()))
    {
        for _ in 0..8 {
            let handle = handle.clone();
            writers.spawn(async move {
                let (mut jobs, mut slowest) = (Vec::new(), Duration::ZERO);
                for _ in 0..150 {
                    let start = Instant::now();
                    jobs.push(job_of(&handle.propose(submit(at)).await.unwrap().outcome));
                    slowest = slowest.max(start.elapsed());
                }
                (jobs, slowest)
            });
        }
    }
    eventually("the writers are at work", || cluster.handle(leader).version().state.jobs().count() > 200).await;
    cluster.replicas[leader].halt().await;
    let (mut jobs, mut slowest) = (std::collections::BTreeSet::new(), Duration::ZERO);
    while let Some(done) = writers.join_next().await {
        let (more, slow) = done.unwrap();
        slowest = slowest.max(slow);
        for job in more {
            assert!(jobs.insert(job), "two proposals were answered with job {job}");
        }
    }
    assert!(slowest < Duration::from_secs(2), "the longest wait was {slowest:?}");
    let next = cluster.leader().await;
    let version = cluster.handle(next).read_barrier().await.unwrap();
    assert_eq!(version.state.jobs().count(), 16 * 150, "each proposal was applied once");
    cluster.restart(leader).await;
    cluster.converge().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_log_makes_a_snapshot_too() {
    let limits = quorate_consensus::Limits { snapshot_log_bytes: 200_000, ..Default::default() };
    let cluster = Cluster::start_with(1, limits).await;
    cluster.leader().await;
    for _ in 0..30 {
        cluster.handle(0).propose(submit(20_000)).await.unwrap();
    }
    eventually("there is a snapshot", || cluster.handle(0).status().snapshot.0 > 5).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so_at_once() {
    let limits = quorate_consensus::Limits { queued_proposals: 4, entry_commands_max: 1, ..Default::default() };
    let cluster = Cluster::start_with(3, limits).await;
    let leader = cluster.leader().await;
    let proposals = (0..200).map(|_| cluster.handle(leader).propose(submit(10)));
    let answers = futures_util::future::join_all(proposals).await;
    let refused = answers.iter().filter(|answer| **answer == Err(ProposeError::Overloaded)).count();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(refused > 100 && done > 0 && refused + done == 200, "{refused} refused, {done} done");
    assert_eq!(cluster.handle(leader).version().state.jobs().count(), done);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_waits_for_a_replica_that_is_behind() {
    let cluster = Cluster::start(3).await;
    cluster.converge().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    cluster.replicas[follower].seen.pause_ms.store(15, std::sync::atomic::Ordering::SeqCst);
    let mut last = None;
    for _ in 0..20 {
        last = Some(cluster.handle(leader).propose(submit(10)).await.unwrap());
    }
    let (slow, last) = (cluster.handle(follower), last.unwrap());
    assert!(slow.version().index < last.index, "the follower is not behind: this shows nothing");
    let version = slow.read_barrier().await.unwrap();
    assert!(version.index >= last.index && version.state.knows_job(job_of(&last.outcome)));
    cluster.shutdown().await;
}
