//! `bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_types::Span;

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub(crate) scenario: Scenario,
    /// How often to measure; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// submit, memory: connections, spread over the replicas. failover: writers (default 8).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: Option<u32>,
    /// submit: how long one run takes.
    #[arg(long, default_value = "5s")]
    pub(crate) duration: Span,
    /// noop, process: tasks of one run (default 100,000 and 5,000). latency: jobs (default 1,000).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tasks: Option<u32>,
    /// noop, process: tasks that the worker runs at once (default 512 and 64).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) slots: Option<u32>,
    /// failover: how often the leader is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) kills: u32,
    /// Where the cluster's folder is made; a real disk, please. Default: the system's temporary folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Single-job submissions a second over HTTP.
    Submit,
    /// Array tasks a second, end to end, with a worker that executes nothing.
    Noop,
    /// Processes a second, beside the machine's own limit.
    Process,
    /// One job at a time: to accepted, started and result.
    Latency,
    /// The longest gap in writes when the leader is killed.
    Failover,
    /// A replica's memory with a million waiting tasks and with 100,000 jobs.
    Memory,
}

impl Scenario {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Noop => "noop",
            Self::Process => "process",
            Self::Latency => "latency",
            Self::Failover => "failover",
            Self::Memory => "memory",
        }
    }
}
