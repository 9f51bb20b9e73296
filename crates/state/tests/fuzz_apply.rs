//! Histories with damaged entries: whatever can be decoded is applied without a panic, every invariant holds
//! after each entry, and the same log twice gives the same digest.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../types/tests/fuzz/mod.rs"]
#[allow(clippy::disallowed_methods, reason = "a test's time is limited")]
mod fuzz;
mod support;

use bincode::config;
use fuzz::{Fuzz, Verdict, damage};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Origin, Proposal, RetryScope};
use quorate_types::job::JobRequest;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{Finished, Happening};
use quorate_types::status::Ending;
use quorate_types::{JobId, JobSpec, LogIndex, ReplicaId, Span, TaskIndex};
use support::{Cluster, name, spec};

/// A log as bytes: each entry with its length, so that damage to one leaves the others as they are.
fn encode(log: &[(LogIndex, Entry)]) -> Vec<u8> {
    let frame = |(_, entry): &(LogIndex, Entry)| {
        let bytes = bincode::serde::encode_to_vec(entry, config::standard()).unwrap();
        [&u16::try_from(bytes.len()).unwrap().to_le_bytes()[..], &bytes].concat()
    };
    log.iter().flat_map(frame).collect()
}

/// The entries that can be read, and whether all could.
fn decode(mut bytes: &[u8]) -> (Vec<Entry>, bool) {
    let (mut entries, mut all) = (Vec::new(), true);
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
        let config = config::standard().with_limit::<{ 1 << 20 }>();
        match bincode::serde::decode_from_slice::<Entry, _>(frame, config) {
            Ok((entry, _)) if entry.proposals.iter().all(may_be_proposed) => entries.push(entry),
            Ok(_) | Err(_) => all = false,
        }
        bytes = rest;
    }
    (entries, all && bytes.is_empty())
}

/// A specification that the API would have refused is never proposed.
fn may_be_proposed(proposal: &Proposal) -> bool {
    let Command::Submit(spec) = &proposal.command else { return true };
    let json = serde_json::to_value(spec.as_ref()).unwrap();
    let request = serde_json::from_value::<JobRequest>(json);
    request.is_ok_and(|request| request.validate().as_ref() == Ok::<&JobSpec, _>(spec))
}

fn apply(entries: &[Entry]) -> State {
    let mut state = State::default();
    for (index, entry) in (1..).zip(entries) {
        let applied = state.apply(LogIndex(index), entry);
        assert_eq!(applied.outcomes.len(), entry.proposals.len());
        state.check().unwrap_or_else(|violation| panic!("after {entry:#?}: {violation}"));
    }
    state
}

const ARRAY: &str = r#"{"namespace":"physics","on_failure":"continue","idempotency_key":"once","tasks":[
    {"name":"a","command":["x"],"count":3,"retries":2,"backoff":{"initial":"1s"},"resources":{"cpu":0.5,"gpu":1}},
    {"name":"b","command":["x"],"needs":["a"]}]}"#;

fn running() -> Cluster {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w0", 4);
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.report("w0", epoch, key, Happening::Started);
    cluster.report("w0", epoch, key, Happening::Progress { millis: 500, message: "half".into() });
    let finished = Finished {
        ending: Ending::Exited(0),
        ran: Span(10),
        extension: None,
        result: Some("{}".into()),
        stdout_tail: b"out".to_vec(),
        stderr_tail: b"err".to_vec(),
    };
    cluster.report("w0", epoch, key, Happening::Finished(Box::new(finished)));
    cluster
}

fn archived() -> Cluster {
    let mut cluster = running();
    cluster.pass(Span::from_secs(700));
    cluster.submit(ARRAY);
    cluster.pass(Span::from_secs(8 * 24 * 3600));
    cluster
}

fn failing() -> Cluster {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w0", 4);
    let job = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"],"count":2,"retries":1},{"name":"b","command":["x"],"needs":["a"]}]}"#,
    );
    let first = cluster.assign(job, 0, 0, epoch).unwrap();
    let second = cluster.assign(job, 0, 1, epoch).unwrap();
    cluster.finish("w0", epoch, first, Ending::Exited(1));
    cluster.pass(Span::from_secs(2));
    cluster.apply(Command::Reassign { job, task: name("a"), index: TaskIndex(1) });
    cluster.finish("w0", epoch, second, Ending::Stopped);
    cluster.apply(Command::Cancel { job });
    cluster.apply(Command::Retry { job, scope: RetryScope::NotSucceeded });
    cluster.apply(Command::Pause { job });
    cluster.apply(Command::Resume { job });
    cluster.apply(Command::Expire { worker: name("w0"), epoch });
    cluster.apply(Command::Forget { job });
    cluster
}

fn administration() -> Cluster {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w0", 4);
    let policy = PolicyChange {
        queue: Some(QueueOrder::Fifo),
        backfill: Some(Backfill::Easy),
        placement: Some(PlacementOrder::Spread),
        spread_label: Some(name("rack")),
        ..PolicyChange::default()
    };
    let replica = ReplicaId(1);
    let commands = [
        Command::NameCluster { id: 9 },
        Command::IdentifyReplica { replica, storage: 1 << 60 },
        Command::AnnounceReplica { replica, http: "127.0.0.1:1".into() },
        Command::ChangePolicy(policy),
        Command::Attach { worker: name("w0"), epoch, replica: ReplicaId(2) },
        Command::Drain { worker: name("w0") },
        Command::Undrain { worker: name("w0") },
        Command::Submit(spec(ARRAY)),
        Command::Submit(spec(ARRAY)),
        Command::Cancel { job: JobId(1) },
        Command::End { worker: name("w0"), epoch },
        Command::Remove { worker: name("w0") },
    ];
    let proposals = (1..).zip(commands).map(|(sequence, command)| {
        let origin = Origin { incarnation: 77, sequence: sequence / 2, answered_below: sequence / 4 };
        Proposal { origin: Some(origin), command }
    });
    let entry = Entry { time: cluster.now, proposals: proposals.collect() };
    cluster.apply_entry(entry.clone());
    cluster.apply_entry(entry);
    cluster
}

#[test]
fn any_history_that_can_be_read_can_be_applied() {
    let histories = [running(), archived(), failing(), administration()];
    Fuzz::target("history").and(histories.map(|cluster| encode(&cluster.log))).run(damage, |bytes| {
        let (entries, all) = decode(bytes);
        assert_eq!(apply(&entries).digest(), apply(&entries).digest());
        Verdict::accepted_if(all)
    });
}
