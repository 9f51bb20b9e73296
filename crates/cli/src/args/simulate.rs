//! `simulate`.

use std::path::PathBuf;

use clap::Args;
use quorate_sim::lab::machines::MachineSpec;
use quorate_sim::lab::{Backfill, Estimates, EventRule, PlacementOrder, QueueOrder};
use quorate_types::limits::NAMESPACE_WEIGHT_MAX;
use quorate_types::{Name, Span};

pub(crate) const EXAMPLES: &str = "\
Examples:
  quorate simulate --trace KTH-SP2.swf.gz --queue fifo --backfill easy
  quorate simulate --trace KTH-SP2.swf.gz --queue fifo,sjf --backfill none,easy --report policies.html
  quorate simulate --trace jobs.ndjson --workers '16cpu,64GiB*4' --placement best-fit,least-load -o json
  quorate simulate --from-cluster --last 24h --queue fifo,sjf
  quorate simulate --from-cluster --last 7d --lose label=zone=a --add '32cpu,128GiB*2'
  quorate simulate --from-cluster --now --drain w3

JSON is one object for one run, and an array of them for several. docs/simulate.md has a tutorial, and what goes in and comes out.";

#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// Recorded work: .swf, .json (WfFormat 1.5) or .ndjson (jobs of Quorate with run times), each also with .gz.
    #[arg(long, value_name = "FILE", required_unless_present = "from_cluster", conflicts_with = "from_cluster")]
    pub(crate) trace: Option<PathBuf>,
    /// Replay what ran on the cluster at --server, on its workers.
    #[arg(long)]
    pub(crate) from_cluster: bool,
    /// How far back --from-cluster goes: 24h unless told otherwise.
    #[arg(long, value_name = "DURATION", requires = "from_cluster", conflicts_with = "trace")]
    pub(crate) last: Option<Span>,
    /// Instead of its history: what waits and runs on the cluster at this moment, until everything has ended. What
    /// would wait, where would things go, how long does it take?
    #[arg(long, requires = "from_cluster", conflicts_with_all = ["trace", "last", "save", "procs", "workers", "estimates", "first"])]
    pub(crate) now: bool,
    /// With --now: how long a task takes of which nothing is known, 10m unless told otherwise.
    #[arg(long, value_name = "DURATION", requires = "now", value_parser = positive)]
    pub(crate) assume: Option<Span>,
    /// Keep what --from-cluster has read, as a trace for later.
    #[arg(long, value_name = "FILE", requires = "from_cluster", conflicts_with = "trace")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machines: MachineArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    #[command(flatten)]
    pub(crate) results: ResultArgs,
}

/// What the work runs on.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machines")]
pub(crate) struct MachineArgs {
    /// One pool of N processors. Default: MaxProcs, or else MaxNodes, of the trace's header.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000), conflicts_with = "workers")]
    pub(crate) procs: Option<u64>,
    /// Workers, such as 16cpu,64GiB,gpu=2*4 for four of them; label:zone=a and taint:spot among the parts mark them.
    /// May be given several times.
    #[arg(long, value_name = "SPEC")]
    pub(crate) workers: Vec<MachineSpec>,
    /// What if: workers more than there are, written like those of --workers.
    #[arg(long, value_name = "SPEC")]
    pub(crate) add: Vec<MachineSpec>,
    /// What if: this worker, or all with a label (label=zone=a), were not there. With --now: what runs there
    /// starts again elsewhere, from the beginning.
    #[arg(long, value_name = "NAME|label=KEY=VALUE")]
    pub(crate) lose: Vec<Who>,
    /// What if: this worker got nothing new. In a replay of history that is as if it were not there; with --now it ends
    /// what it runs.
    #[arg(long, value_name = "NAME")]
    pub(crate) drain: Vec<Name>,
}

/// Whom a change of the cluster is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Named(Name),
    Labelled(Name, String),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => Ok(Self::Named(Name::new(text).map_err(|e| e.to_string())?)),
            // The label `label=zone=a`, or `zone=a` for short.
            Some(("label", rest)) if rest.contains('=') => labelled(rest),
            Some(_) => labelled(text),
        }
    }
}

fn labelled(text: &str) -> Result<Who, String> {
    let (key, value) = super::job::label(text)?;
    Ok(Who::Labelled(key, value))
}

