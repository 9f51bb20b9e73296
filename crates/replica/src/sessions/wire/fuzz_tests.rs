//! What a worker may send: whatever bytes come, a session reads messages or breaks with an error.

use std::collections::BTreeMap;

use quorate_types::extension::Addition;
use quorate_types::session::{AttemptKey, Finished, Happening, Hello, OutputChunk, Piece, Report, Resume};
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, Epoch, Fence, JobId, LogIndex, Name, Resources, Span, TaskIndex};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::runtime::{self, Runtime};

use super::*;
use crate::fuzz::{Fuzz, Verdict, damage_frames};

fn key(job: u64) -> AttemptKey {
    AttemptKey { job: JobId(job), task: 1, index: TaskIndex(2), attempt: AttemptNumber(3), fence: Fence(400_000) }
}

fn finished(ending: Ending) -> Happening {
    Happening::Finished(Box::new(Finished {
        ending,
        ran: Span(1 << 33),
        result: Some("{\"loss\":0.1}".into()),
        extension: Some(Box::new(Addition::Text("[]".into()))),
        stdout_tail: b"done\n".to_vec(),
        stderr_tail: vec![0xff, 0],
    }))
}

fn messages() -> Vec<FromWorker> {
    let hello = Hello {
        name: Name::new("w1").unwrap(),
        labels: BTreeMap::from([(Name::new("zone").unwrap(), "eu".into())]),
        taints: Vec::new(),
        host: "h".into(),
        capacity: Resources {
            other_millis: BTreeMap::from([(Name::new("gpu").unwrap(), 2000)]),
            ..Resources::new(8000, 1 << 34)
        },
        instance: u64::MAX,
        replaces: Some(1),
        resume: Some(Resume { epoch: Epoch(7), seen: LogIndex(70_000) }),
    };
    let endings = [
        Ending::Exited(-1),
        Ending::Signalled(9),
        Ending::TimedOut,
        Ending::Stopped,
        Ending::NotStarted("no such file".into()),
        Ending::OutputLimit,
        Ending::Unable("disk full".into()),
    ];
    let mut reports = vec![
        Report { key: key(1), what: Happening::Started },
        Report { key: key(2), what: Happening::Progress { millis: 999, message: "epoch 3".into() } },
    ];
    reports.extend(endings.map(|ending| Report { key: key(3), what: finished(ending) }));
    let piece = Piece { offset: 1 << 40, bytes: b"line\n".to_vec(), end: true };
    vec![
        FromWorker::Hello(hello),
        FromWorker::Heartbeat { seq: 300 },
        FromWorker::Reports { seq: 9, reports },
        FromWorker::Output(OutputChunk { request: 1, piece: Some(piece) }),
        FromWorker::Output(OutputChunk { request: 2, piece: None }),
        FromWorker::Goodbye,
    ]
}

fn encoded(messages: &[FromWorker]) -> Vec<u8> {
    let frame = |message| {
        let bytes = crate::calls::encode(message);
        [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
    };
    messages.iter().flat_map(frame).collect()
}

/// All messages of a connection that carries these bytes, and whether it ended well.
async fn read(bytes: &[u8]) -> (Vec<FromWorker>, bool) {
    let (replica, mut worker) = duplex(bytes.len().max(1));
    worker.write_all(bytes).await.unwrap();
    drop(worker);
    let (_sink, mut stream) = frames(replica);
    let mut messages = Vec::new();
    loop {
        match receive(&mut stream).await {
            Ok(message) => messages.push(message),
            Err(WireError::Closed) => return (messages, true),
            Err(WireError::Io(_) | WireError::Decode(_)) => return (messages, false),
        }
    }
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn whatever_a_worker_sends_is_read_or_refused() {
    let runtime = runtime();
    let one_by_one = messages().into_iter().map(|message| encoded(&[message]));
    Fuzz::target("from_worker").and(one_by_one).and([encoded(&messages())]).run(damage_frames, |bytes| {
        let (messages, ended_well) = runtime.block_on(read(bytes));
        assert_eq!(runtime.block_on(read(&encoded(&messages))), (messages, true));
        Verdict::accepted_if(ended_well)
    });
}
