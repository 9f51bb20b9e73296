//! `sim`.

use clap::Args;
use quorate_types::Span;

#[derive(Args, Clone, Debug)]
pub(crate) struct SimArgs {
    /// Where chance begins: the same seed is the same run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds to run, from `--seed` on; 0 goes on until one fails.
    #[arg(long, default_value_t = 1)]
    pub(crate) seeds: u64,
    /// How many of them run at once, each on a thread of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// No seed is begun after this long.
    #[arg(long, value_name = "DURATION")]
    pub(crate) within: Option<Span>,
    /// How long faults are made in each run, in simulated minutes.
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Replicas of the cluster, in the beginning. Without it each seed chooses: three, or now and then five.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=9))]
    pub(crate) replicas: Option<u64>,
    /// Workers of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub(crate) workers: u64,
    /// After a failure: look for a shorter story of the same kind.
    #[arg(long)]
    pub(crate) shrink: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1440.0).contains(&minutes) { Ok(minutes) } else { Err("0.1 to 1440 minutes".to_owned()) }
}
