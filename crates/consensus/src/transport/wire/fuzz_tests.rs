//! What a peer may send: each frame is a message or is refused.

use futures_util::StreamExt;
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::raft::StreamAppendError;
use quorate_state::outcome::Rejection;
use quorate_types::JobId;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{self, Runtime};

use super::*;
use crate::fuzz::{Fuzz, Verdict, damage_frames};
use crate::fuzz_history::histories;
use crate::options::Limits;
use crate::type_config::{Commands, Entry};

pub(crate) fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn position(index: u64) -> Option<LogId> {
    Some(LogId::new_term_index(3, index))
}

fn requests() -> Vec<Request> {
    let (vote, addresses) = (Vote::new(3, 1), Addresses { http: "h:1".into(), peer: "p:1".into() });
    let proposals = histories().into_iter().flatten().take(12).flat_map(|entry| entry.proposals);
    let id = ReplicaId(4);
    vec![
        Request::Ping,
        Request::Vote(VoteRequest::new(vote, position(7))),
        Request::PreVote(VoteRequest::new(vote, None)),
        Request::TransferLeader(TransferLeaderRequest::new(vote, 2, position(70_000))),
        Request::Propose(proposals.collect()),
        Request::ReadIndex,
        Request::Change(Change::Add { id, addresses }),
        Request::Change(Change::Remove { id }),
        Request::Change(Change::Transfer { to: Some(id) }),
        Request::Call(Bytes::from_static(b"a call")),
    ]
}

fn responses() -> Vec<Response> {
    let rejected = Outcome::Rejected(Rejection::NoSuchJob(JobId(9)));
    let answers = vec![
        Answer::Committed { index: LogIndex(1 << 33), outcome: rejected },
        Answer::NotLeader,
        Answer::Unknown,
        Answer::Overloaded,
    ];
    vec![
        Response::Pong,
        Response::Vote(VoteResponse::new(Vote::new_committed(3, 1), position(9), true)),
        Response::TransferLeader(Ok(())),
        Response::Propose(answers),
        Response::ReadIndex(Some(LogIndex(300))),
        Response::Change(Err(ChangeRefused::NotLeader)),
        Response::Change(Err(ChangeRefused::Because(MembershipError::LastVoter(ReplicaId(1))))),
        Response::Change(Ok(Some(ReplicaId(1)))),
        Response::Call(Bytes::from_static(b"an answer")),
        Response::Unable,
    ]
}

fn appends() -> Vec<Append> {
    let commands = histories().into_iter().flatten().step_by(5).map(|entry| {
        let bytes = codec::to_bytes(&entry).unwrap();
        EntryPayload::Normal(Commands::new(entry, bytes.into()))
    });
    let entries = commands.chain([EntryPayload::Blank]).zip(8..);
    let entries = entries.map(|(payload, index)| Entry::new(LogId::new_term_index(3, index), payload)).collect();
    let vote = Vote::new_committed(3, 1);
    let request = AppendEntriesRequest { vote, prev_log_id: position(7), entries, leader_commit: position(6) };
    let heartbeat = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    vec![Append { session: 1, request }, Append { session: u64::MAX, request: heartbeat }]
}

fn snapshot_frames() -> Vec<SnapshotFrame> {
    let meta = SnapshotMeta { last_log_id: position(70_000), ..SnapshotMeta::default() };
    vec![
        SnapshotFrame::Begin { vote: Vote::new(3, 1), meta },
        SnapshotFrame::Chunk(Bytes::from_static(b"a part")),
        SnapshotFrame::Archive(vec![(b"key".to_vec(), b"piece".to_vec())]),
        SnapshotFrame::End,
    ]
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[..], payload].concat()
}

fn framed<T: Serialize>(messages: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    messages.into_iter().map(|message| frame(&encode(&message).unwrap())).collect()
}

fn numbered<T>(messages: Vec<T>) -> impl Iterator<Item = Numbered<T>> {
    (1..).zip(messages).map(|(id, message)| Numbered { id, message })
}

fn messages() -> Vec<Vec<u8>> {
    let (conflict, higher) =
        (StreamAppendError::Conflict(LogId::new_term_index(3, 7)), StreamAppendError::HigherVote(Vote::new(4, 2)));
    let results = [Ok(position(8)), Err(conflict), Err(higher)];
    let answers = [
        SnapshotAnswer::Installed(Vote::new(3, 1)),
        SnapshotAnswer::HigherVote(Vote::new(4, 2)),
        SnapshotAnswer::Failed("no space".into()),
    ];
    let kinds = [
        framed(numbered(requests())),
        framed(numbered(responses())),
        framed(appends()),
        framed(results.map(|result| Appended { session: 1, result })),
        framed(snapshot_frames()),
        framed(answers),
    ];
    kinds.concat()
}

/// A connection on which these bytes have come and nothing follows; what is answered goes to the other end.
pub(crate) async fn connection(bytes: &[u8]) -> (Frames, DuplexStream) {
    /// Room for answers.
    const ANSWERS: usize = 4096;
    let (ours, mut theirs) = duplex(bytes.len().max(ANSWERS));
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    (frames(Box::new(ours)), theirs)
}

/// Whether the frame is a message of this type; if it is, it must encode and decode to the same.
fn is<T: Serialize + DeserializeOwned>(frame: &[u8]) -> bool {
    let Ok(message) = decode::<T>(frame) else { return false };
    let again = encode(&message).unwrap();
    assert_eq!(encode(&decode::<T>(&again).unwrap()).unwrap(), again);
    true
}

fn is_any_message(frame: &[u8]) -> bool {
    let found = [
        is::<Numbered<Request>>(frame),
        is::<Numbered<Response>>(frame),
        is::<Append>(frame),
        is::<Appended>(frame),
        is::<SnapshotFrame>(frame),
        is::<SnapshotAnswer>(frame),
    ];
    found.contains(&true)
}

/// Whether the connection carries messages and nothing else.
async fn carries_messages(bytes: &[u8], frame_bytes_max: usize) -> bool {
    let (mut frames, _theirs) = connection(bytes).await;
    frames.codec_mut().set_max_frame_length(frame_bytes_max);
    while let Some(frame) = frames.next().await {
        let Ok(frame) = frame else { return false };
        assert!(frame.len() <= frame_bytes_max);
        if !is_any_message(&frame) {
            return false;
        }
    }
    true
}

#[test]
fn any_frame_of_a_peer_is_a_message_or_refused() {
    let (runtime, frame_bytes_max) = (runtime(), Limits::default().peer_frame_bytes_max);
    Fuzz::target("peer_frames").and(messages()).and([messages().concat()]).run(damage_frames, |bytes| {
        runtime.block_on(carries_messages(bytes, 100));
        Verdict::accepted_if(runtime.block_on(carries_messages(bytes, frame_bytes_max)))
    });
}
