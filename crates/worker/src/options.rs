//! What a worker is told at its start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use quorate_types::{Name, Resources, Taint};

#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port` of replicas; any will do.
    pub servers: Vec<String>,
    pub name: Name,
    pub labels: BTreeMap<Name, String>,
    /// What keeps tasks off that don't tolerate it.
    pub taints: Vec<Taint>,
    /// Under which name or address others reach what runs here.
    pub host: String,
    pub capacity: Resources,
    /// Holds the spool of output and what a restart must know. One worker, one folder.
    pub data_dir: PathBuf,
    pub token: Option<String>,
    /// Runs [`watchdog::main`](crate::watchdog::main), such as `["/proc/self/exe", "watchdog"]`.
    pub watchdog_command: Vec<OsString>,
    pub limits: Limits,
}

/// Bounds of what a worker holds, and how patient it is.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of stdout and stderr of one attempt together; more ends it. A task that writes more has run
    /// wild, and should write files of its own if not. Checked once a second.
    pub output_bytes: u64,
    /// Bytes of the folders of finished attempts, for all of them; the oldest go first.
    pub spool_bytes: u64,
    /// Folders of finished attempts: 10,000 keep directory listings and inodes harmless.
    pub spool_attempts: usize,
    /// How long the folder of a finished attempt is kept: long enough to look at what went wrong.
    pub spool_time: Duration,
    /// Attempts that are known at once, no-op ones that wait for their acknowledgement included. Capacity
    /// bounds real ones far earlier; this keeps a replica's mistake from filling memory (some 200 bytes each).
    pub attempts: usize,
    /// The longest grace between TERM and KILL, whatever a task asks for: a stop must end some time.
    pub grace: Duration,
    /// The same when the worker itself is told to leave: service managers give 90 s.
    pub leave_grace: Duration,
    /// How long a leaving worker waits for its last reports to be committed: longer than an election.
    pub leave_reports: Duration,
    /// The first wait after no server answered; it doubles.
    pub reconnect_first: Duration,
    /// The longest such wait: short beside a lease, so that a returning cluster finds its workers alive.
    pub reconnect_longest: Duration,
    /// Whether attempts run in a PID namespace where the host allows it, so that the kernel ends all of
    /// them should agent and watchdog be killed together.
    pub pid_namespace: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output_bytes: 1 << 30,
            spool_bytes: 4 << 30,
            spool_attempts: 10_000,
            spool_time: Duration::from_secs(3600),
            attempts: 500_000,
            grace: Duration::from_secs(600),
            leave_grace: Duration::from_secs(30),
            leave_reports: Duration::from_secs(5),
            reconnect_first: Duration::from_millis(50),
            reconnect_longest: Duration::from_secs(1),
            pid_namespace: true,
        }
    }
}
