//! What a replica may send: whatever bytes come, a session reads messages or breaks with an error.

use quorate_types::inputs::{Input, Inputs, JobInput};
use quorate_types::service::Health;
use quorate_types::session::{AttemptKey, Definition, From, Motion, Order, ReadOutput, Stream, Work};
use quorate_types::status::{JobState, TaskState};
use quorate_types::{AttemptNumber, Fence, JobId, LogIndex, ReplicaId, TaskIndex};
use serde_json::json;
use tokio::runtime::{self, Runtime};

use super::*;
use crate::fuzz::{Fuzz, Verdict, damage_frames};

fn key(job: u64) -> AttemptKey {
    AttemptKey { job: JobId(job), task: 1, index: TaskIndex(2), attempt: AttemptNumber(3), fence: Fence(400_000) }
}

fn work() -> Work {
    let request = json!({
        "namespace": "physics",
        "tasks": [{"command": ["sh", "-c", "true"], "env": {"A": "b"}, "stdin": "x", "working_dir": "/tmp",
                   "resources": {"cpu": 0.5, "gpu": 1}, "timeout": "1h", "retries": 3}],
    });
    let request: quorate_types::job::JobRequest = serde_json::from_value(request).unwrap();
    let job = request.validate().unwrap();
    let spec = Arc::new(job.tasks[0].clone());
    let mut inputs = Inputs::default();
    inputs.add_task(&job.tasks[0].name, None);
    let result = Some("42".into());
    let ended = vec![Input { index: TaskIndex(2), state: TaskState::Succeeded, result }];
    let tasks = [(job.tasks[0].name.clone(), ended.clone())].into();
    inputs.jobs.insert(JobId(17), JobInput { state: JobState::Succeeded, tasks });
    let mut own = Inputs::default();
    own.add_task(&job.tasks[0].name, Some(ended));
    Work {
        definitions: vec![Definition {
            job: JobId(1),
            namespace: job.namespace,
            spec,
            inputs: Some(inputs.into()),
            gang: None,
            health: Some(Box::new(Health {
                command: Some(vec!["curl".into()]),
                interval: Span(500),
                timeout: Span(100),
                failures: 3,
                start_period: Span(0),
                min_healthy: Span(0),
            })),
        }],
        start: vec![Order { key: key(1), definition: 0, behind: None, inputs: Some(own.into()) }],
        stop: vec![key(2)],
        motion: vec![(key(1), Motion::Frozen)],
    }
}

fn messages() -> Vec<ToWorker> {
    let (lease_ttl, heartbeat_every) = (Span::from_secs(10), Span::from_secs(1));
    let read = |from| ReadOutput { from, max_bytes: 65_536, wait: Span::from_secs(20) };
    vec![
        ToWorker::Welcome {
            epoch: Epoch(7),
            lease_ttl,
            heartbeat_every,
            output_tail_bytes: 16_384,
            replica: ReplicaId(1),
        },
        ToWorker::Refused { detail: "the cluster has no leader".into(), retry: true },
        ToWorker::Fenced,
        ToWorker::Assigned { index: LogIndex(70_000), all: vec![key(1), key(3)], work: work() },
        ToWorker::Changed { index: LogIndex(70_001), work: work() },
        ToWorker::HeartbeatAck { seq: 9 },
        ToWorker::ReportsCommitted { seq: 10, index: LogIndex(1 << 33) },
        ToWorker::ReadOutput { request: 1, key: key(1), stream: Stream::Stderr, read: read(From::Tail(100)) },
        ToWorker::ReadOutput { request: 2, key: key(1), stream: Stream::Stdout, read: read(From::Offset(1 << 40)) },
    ]
}

fn encoded(messages: &[ToWorker]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| encode(message, &mut bytes).unwrap());
    bytes.to_vec()
}

/// All messages of a stream of bytes, and whether it ended well.
fn read(runtime: &Runtime, bytes: &[u8]) -> (Vec<ToWorker>, bool) {
    let mut frames = LengthDelimitedCodec::builder().max_frame_length(SESSION_FRAME_BYTES_MAX).new_read(bytes);
    let mut messages = Vec::new();
    loop {
        match runtime.block_on(next(&mut frames)) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, true),
            Err(_) => return (messages, false),
        }
    }
}

#[test]
fn whatever_a_replica_sends_is_read_or_refused() {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let one_by_one = messages().into_iter().map(|message| encoded(&[message]));
    Fuzz::target("to_worker").and(one_by_one).and([encoded(&messages())]).run(damage_frames, |bytes| {
        let (messages, ended_well) = read(&runtime, bytes);
        assert_eq!(read(&runtime, &encoded(&messages)), (messages, true));
        Verdict::accepted_if(ended_well)
    });
}
