//! The bounds of the replicated state. They are part of the state machine: all replicas must share
//! them, so a change of one is a change of the log's meaning and needs a new command version.

use quorate_types::Span;

/// Unfinished array elements of all jobs. A waiting one costs next to nothing, but each will need a
/// record of about 300 bytes once it ran: ten million stay near 3 GiB at the very worst.
pub const UNFINISHED_ELEMENTS_MAX: u64 = 10_000_000;
/// Bytes of the specifications of all jobs in memory.
pub const SPEC_BYTES_MAX: u64 = 1 << 30;
/// Workers that are remembered, dead ones included.
pub const WORKERS_MAX: u64 = 20_000;
/// Attempts of one task in a row that workers may be unable to start.
pub const UNABLE_MAX: u32 = 16;
/// Tasks of other jobs that may wait for the end of one job: its last report lets them go, in one entry.
pub const WAITING_FOR_JOB_MAX: usize = 10_000;
/// Jobs that may wait for a concurrency key: one that replaces them cancels them, in one entry.
pub const WAITING_FOR_KEY_MAX: usize = 10_000;
/// The specification of a job that has grown, counted as that of all jobs is: as much as the largest that can be
/// submitted, so that it can be archived, and read again, as a whole.
pub const GROWN_SPEC_BYTES_MAX: u64 = 128 << 20;
/// Namespaces without jobs in memory of which it is known what they used.
pub const PAST_USES_MAX: usize = 1_000;
/// Namespaces with a record: each round looks at those of them that have something waiting.
pub const NAMESPACES_MAX: usize = 1_000;
/// Counted resources of the cluster: set by hand, and listed as a whole.
pub const CLUSTER_RESOURCES_MAX: usize = 1_000;
/// Starts that rates remember together, each until its token is back and its key is used again: near 50 MB at the very
/// worst. Beyond it nothing that has a rate starts.
pub const RATE_TOKENS_MAX: u64 = 1_000_000;
/// Locks that are held at a time.
pub const LOCKS_MAX: usize = 100_000;
/// Attempts that wait for one lock: when it is given back, those whose time in line is over leave it with one entry.
pub const LOCK_LINE_MAX: usize = 1_000;
/// Locks that one attempt holds or waits for: its end gives back all of them with one entry.
pub const LOCKS_PER_ATTEMPT_MAX: usize = 64;
/// System jobs that have not ended: each worker that comes, drains or goes is looked at for each of them.
pub const SYSTEM_JOBS_MAX: usize = 100;
/// Versions of one service that elements have at a time: a definition and a record of each element for each.
pub const SERVICE_VERSIONS_MAX: usize = 8;
/// Live attempts of one worker: keeps tasks that ask for no cpu from flooding a host with processes.
pub const ATTEMPTS_PER_WORKER_MAX: usize = 4_096;
/// How long a finished job stays in memory, where it can be retried.
pub const FINISHED_IN_MEMORY: Span = Span::from_secs(10 * 60);
/// Finished jobs in memory; beyond it the oldest go to the archive early.
pub const FINISHED_IN_MEMORY_MAX: u64 = 10_000;
/// Elements of finished jobs in memory, without those of jobs that are on their way to the archive; beyond it the
/// largest jobs go there early.
pub const FINISHED_ELEMENTS_MAX: u64 = 1_000_000;
/// Elements of a job that go to the archive in one step, some milliseconds of encoding, and about how many bytes of
/// them: what is larger leaves in several.
pub const ELEMENTS_PER_STEP: u32 = 1_024;
pub const BYTES_PER_STEP: usize = 1 << 20;
/// From one step of a job to its next, so that others have most of the time between: a million elements take ten
/// seconds.
pub const ARCHIVE_STEP_EVERY: Span = Span::from_millis(10);
/// How long a finished job stays in the archive.
pub const ARCHIVE_RETENTION: Span = Span::from_secs(7 * 24 * 3600);
/// Jobs in the archive; beyond it the oldest are dropped early.
pub const ARCHIVED_JOBS_MAX: u64 = 100_000;
/// How long a worker that is lost or left is still listed.
pub const DEAD_WORKER_RETENTION: Span = Span::from_secs(3600);
/// Work of timers and retention with one entry, so that no entry takes long; the rest follows with the next.
/// A timer costs one, a job that is started or ended by it as many more as its elements have records, and one that goes
/// to the archive five times as many as it writes: they are encoded and hashed.
pub const TIMER_COST_PER_ENTRY_MAX: u64 = 20_000;
pub(crate) const ARCHIVED_ELEMENT_COST: u64 = 5;
/// So many bytes of it cost one more.
pub(crate) const ARCHIVED_BYTES_PER_COST: u64 = 1_024;
/// Proposing replicas that are remembered for deduplication: three replicas started twenty times.
pub const ORIGINS_MAX: usize = 64;
/// Elements of a task that the archive stores in one value.
pub const ELEMENTS_PER_BLOCK: u32 = 256;
/// Elements of a task in one record of a snapshot, and about how many bytes of them: one element alone,
/// with its result, may be larger.
pub const ELEMENTS_PER_RECORD: usize = 1_024;
pub const BYTES_PER_RECORD: usize = 256 << 10;
/// Bytes of output tails that the archive keeps for one job; what would go beyond is not kept.
pub const OUTPUT_BYTES_PER_JOB_MAX: u64 = 64 << 20;
/// Bytes of output tails that the archive keeps for one service, which has no end at which they would be forgotten:
/// when they are full it begins anew. More than one attempt leaves, and a thousand services fit in.
pub const OUTPUT_BYTES_PER_SERVICE_MAX: u64 = 4 << 20;
/// Bytes of results of jobs in memory; what would go beyond is not kept.
pub const RESULT_BYTES_MAX: u64 = 256 << 20;
/// Bytes of output tails that the archive keeps for all jobs together.
pub const OUTPUT_BYTES_MAX: u64 = 4 << 30;
