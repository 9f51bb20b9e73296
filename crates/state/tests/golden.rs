//! The encoding of commands must never change: logs and snapshots outlive versions.
//! When this fails, the change breaks old data folders; append instead.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use quorate_state::archive::Recalled;
use quorate_state::command::{
    Again, Assignment, Command, Entry, Grounds, Origin, Preemption, Proposal, Registration, RetryScope,
};
use quorate_types::extension::{Addition, Extension};
use quorate_types::gate::Claimant;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, Quantum, QueueOrder, Rebalance, RebalanceShare};
use quorate_types::session::{Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, Epoch, Fence, JobId, ReplicaId, Resources, Span, TaskIndex, Timestamp};
use support::{key, name, spec};

/// Every field that a job may have.
const EVERYTHING: &str = r#"{"name":"j","namespace":"n","priority":7,"labels":{"l":"v"},"idempotency_key":"i",
    "on_failure":"continue","start_after":"1s","preempt":"lower","deadline":"1h","expires":"1m",
    "concurrency":{"key":"k","limit":2,"when_full":"replace"},"then":[{"on":"failure","job":{"command":["f"]}}],
    "schedule":{"cron":"0 3 * * *","time_zone":"Europe/Berlin","overlap":"allow","misfire":"all","dst":"both"},
    "tasks":[{"name":"t","command":["c"],"count":2,"max_parallel":1,"retry_on":[3],"no_retry_on":[4],"losses":9},
    {"name":"u","command":["c"],"count":2,"needs":[{"task":"t","each":true},{"job":4,"on":"finish"}],
    "requires":["a>=1.5","b in (c,d)"],"prefers":[{"condition":"!e","weight":7}],"tolerations":["f=g"],
    "spread":[{"label":"z","max":2}],"anti_affinity":["t",{"label":"a=b"}],"key":"k","movable":true,
    "cluster_resources":{"m":2},"rate":{"key":"r","limit":3,"per":"1m"}},{"name":"v","command":["c"],"gang":"g"}]}"#;

const SERVICE: &str = r#"{"kind":"service","count":3,"command":["c"],"max_unavailable":2,
    "health":{"command":["h"],"interval":"1s","timeout":"2s","failures":4,"start_period":"5s"}}"#;

