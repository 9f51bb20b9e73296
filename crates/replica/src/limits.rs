//! The bounds of a replica process. docs/limits.md lists them for users.

use std::time::Duration;

use quorate_types::limits::JOB_BYTES_MAX;

/// Bytes of a request's body, and of one line of an NDJSON submission.
pub(crate) const BODY_BYTES_MAX: usize = JOB_BYTES_MAX;
/// Open HTTP connections; the next one is closed at once. Idle ones cost about 10 KiB each. A connection that
/// became a worker's session counts there, so that no number of workers keeps clients and probes out.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;
/// Open sessions of workers, as many as there may be workers; the next one is answered 429.
pub(crate) const SESSIONS_MAX: usize = 20_000;
/// Requests under way, long polls included; the next one is answered 429.
pub(crate) const REQUESTS_MAX: usize = 16_384;
/// How long a client may take to send a request's head, and its body or the next line of it.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of one NDJSON submission that are under way at once.
pub(crate) const BULK_IN_FLIGHT: usize = 256;
/// The longest `?wait=`.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a read waits for its index or for a leader.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(5);
/// Items of a page: default and most.
pub(crate) const PAGE_DEFAULT: usize = 100;
pub(crate) const PAGE_MAX: usize = 1_000;
/// How much one page of jobs looks at before it gives what it found and a cursor. An archived job is read
/// from disk and costs as much as some in memory.
pub(crate) const SCAN_COST_MAX: usize = 20_000;
pub(crate) const SCAN_COST_ARCHIVED: usize = 10;
/// Elements that one page of tasks looks at before it gives what it found and a cursor.
pub(crate) const ELEMENTS_LOOKED_AT_MAX: usize = 100_000;
/// Bytes of request bodies that are being read or proposed, in all; beyond it requests are answered 429.
pub(crate) const BODIES_BYTES_MAX: usize = 256 << 20;
/// Digests that are computed at once: each walks the whole state.
pub(crate) const DIGESTS_MAX: usize = 1;
/// Events in memory for `/v1/events`: about 40 MiB; older ones are answered 410.
pub(crate) const EVENTS_MAX: usize = 200_000;
/// Events that one stream takes at a time.
pub(crate) const EVENTS_PER_READ: usize = 512;
/// A comment keeps idle event streams alive through proxies.
pub(crate) const EVENTS_KEEPALIVE: Duration = Duration::from_secs(15);
/// Notices that wait for one worker's session; beyond it the session sends the whole truth instead.
pub(crate) const NOTICES_MAX: usize = 16_384;
/// Heartbeats of one worker that wait for the leader; further ones are passed over.
pub(crate) const HEARTBEATS_PER_WORKER_MAX: usize = 16;
/// Frames of reports of one worker that wait for their commit. Workers keep to half of it; more is a breach
/// of the protocol and ends the session, since the reading of heartbeats must never stop.
pub(crate) const REPORT_FRAMES_MAX: usize = 16;
/// Bytes of reports that one command carries; a larger frame becomes several commands.
pub(crate) const REPORT_BYTES_PER_COMMAND: usize = 2 << 20;
/// How long a worker may take to take what it is sent.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads of output under way at one worker.
pub(crate) const OUTPUT_READS_MAX: usize = 256;
/// How long a worker may take to say hello, and to answer a read of output beyond the asked-for wait.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Heartbeats in one call to the leader, and waiting for the next one.
pub(crate) const HEARTBEATS_PER_CALL: usize = 4_096;
pub(crate) const HEARTBEATS_QUEUED: usize = 32_768;
/// How long a relayed heartbeat may take; the worker sends the next one soon anyway.
pub(crate) const HEARTBEAT_CALL_TIMEOUT: Duration = Duration::from_millis(800);
/// Workers that the leader's duties expire with one batch.
pub(crate) const DUTIES_PER_BATCH: usize = 1_000;
/// How long requests that are under way may take to end when the replica stops.
pub(crate) const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);
