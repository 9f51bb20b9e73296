//! `bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use quorate_types::Span;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder, Rebalance};

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub(crate) scenario: Scenario,
    /// How often to measure; the median counts (default 5, policies 1).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: Option<u32>,
    /// submit, reads, memory, soak: connections, spread over the replicas (default 64). bulk: streams (default 6).
    /// snapshot: writers (default 16).
    /// failover: writers (default 8). events: subscribers (default 1,000). idle, workers: workers (default 1,000 and
    /// 10,000).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: Option<u32>,
    /// submit, reads, soak, idle, workers: how long one run takes.
    #[arg(long, default_value = "5s")]
    pub(crate) duration: Span,
    /// noop, process: tasks of one run (default 100,000 and 5,000); over a million, several arrays. array, restart:
    /// tasks of the job (default a million). latency, bulk, catchup: jobs of one run (default 1,000 and 200,000).
    /// events: tasks for one subscriber (default 100,000).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) tasks: Option<u32>,
    /// noop, process, dag, events, soak: tasks that the worker runs at once (default 512, process 64).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) slots: Option<u32>,
    /// failover: how often each death is died; a host is cut off five times at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) kills: u32,
    /// failover: only this death. Default: all of them, one after the other.
    #[arg(long, value_name = "DEATH")]
    pub(crate) death: Option<Death>,
    /// policies: only those; names of orders, backfills or placements. Default: all of them, of which each run takes
    /// some twenty minutes. place: the same; where an order and a placement have one name, both.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) only: Vec<Rule>,
    /// policies: what the work is drawn from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the cluster's folder is made; a real disk, please. Default: the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

impl BenchArgs {
    /// How often to measure.
    pub(crate) fn runs(&self) -> u32 {
        let usual = if self.scenario == Scenario::Policies { 1 } else { 5 };
        self.runs.unwrap_or(usual)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Single-job submissions a second over HTTP.
    Submit,
    /// Distinct jobs a second through NDJSON.
    Bulk,
    /// How long until a job of a million array tasks is accepted.
    Array,
    /// Array tasks a second, end to end, with a worker that executes nothing.
    Noop,
    /// Processes a second, beside the machine's own limit.
    Process,
    /// One job at a time: to accepted, started and result.
    Latency,
    /// A chain of a thousand tasks and a random graph of ten thousand, with a worker that executes nothing.
    Dag,
    /// Reads of jobs a second, linearizable and stale.
    Reads,
    /// Events delivered a second, to one subscriber and to a thousand.
    Events,
    /// The longest gap in writes when the leader dies, and how long a task is not running when its worker does.
    Failover,
    /// How long a killed replica takes until it is ready again, with a million tasks that wait.
    Restart,
    /// How long a follower takes to apply what was submitted while it was away.
    Catchup,
    /// Processor time and writes of a cluster that does nothing, with 1,000 workers connected.
    Idle,
    /// The same with 10,000 workers.
    Workers,
    /// A replica's memory with a million waiting tasks and with 100,000 jobs.
    Memory,
    /// How long writes take while replicas write snapshots of a million tasks; the 99.9th percentile.
    Snapshot,
    /// Each policy in turn with the same work on mixed workers, and what `/v1/scheduling` says of it. Runs once.
    Policies,
    /// Decisions a second by placement, order of the queue, backfill and number of workers, on one core and without a
    /// cluster.
    Place,
    /// Jobs that are submitted, placed and finished, for as long as wanted: elections and memory meanwhile.
    Soak,
}

impl Scenario {
    /// What kills replicas, or looks at their processes, does so to a cluster of its own only.
    pub(crate) const fn can_use_any_cluster(self) -> bool {
        match self {
            Self::Submit | Self::Bulk | Self::Array | Self::Noop | Self::Process | Self::Latency => true,
            Self::Dag | Self::Reads | Self::Events | Self::Soak => true,
            Self::Failover | Self::Restart | Self::Catchup | Self::Idle | Self::Workers | Self::Memory => false,
            Self::Snapshot | Self::Policies | Self::Place => false,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Bulk => "bulk",
            Self::Array => "array",
            Self::Noop => "noop",
            Self::Process => "process",
            Self::Latency => "latency",
            Self::Dag => "dag",
            Self::Reads => "reads",
            Self::Failover => "failover",
            Self::Events => "events",
            Self::Restart => "restart",
            Self::Catchup => "catchup",
            Self::Idle => "idle",
            Self::Workers => "workers",
            Self::Memory => "memory",
            Self::Snapshot => "snapshot",
            Self::Policies => "policies",
            Self::Place => "place",
            Self::Soak => "soak",
        }
    }
}

/// What happens to a leader, or to the worker of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Death {
    /// The leader's process is killed with -9.
    Kill,
    /// The leader's process is stopped, with SIGSTOP.
    Stop,
    /// The leader is asked to end, with SIGTERM.
    Graceful,
    /// The agent of a task's worker is killed with -9; its watchdog lives.
    Agent,
    /// A task's worker is cut off from the network.
    Host,
}

impl Death {
    pub(crate) const ALL: [Self; 5] = [Self::Kill, Self::Stop, Self::Graceful, Self::Agent, Self::Host];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Graceful => "graceful",
            Self::Agent => "agent",
            Self::Host => "host",
        }
    }
}

/// One part of a policy; the others are the plain ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Queue(QueueOrder),
    /// With long tasks that come before short ones.
    LongFirst(QueueOrder),
    /// With tasks that have deadlines.
    Due(QueueOrder),
    /// With workflows.
    Workflows(QueueOrder),
    Backfill(Backfill),
    Placement(PlacementOrder),
    /// With tasks that prefer the same zone.
    Preferring(PlacementOrder),
    /// With tasks that have keys.
    Keyed(PlacementOrder),
    Rebalance(Rebalance),
}

impl FromStr for Rule {
    type Err = String;
    /// A name that two parts share is the first one's, unless the part is named as well: `placement=round-robin`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("queue", name)) => return name.parse().map(Self::Queue),
            Some(("backfill", name)) => return name.parse().map(Self::Backfill),
            Some(("placement", name)) => return name.parse().map(Self::Placement),
            Some(("long-first", name)) => return name.parse().map(Self::LongFirst),
            Some(("due", name)) => return name.parse().map(Self::Due),
            Some(("workflows", name)) => return name.parse().map(Self::Workflows),
            Some(("keyed", name)) => return name.parse().map(Self::Keyed),
            Some(("preferring", name)) => return name.parse().map(Self::Preferring),
            Some(("rebalance", name)) => return name.parse().map(Self::Rebalance),
            Some(_) | None => {}
        }
        let queue = text.parse::<QueueOrder>().ok().map(Self::Queue);
        let backfill = || text.parse::<Backfill>().ok().map(Self::Backfill);
        let placement = || text.parse::<PlacementOrder>().ok().map(Self::Placement);
        queue.or_else(backfill).or_else(placement).ok_or_else(|| {
            format!("{text:?} is the name of no order, backfill or placement; docs/policies.md lists them")
        })
    }
}