fn commands() -> Vec<Command> {
    let job = JobId(300);
    let (worker, epoch, replica) = (name("w"), Epoch(4), ReplicaId(2));
    let finished = Finished {
        ending: Ending::Signalled(9),
        ran: Span(5),
        result: Some("r".into()),
        extension: Some(Box::new(Addition::Checked(
            Extension::read(r#"{"name":"n","command":["c"],"needs":["t"],"before":["u"]}"#).unwrap(),
        ))),
        stdout_tail: vec![1],
        stderr_tail: vec![],
    };
    vec![
        Command::Submit(spec(r#"{"name":"j","tasks":[{"name":"t","command":["c"],"timeout":"1s"}]}"#)),
        Command::Cancel { job },
        Command::Pause { job },
        Command::Freeze { job },
        Command::Resume { job },
        Command::Retry { job, scope: RetryScope::NotSucceeded },
        Command::Forget { job },
        Command::Reassign { job, task: name("t"), index: TaskIndex(1) },
        Command::Register(Box::new(Registration {
            name: worker.clone(),
            labels: Default::default(),
            taints: Vec::new(),
            host: "h".into(),
            capacity: Resources::new(1000, 2),
            instance: 9,
            replaces: Some(8),
            replica,
            lease_ttl: Span(10_000),
        })),
        Command::Attach { worker: worker.clone(), epoch, replica },
        Command::Expire { worker: worker.clone(), epoch },
        Command::End { worker: worker.clone(), epoch },
        Command::Drain { worker: worker.clone() },
        Command::Undrain { worker: worker.clone() },
        Command::Remove { worker: worker.clone() },
        Command::Assign {
            items: vec![Assignment {
                job,
                task: 0,
                index: TaskIndex(7),
                attempt: AttemptNumber(1),
                epoch,
                behind: None,
            }],
        },
        Command::Report {
            worker,
            epoch,
            reports: vec![
                Report { key: key(300, 0, 7, 1, 12), what: Happening::Started },
                Report { key: key(300, 0, 7, 1, 12), what: Happening::Finished(Box::new(finished)) },
            ],
        },
        Command::Advance,
        Command::ChangePolicy(PolicyChange {
            queue: Some(QueueOrder::Fifo),
            backfill: Some(Backfill::Easy),
            placement: Some(PlacementOrder::Random),
            quantum: Some(Quantum::try_from(Span(5_000)).unwrap()),
            rebalance: Some(Rebalance::On),
            rebalance_share: Some(RebalanceShare::try_from(7).unwrap()),
            spread_label: Some(name("rack")),
        }),
        Command::NameCluster { id: 1 },
        Command::IdentifyReplica { replica, storage: 3 },
        Command::AnnounceReplica { replica, http: "h:1".into() },
    ]
}

fn claimant() -> Claimant {
    Claimant { job: JobId(300), task: name("t"), index: TaskIndex(7), fence: Fence(12) }
}

/// Those that came later.
fn newer_commands() -> Vec<Command> {
    let job = JobId(300);
    let epoch = Epoch(4);
    vec![
        Command::Submit(spec(EVERYTHING)),
        Command::Tick { schedule: job, ticks: vec![Timestamp(5)], through: Timestamp(6) },
        Command::RunNow { schedule: job },
        Command::ChangeSchedule { schedule: job, spec: spec(r#"{"command":["c"],"schedule":{"every":"2s"}}"#) },
        Command::RetryFrom { job, task: name("t") },
        Command::DrainBy { worker: name("w"), within: Span(9) },
        Command::Preempt {
            items: vec![Preemption {
                job,
                task: 0,
                index: TaskIndex(7),
                attempt: AttemptNumber(1),
                epoch,
                by: JobId(5),
                grounds: Grounds::Rebalance,
            }],
        },
        Command::Taint { worker: name("w"), taints: vec!["a=b".parse().unwrap()] },
        Command::SetNamespace {
            namespace: name("n"),
            rules: Box::new(
                serde_json::from_str(
                    r#"{"weight":3,"quota":{"cpu":2},"limit":{"cpu":4,"memory":"1KiB","gpu":1},"reclaim":"never","max_unfinished":9}"#,
                )
                .unwrap(),
            ),
        },
        Command::ResetNamespace { namespace: name("n") },
        Command::SetResource { name: name("m"), total: 3 },
        Command::RemoveResource { name: name("m") },
        Command::AcquireLock { lock: name("l"), by: claimant(), wait: Span(9) },
        Command::ReleaseLock { lock: name("l"), by: claimant() },
        Command::Submit(spec(SERVICE)),
        Command::ChangeService {
            service: job,
            spec: spec(r#"{"kind":"system","command":["c"],"max_unavailable":"25%"}"#),
        },
        Command::Report {
            worker: name("w"),
            epoch,
            reports: vec![
                Report { key: key(300, 0, 7, 1, 12), what: Happening::Healthy },
                Report {
                    key: key(300, 0, 7, 1, 12),
                    what: Happening::Finished(Box::new(support::finished(Ending::Unhealthy(3)))),
                },
            ],
        },
        Command::RetryArchived {
            job,
            again: Again::From(name("t")),
            recalled: Box::new(Recalled { job: vec![3, 1], blocks: vec![vec![3], vec![]] }),
        },
        Command::RetryArchived {
            job,
            again: Again::Scope(RetryScope::All),
            recalled: Box::new(Recalled { job: vec![], blocks: vec![] }),
        },
    ]
}

#[test]
fn encodings_are_what_they_were() {
    let mut text = String::new();
    for command in commands().into_iter().chain(newer_commands()) {
        let origin = Some(Origin { incarnation: 1, sequence: 2, answered_below: 1 });
        let entry = Entry { time: Timestamp(1000), proposals: vec![Proposal { origin, command }] };
        let bytes = bincode::serde::encode_to_vec(&entry, bincode::config::standard()).unwrap();
        let (back, read): (Entry, usize) =
            bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        assert_eq!((&back, read), (&entry, bytes.len()));
        text.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/commands.hex");
    if std::env::var_os("QUORATE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "an encoding changed");
}