/// Every combination of these is a run.
#[derive(Args, Debug)]
#[command(next_help_heading = "Policies (lists by commas; every combination is a run)")]
pub(crate) struct PolicyArgs {
    /// Default: fifo; with --now each part is what the cluster goes by. fifo, priority (raised by waiting), sjf
    /// (shortest first), least-work (time and dependents), deadline (earliest first), critical-path (longest remaining
    /// path), multifactor (age, size, priority, fair share), fair-share or aged-sjf (shortest first, raised by
    /// waiting). Not srtf and round-robin: a replay ends nothing for another's sake.
    #[arg(long, value_name = "QUEUE", value_delimiter = ',')]
    pub(crate) queue: Vec<QueueOrder>,
    /// Default: none. none, easy, easy-sjbf or conservative.
    #[arg(long, value_name = "BACKFILL", value_delimiter = ',')]
    pub(crate) backfill: Vec<Backfill>,
    /// Default: best-fit. best-fit, least-load, round-robin, random, weighted-round-robin, least-jobs,
    /// lowest-utilisation, worst-fit, consistent-hash, power-of-two, spread or min-cost-flow.
    #[arg(long, value_name = "PLACEMENT", value_delimiter = ',')]
    pub(crate) placement: Vec<PlacementOrder>,
    /// The label that spread goes by. Default: zone; with --now that of the cluster.
    #[arg(long, value_name = "LABEL")]
    pub(crate) spread_label: Option<Name>,
    /// What a policy knows of run times. Default: user. user (what was asked for), exact or learned (from the owner's
    /// last two jobs).
    #[arg(long, value_name = "ESTIMATES", value_delimiter = ',')]
    pub(crate) estimates: Vec<Estimates>,
}

/// What all runs have in common.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleArgs {
    /// Only the first N jobs, in the order of submission.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) first: Option<u64>,
    /// What happens first at one instant: natural (ends, submissions, one pass) or pyss (as the SC'15 authors'
    /// simulator).
    #[arg(long, value_name = "RULE", default_value = "natural")]
    pub(crate) event_rule: EventRule,
    /// Mean time between failures of a worker; needs --mttr.
    #[arg(long, value_name = "DURATION", requires = "mttr", value_parser = positive)]
    pub(crate) mtbf: Option<Span>,
    /// Mean time until it is repaired; needs --mtbf.
    #[arg(long, value_name = "DURATION", requires = "mtbf", value_parser = positive)]
    pub(crate) mttr: Option<Span>,
    /// What namespaces are entitled to: a file of JSON with their records by name, such as
    /// {"web":{"quota":{"cpu":8}}}. With --from-cluster those of the cluster, unless this names others.
    #[arg(long, value_name = "FILE")]
    pub(crate) namespaces: Option<PathBuf>,
    /// Weights of namespaces, such as web=2,lab=1, for fair-share and multifactor; 1 unless it is named.
    #[arg(long, value_name = "NAMESPACE=WEIGHT,…", value_delimiter = ',', value_parser = weight)]
    pub(crate) weights: Vec<(Name, u32)>,
    /// Where chance begins: of failures, and of random placement.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where results go beside standard output.
#[derive(Args, Debug)]
#[command(next_help_heading = "Results")]
pub(crate) struct ResultArgs {
    /// One HTML page with plots, which opens without a network.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// How each job went under each policy, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// When each job started, as CSV with the heading id,start; for one run.
    #[arg(long, value_name = "FILE")]
    pub(crate) starts: Option<PathBuf>,
    /// The report's Gantt chart begins so long after the first submission. Default: in the middle.
    #[arg(long, value_name = "DURATION", requires = "report")]
    pub(crate) gantt_from: Option<Span>,
    /// How much time the report's Gantt chart shows.
    #[arg(long, value_name = "DURATION", requires = "report", value_parser = positive)]
    pub(crate) gantt_length: Option<Span>,
}

fn weight(text: &str) -> Result<(Name, u32), String> {
    let (name, weight) = text.split_once('=').ok_or_else(|| format!("{text:?} is not like web=2"))?;
    let weight = weight.parse().ok().filter(|weight| (1..=NAMESPACE_WEIGHT_MAX).contains(weight));
    let weight = weight.ok_or_else(|| format!("a weight is from 1 to {NAMESPACE_WEIGHT_MAX}"))?;
    Ok((Name::new(name).map_err(|error| error.to_string())?, weight))
}

fn positive(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error: quorate_types::time::TimeError| error.to_string())?;
    if span.0 > 0 { Ok(span) } else { Err("must be more than nothing".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_change_is_about() {
        for (text, who) in [
            ("w1", Who::Named("w1".parse().unwrap())),
            ("label=zone=a", Who::Labelled("zone".parse().unwrap(), "a".into())),
            ("zone=a", Who::Labelled("zone".parse().unwrap(), "a".into())),
            ("label=value", Who::Labelled("label".parse().unwrap(), "value".into())),
        ] {
            assert_eq!(text.parse(), Ok(who), "{text}");
        }
        assert!("a b".parse::<Who>().is_err());
    }
}
