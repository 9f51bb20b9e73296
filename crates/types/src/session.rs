//! The worker protocol: what travels over the one connection between a worker and a replica.
//!
//! The worker asks any replica for `GET /v1/session` with `Connection: Upgrade` and `Upgrade:
//! quorate-worker/6`. After `101` both sides send frames: a 4-byte big-endian length, then one
//! [`FromWorker`] or [`ToWorker`] in bincode's standard configuration (serde mode).
//!
//! What a replica pushes is declarative. [`ToWorker::Assigned`] is the whole truth at a log index,
//! [`ToWorker::Changed`] a difference to it. The worker remembers the newest index it has seen from
//! any message and ignores what is older; after a reconnect the replica waits until it has applied
//! that index, so an attempt whose end was committed is never started again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::constraint::Taint;
use crate::extension::Addition;
use crate::gang::Muster;
use crate::id::{AttemptNumber, Epoch, Fence, JobId, LogIndex, ReplicaId, TaskIndex};
use crate::inputs::Inputs;
use crate::job::TaskSpec;
use crate::name::Name;
use crate::resources::Resources;
use crate::service::Health;
use crate::status::Ending;
use crate::time::Span;

/// The value of the `Upgrade` header; a change of the messages changes its number.
pub const PROTOCOL: &str = "quorate-worker/6";
/// The path of the connection.
pub const PATH: &str = "/v1/session";

/// One attempt of one task. `task` is the task's position in its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    pub job: JobId,
    pub task: u32,
    pub index: TaskIndex,
    pub attempt: AttemptNumber,
    pub fence: Fence,
}

/// From the worker to the replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message.
    Hello(Hello),
    /// The lease is asked for; `seq` grows by one each time.
    Heartbeat { seq: u64 },
    /// What happened to attempts. Kept and sent again until [`ToWorker::ReportsCommitted`] with a
    /// `seq` at least as large came.
    Reports { seq: u64, reports: Vec<Report> },
    /// The answer to [`ToWorker::ReadOutput`].
    Output(OutputChunk),
    /// Everything has ended and the worker goes: no lease has to run out.
    Goodbye,
}

/// From the replica to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The answer to [`FromWorker::Hello`]: the session stands. A heartbeat at the sending time of
    /// the hello counts as acknowledged.
    Welcome { epoch: Epoch, lease_ttl: Span, heartbeat_every: Span, output_tail_bytes: u32, replica: ReplicaId },
    /// The session can't be had. `retry` says whether asking again (here or elsewhere) may help.
    Refused { detail: String, retry: bool },
    /// The registration is over: end everything and register anew.
    Fenced,
    /// All attempts of this worker at `index`; what it runs besides must end. `work` may start only some of
    /// them, if their definitions are large; the others follow as [`ToWorker::Changed`] at the same index.
    Assigned { index: LogIndex, all: Vec<AttemptKey>, work: Work },
    /// What changed up to `index`.
    Changed { index: LogIndex, work: Work },
    /// A leader that held its quorum's lease has noted heartbeat `seq`.
    HeartbeatAck { seq: u64 },
    /// All reports up to `seq` are committed, the last at `index`, or were found stale.
    ReportsCommitted { seq: u64, index: LogIndex },
    /// Asks for a piece of an attempt's output; exactly one [`FromWorker::Output`] answers it.
    ReadOutput { request: u64, key: AttemptKey, stream: Stream, read: ReadOutput },
}

/// Attempts to start and to stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The definitions that `start` refers to by position: siblings of an array share one.
    pub definitions: Vec<Definition>,
    pub start: Vec<Order>,
    /// Attempts that must end; the worker confirms with [`Happening::Finished`].
    pub stop: Vec<AttemptKey>,
    /// Attempts that must stand still or go on, in this order. With [`ToWorker::Assigned`] come all that stand still.
    pub motion: Vec<(AttemptKey, Motion)>,
}

/// Whether the processes of an attempt go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Motion {
    Frozen,
    Going,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub job: JobId,
    pub namespace: Name,
    pub spec: Arc<TaskSpec>,
    /// What all elements get of what the task needs; `None` if it needs nothing.
    pub inputs: Option<Box<Inputs>>,
    /// Of a task of a gang: where all members are.
    pub gang: Option<Box<Muster>>,
    /// How it shows that it is well.
    pub health: Option<Box<Health>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub key: AttemptKey,
    /// Position in [`Work::definitions`].
    pub definition: u32,
    /// It starts when the attempts of this element and of those behind it that come before it have ended: they were
    /// assigned together, have one fence, and take turns in their order.
    pub behind: Option<TaskIndex>,
    /// What this element gets besides.
    pub inputs: Option<Box<Inputs>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub name: Name,
    pub labels: BTreeMap<Name, String>,
    pub taints: Vec<Taint>,
    /// Under which name or address others reach what runs there.
    pub host: String,
    pub capacity: Resources,
    /// A random number for each registration.
    pub instance: u64,
    /// An earlier instance on the same data folder: everything that it ran has certainly ended.
    pub replaces: Option<u64>,
    /// Set on a reconnect within one registration.
    pub resume: Option<Resume>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub epoch: Epoch,
    /// The newest log index that the worker has seen.
    pub seen: LogIndex,
}

/// What happened to one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub key: AttemptKey,
    pub what: Happening,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    Started,
    /// The last line of the task's progress file: 0 to 1000 thousandths and a message.
    Progress {
        millis: u16,
        message: String,
    },
    /// It has ended, with all of its processes.
    Finished(Box<Finished>),
    /// It has been well for as long as its service wants.
    Healthy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub ending: Ending,
    /// How long it ran, by the worker's clock.
    pub ran: Span,
    /// What the task left in `QUORATE_RESULT`.
    pub result: Option<String>,
    /// What it left in `QUORATE_EXTEND`, if it succeeded.
    pub extension: Option<Box<Addition>>,
    /// The last bytes of each output stream.
    pub stdout_tail: Vec<u8>,
    pub stderr_tail: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Which piece of an output is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOutput {
    pub from: From,
    /// At most [`OUTPUT_CHUNK_BYTES_MAX`](crate::limits::OUTPUT_CHUNK_BYTES_MAX).
    pub max_bytes: u32,
    /// How long the worker may wait for output that is not there yet.
    pub wait: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    Offset(u64),
    /// So many bytes before the present end.
    Tail(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputChunk {
    pub request: u64,
    /// `None`: the worker has nothing of this attempt (any more).
    pub piece: Option<Piece>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// No more will come after these bytes.
    pub end: bool,
}
