//! The bounds of a replica process. docs/limits.md lists them for users.

use std::time::Duration;

use quorate_types::limits::JOB_BYTES_MAX;

/// Bytes of a request's body, and of one line of an NDJSON submission.
pub(crate) const BODY_BYTES_MAX: usize = JOB_BYTES_MAX;
/// Bytes of a host in the address of a replica that joins: names of the DNS have 253 at the most.
pub(crate) const HOST_BYTES_MAX: usize = 255;
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
/// A connection that is silent for so long is asked by the kernel whether its client is still there, and then so
/// often; one that does not answer within `WRITE_TIMEOUT` is closed. Otherwise the places of clients that
/// vanished while they watched would be lost for ever.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of a request's head, and of what waits in one connection to be read or written: all connections
/// together may have so much. Room for any honest client, with a path and query of 65,534 bytes.
pub(crate) const CONNECTION_BYTES_MAX: usize = 80 << 10;
/// Lines of one NDJSON submission that are under way at once.
pub(crate) const BULK_IN_FLIGHT: usize = 256;
/// How long a line waits while there is too much to do, and how long between two tries of one stream.
pub(crate) const BULK_WAIT: Duration = Duration::from_secs(5);
pub(crate) const BULK_PAUSE: Duration = Duration::from_millis(50);
/// The longest `?wait=`.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a read waits for its index or for a leader.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(5);
/// Items of a page: default and most.
pub(crate) const PAGE_DEFAULT: usize = 100;
pub(crate) const PAGE_MAX: usize = 1_000;
/// Holders of a counted resource that are named.
pub(crate) const HOLDERS_MAX: usize = 100;
/// Ticks of a schedule in one answer, unless the request says otherwise.
pub(crate) const TICKS_DEFAULT: usize = 10;
/// What the texts of a page of tasks come to, more or less: the one that goes beyond is the last.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;
/// How much one page of jobs looks at before it gives what it found and a cursor. An archived job is read
/// from disk and costs as much as some in memory.
pub(crate) const SCAN_COST_MAX: usize = 20_000;
pub(crate) const SCAN_COST_ARCHIVED: usize = 10;
/// Elements that one page of tasks looks at before it gives what it found and a cursor.
pub(crate) const ELEMENTS_LOOKED_AT_MAX: usize = 100_000;
/// Bytes of request bodies that are being read or proposed, in all; beyond it requests are answered 429.
pub(crate) const BODIES_BYTES_MAX: usize = 256 << 20;
/// What the kernel keeps of an answer on its way, for one connection. Left alone it keeps 4 MiB, and a few hundred
/// clients that read nothing would take what it has for all connections, those between the replicas included.
pub(crate) const SEND_BUFFER_BYTES_MAX: usize = 256 << 10;
/// Bodies up to this are read even if there is too much to do: that keeps their connections.
pub(crate) const BODY_BYTES_SMALL: u64 = 64 << 10;
/// Bytes of large answers that are not yet sent, in all; beyond it requests for more are answered 429.
pub(crate) const ANSWERS_BYTES_MAX: usize = 256 << 20;
/// Smaller ones do not count: all connections together could hold no more than that many of them.
pub(crate) const ANSWER_BYTES_SMALL: usize = 64 << 10;
/// Digests that are computed at once: each walks the whole state.
pub(crate) const DIGESTS_MAX: usize = 1;
/// Explanations and dry runs that are worked on at once: each may walk the whole queue.
pub(crate) const EXPLANATIONS_MAX: usize = 1;
/// Events in memory for `/v1/events`: about 40 MiB; older ones are answered 410.
pub(crate) const EVENTS_MAX: usize = 200_000;
/// Events that one stream takes at a time: some 40 KiB, which a client that reads nothing keeps in memory.
pub(crate) const EVENTS_PER_READ: usize = 128;
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
/// Values of the archive that are read for what one task needs: nothing else that the worker is to do is told
/// meanwhile. An array that fits takes 64.
pub(crate) const ARCHIVE_READS_MAX: usize = 256;
/// Bytes of what was read of archived jobs that a replica remembers, for the other workers of the same array.
pub(crate) const ARCHIVE_CACHE_BYTES_MAX: usize = 8 << 20;
/// Bytes that the archive has of a job that is to run again: they go through the log as one command.
pub(crate) const RECALLED_BYTES_MAX: usize = 32 << 20;
/// Retries of jobs in the archive that are under way: each is in memory as a whole, several times.
pub(crate) const RECALLS_MAX: usize = 2;
/// How often one retry reads a job that came back, and left again, before it was there.
pub(crate) const RECALLS_OF_ONE_MAX: usize = 3;
/// Reads of output under way at one worker.
pub(crate) const OUTPUT_READS_MAX: usize = 256;
/// How long a worker may take to say hello, and to answer a read of output beyond the asked-for wait.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Heartbeats in one call to the leader, and waiting for the next one.
pub(crate) const HEARTBEATS_PER_CALL: usize = 4_096;
pub(crate) const HEARTBEATS_QUEUED: usize = 32_768;
/// Calls to the leader with heartbeats go at about this pace while many come; one after a pause may be sooner.
pub(crate) const HEARTBEAT_CALLS_EVERY: Duration = Duration::from_millis(25);
/// How long a relayed heartbeat may take; the worker sends the next one soon anyway.
pub(crate) const HEARTBEAT_CALL_TIMEOUT: Duration = Duration::from_millis(800);
/// Workers that the leader's duties expire with one batch.
pub(crate) const DUTIES_PER_BATCH: usize = 1_000;
/// How long requests that are under way may take to end when the replica stops.
pub(crate) const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);
/// How often what the scheduler does is looked at, besides when somebody asks: seldom enough to cost little, and
/// often enough that hardly any queue comes and goes in between.
pub(crate) const SCHEDULING_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Steps of each window of measurements: it moves by a twelfth of its length.
pub(crate) const SCHEDULING_STEPS: usize = 12;
/// Namespaces whose tasks are measured one by one, some 60 KiB each at most; a further one takes the place of the one
/// that has been idle for longest, and if none is, counts in the sums of the cluster only.
pub(crate) const SCHEDULING_NAMESPACES_MAX: usize = 256;
/// Registrations of workers that are measured, some 1.3 KB each: those that ended are forgotten beyond it.
pub(crate) const SCHEDULING_WORKERS_MAX: usize = 20_000;
/// Kinds of resources that are measured: cpu, memory, and the first two others that workers offered.
pub(crate) const SCHEDULING_KINDS_MAX: usize = 4;
