//! Every bound that a specification must respect. docs/limits.md lists them for users.

/// Names become folder names and map keys; 128 leaves room for any prefix within a path component.
pub const NAME_LEN_MAX: usize = 128;
/// Distinct task definitions of one job: the largest workflows that people run. A job is one log entry, which
/// replicas apply in about half a second if it has so many.
pub const TASKS_PER_JOB_MAX: usize = 100_000;
/// Elements of one array task, and of all tasks of a job together.
pub const ELEMENTS_PER_JOB_MAX: u64 = 1_000_000;
/// Dependencies of one job: ten for each task, at some 32 bytes of memory each.
pub const EDGES_PER_JOB_MAX: usize = 1_000_000;
/// Arguments of one command.
pub const COMMAND_ARGS_MAX: usize = 4_096;
/// Bytes of all arguments of one command: Linux refuses more than 128 KiB in one argument.
pub const COMMAND_BYTES_MAX: usize = 128 << 10;
/// Environment variables of one task.
pub const ENV_VARS_MAX: usize = 1_024;
/// Bytes of all names and values of one task's environment.
pub const ENV_BYTES_MAX: usize = 128 << 10;
/// Bytes of a task's standard input. Larger inputs belong into a file.
pub const STDIN_BYTES_MAX: usize = 256 << 10;
/// Bytes of a path in a specification (PATH_MAX of Linux).
pub const PATH_BYTES_MAX: usize = 4_096;
/// Labels of a job or worker.
pub const LABELS_MAX: usize = 64;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Bytes of the place and of the words of one complaint about a request, some of which come from the request.
pub const FIELD_ERROR_BYTES_MAX: usize = 512;
/// Kinds of resources besides cpu and memory.
pub const RESOURCE_KINDS_MAX: usize = 16;
/// The largest amount of a resource in its inner unit: keeps every sum far from overflow.
pub const RESOURCE_UNITS_MAX: u64 = 1 << 53;
/// Conditions that a task requires of its worker.
pub const REQUIRES_MAX: usize = 16;
/// Conditions that a task prefers: each set of them that may be met together is tried, the best first.
pub const PREFERS_MAX: usize = 4;
/// The highest weight of a preference; the lowest is 1.
pub const WEIGHT_MAX: u8 = 100;
/// Values of one condition.
pub const CONDITION_VALUES_MAX: usize = 64;
/// Taints of a worker: its own, and as many that an operator gave it. Also what a task tolerates.
pub const TAINTS_MAX: usize = 16;
/// Labels that a task is spread over.
pub const SPREADS_MAX: usize = 4;
/// Tasks, and labels of jobs, that a task must not share a worker with: each is looked up for each worker that is
/// looked at.
pub const ANTI_AFFINITY_MAX: usize = 16;
/// Elements of one gang. All of them get the hosts of all in one variable, of which Linux takes 128 KiB: 512 names of
/// [`HOST_BYTES_MAX`] with a comma each.
pub const GANG_SIZE_MAX: u64 = 512;
/// Bytes of the host of a worker: the longest name in the DNS.
pub const HOST_BYTES_MAX: usize = 253;
/// The shortest quantum, in milliseconds: to end a process and to start another takes a good part of a second.
pub const QUANTUM_MS_MIN: u64 = 1_000;
/// The longest quantum, in milliseconds: a week. Who wants turns to be longer wants none.
pub const QUANTUM_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Retries of one task.
pub const RETRIES_MAX: u32 = 1_000;
/// The longest duration in a specification: ten years.
pub const SPAN_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;
/// The highest priority; the lowest is 0.
pub const PRIORITY_MAX: u8 = 100;
/// Bytes of a job as it is submitted: a million dependencies with names of 16 characters, and 100,000 tasks with
/// some 100 bytes each. Eight of them fit into the room of all bodies.
pub const JOB_BYTES_MAX: usize = 32 << 20;
/// Bytes of the tasks that an attempt adds to its job: some 10,000 small ones, and a fraction of what a worker
/// reports at a time.
pub const EXTENSION_BYTES_MAX: usize = 1 << 20;
/// What a task may leave as its result.
pub const RESULT_BYTES_MAX: usize = 64 << 10;
/// What a task gets to read of the results of what it needs: every attempt has a copy of its own, and the replica
/// that sends it holds one in memory.
pub const INPUTS_BYTES_MAX: usize = 1 << 20;
/// The message beside a task's progress.
pub const PROGRESS_MESSAGE_BYTES_MAX: usize = 256;
/// Attempts of one task that are remembered one by one; older ones are dropped.
pub const ATTEMPTS_KEPT_MAX: usize = 16;
/// The tail of each output stream that the cluster may keep, at the most.
pub const OUTPUT_TAIL_BYTES_MAX: usize = 1 << 20;
/// The tail of each output stream that the cluster keeps unless configured otherwise.
pub const OUTPUT_TAIL_BYTES_DEFAULT: usize = 16 << 10;
/// A free text in a reason.
pub const REASON_BYTES_MAX: usize = 512;
/// One frame of the worker protocol: a batch of assignments with their specifications.
pub const SESSION_FRAME_BYTES_MAX: usize = 16 << 20;
/// Reports in one frame; the worker sends the rest with the next.
pub const REPORTS_PER_FRAME_MAX: usize = 4_096;
/// Bytes of one chunk of output that is read through a session.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 64 << 10;
/// Workers lost in a row with attempts of one task after which it counts as poisonous, unless it says otherwise:
/// whatever kills its worker so often would kill them all, one after the other.
pub const LOSSES_DEFAULT: u32 = 5;
/// The most that a task may say.
pub const LOSSES_MAX: u32 = 1_000;
/// The highest limit of a concurrency key.
pub const CONCURRENCY_LIMIT_MAX: u32 = 1_000_000;
/// Kinds of what the cluster as a whole has that one task may hold.
pub const CLUSTER_RESOURCES_PER_TASK_MAX: usize = 8;
/// The highest total of such a kind: keeps sums over all live attempts far from overflow.
pub const CLUSTER_RESOURCE_TOTAL_MAX: u32 = 1_000_000;
/// Starts that a rate may allow in its time: each is remembered for that long.
pub const RATE_LIMIT_MAX: u32 = 10_000;
/// The longest time of a rate, in milliseconds: a month of 31 days.
pub const RATE_PER_MS_MAX: u64 = 31 * 24 * 3600 * 1000;
/// How long one who waits for a lock stays in line without asking again, in milliseconds: long enough for a change of
/// the leader, short enough that a client that died keeps nobody waiting.
pub const LOCK_WAIT_MS_MAX: u64 = 60 * 1000;
/// Jobs that may follow one.
pub const FOLLOW_UPS_MAX: usize = 8;
/// Bytes of a cron expression: all minutes of an hour, one by one, take 170.
pub const CRON_BYTES_MAX: usize = 512;
/// Bytes of the name of a time zone; the longest of the database has 32.
pub const TIME_ZONE_BYTES_MAX: usize = 64;
/// The shortest interval of a schedule, in milliseconds: each run is a job.
pub const EVERY_MS_MIN: u64 = 1_000;
/// The longest delay of a run by jitter, in milliseconds: a day.
pub const JITTER_MS_MAX: u64 = 24 * 3600 * 1000;
/// Finished runs that a schedule keeps unless it says otherwise.
pub const HISTORY_DEFAULT: u32 = 100;
/// The most that it may keep.
pub const HISTORY_MAX: u32 = 10_000;
/// How long ago a missed tick may be to be made up for, unless the schedule says otherwise, in milliseconds.
pub const MISFIRE_WINDOW_MS_DEFAULT: u64 = 3600 * 1000;
/// The largest weight of a namespace; the smallest is 1. Shares are compared in steps of a thousandth.
pub const NAMESPACE_WEIGHT_MAX: u32 = 1_000;
/// Elements of a service: each has a record as long as the job lives, and a rollout looks at them one by one.
pub const SERVICE_COUNT_MAX: u32 = 10_000;
/// The shortest time between two runs of a health command, in milliseconds: each starts a process.
pub const HEALTH_INTERVAL_MS_MIN: u64 = 500;
/// How often a health command runs unless the service says otherwise, in milliseconds.
pub const HEALTH_INTERVAL_MS_DEFAULT: u64 = 10_000;
/// How long one run of it may take unless the service says otherwise, in milliseconds.
pub const HEALTH_TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// Failures in a row that end the attempt unless the service says otherwise.
pub const HEALTH_FAILURES_DEFAULT: u32 = 3;
/// The most that it may say.
pub const HEALTH_FAILURES_MAX: u32 = 1_000;
