//! The command line. What it says here is what `--help` prints and what completions offer.

mod bench;
mod cluster;
mod cron;
mod gate;
mod job;
mod namespace;
mod policy;
mod serve;
mod sim;
mod simulate;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use bench::{BenchArgs, Death, Rule, Scenario};
pub(crate) use cluster::{ClusterCommand, SchedulingArgs, WorkerCommand};
pub(crate) use cron::{CronCommand, DstChoice, NextArgs};
pub(crate) use gate::{LockCommand, ResourceCommand};
pub(crate) use job::{
    ExplainArgs, FileFormat, JobCommand, ListArgs, LogsArgs, RunArgs, StreamChoice, SubmitArgs, TaskArgs, TasksArgs,
};
pub(crate) use namespace::NamespaceCommand;
pub(crate) use policy::PolicyCommand;
pub(crate) use serve::{DemoArgs, DevArgs, LogFormat, ProcessArgs, ServeArgs, WorkArgs};
pub(crate) use sim::SimArgs;
pub(crate) use simulate::{MachineArgs, PolicyArgs, ResultArgs, RuleArgs, SimulateArgs, Who};

/// A job scheduler that stays up: replicas agree by Raft, workers run tasks, the death of either
/// disturbs nobody.
#[derive(Debug, Parser)]
#[command(name = "quorate", version)]
#[command(after_help = "Exit codes: 0 done; 1 the job failed (run: the command's own code); 2 usage; \
    3 no cluster reachable; 4 not found; 5 rejected.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Ends the process if its arguments make no sense.
    pub(crate) fn of_this_process() -> Self {
        Self::of(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn of(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.client.is_server_named = matches.value_source("server") == Some(ValueSource::CommandLine);
        Ok(cli)
    }
}

/// Where the cluster is and how its answers are shown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Client options")]
pub(crate) struct ClientArgs {
    /// Addresses of replicas; one that is alive is enough.
    #[arg(
        long,
        global = true,
        env = "QUORATE_SERVER",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL[,URL]"
    )]
    pub(crate) server: String,
    /// Whether that was on the command line, and not in the environment or left to the default.
    #[arg(skip)]
    pub(crate) is_server_named: bool,
    /// The token that the cluster asks for.
    #[arg(long, global = true, env = "QUORATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// A file that holds the token.
    #[arg(long, global = true, env = "QUORATE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How data is printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// The API's own JSON.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows a cluster on this machine surviving the death of its leader, in less than a minute
    Demo(DemoArgs),
    /// Starts a whole cluster on this machine and leaves it running
    Dev(DevArgs),
    /// Runs one replica
    Serve(Box<ServeArgs>),
    /// Runs one worker
    Work(Box<WorkArgs>),
    /// Runs one command on the cluster, with its output here and its exit code
    Run(Box<RunArgs>),
    /// Submits, shows and steers jobs
    #[command(subcommand)]
    Job(Box<JobCommand>),
    /// Shows and steers workers
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Shows and changes the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Shows and changes what namespaces are entitled to
    #[command(subcommand)]
    Namespace(Box<NamespaceCommand>),
    /// Shows and changes what the scheduler goes by
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Shows and sets what the cluster as a whole has a number of, licences say
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Takes locks inside a task, and shows who holds which
    #[command(subcommand)]
    Lock(LockCommand),
    /// Tells what cron expressions mean; needs no cluster
    #[command(subcommand)]
    Cron(CronCommand),
    /// Measures this build on a cluster of its own
    Bench(BenchArgs),
    /// Runs the whole cluster in virtual time, under faults that a seed chooses
    #[command(
        after_help = "Prints what happened in each run. Exit code 1: a promise did not hold, or something did not end."
    )]
    Sim(SimArgs),
    /// Replays recorded work under one or many policies, in virtual time
    #[command(after_help = simulate::EXAMPLES)]
    Simulate(Box<SimulateArgs>),
    /// Prints a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// The second process of a worker; started by `work`
    #[command(hide = true)]
    Watchdog,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::of(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "quorate demo",
            "quorate dev --replicas 3 --workers 2 --data d --http 127.0.0.1:7070",
            "quorate serve --id 1 --data d --http 127.0.0.1:1 --peer 127.0.0.1:2 --cluster 1=127.0.0.1:2",
            "quorate serve --id 4 --data d --http 127.0.0.1:1 --peer 127.0.0.1:2 --join http://127.0.0.1:7070 --insecure",
            "quorate serve --config f.toml --print-config",
            "quorate work --servers http://a:1,http://b:2 --name w --cpu 4 --memory 1GiB --resource gpu=2 --label zone=a --taint dedicated=ml --data d",
            "quorate worker taint w dedicated=ml spot",
            "quorate worker taint w",
            "quorate run --cpu 0.5 --memory 256MiB --retries 3 --timeout 10m --env K=V --label zone=a --detach -- sh -c true",
            "quorate job submit job.json --wait",
            "quorate job submit --format wfcommons --time-scale 0.05 --burn flow.json.gz",
            "quorate job list --state running -o json",
            "quorate job show 1",
            "quorate job tasks 1",
            "quorate job logs 1 fetch -f",
            "quorate job explain 1 fetch/0",
            "quorate job submit job.json --dry-run",
            "quorate job wait 1 2 3",
            "quorate job cancel 1",
            "quorate job pause 1",
            "quorate job resume 1",
            "quorate job retry 1 --failed",
            "quorate worker list --server http://a:1,http://b:2 --token t",
            "quorate worker drain w",
            "quorate namespace list -o json",
            "quorate namespace show web",
            "quorate namespace set web --weight 2 --quota cpu=10,memory=64GiB --limit cpu=20 --reclaim never",
            "quorate namespace set web --limit= --max-unfinished none",
            "quorate namespace reset web",
            "quorate cluster status",
            "quorate cluster scheduling --namespace web --window 5m -o json",
            "quorate bench policies --only sjf,least-load --seed 7",
            "quorate cluster add --id 4 --http 127.0.0.1:1 --peer 127.0.0.1:2",
            "quorate cluster remove 4",
            "quorate cluster transfer-leader",
            "quorate bench submit --runs 5 --connections 64 -o json",
            "quorate bench submit --server http://a:1,http://b:2 --token t",
            "quorate sim --seed 7 --minutes 5",
            "quorate sim --seeds 0 --shrink -o json",
            "quorate simulate --trace a.swf.gz --procs 100 --queue fifo --backfill easy -o json",
            "quorate simulate --trace a.ndjson --workers 16cpu,64GiB*4 --workers 4cpu --mtbf 30d --mttr 1h --seed 3",
            "quorate simulate --trace a.ndjson --queue fair-share --weights web=2,lab=3 --namespaces records.json",
            "quorate simulate --from-cluster --last 24h --lose label=zone=a --add 16cpu,64GiB*4 --drain w1",
            "quorate simulate --trace a.swf --first 9 --event-rule pyss --estimates user,exact,learned --starts s --csv c",
            "quorate cron next @daily --time-zone Europe/Berlin --from 2026-03-29T00:00:00Z --count 3 --dst both -o json",
            "quorate resource list",
            "quorate resource set matlab --total 5",
            "quorate resource show matlab -o json",
            "quorate resource remove matlab",
            "quorate lock acquire db --wait 30s --job 1 --task main --index 0 --fence 7",
            "quorate lock release db --job 1 --task main --index 0 --fence 7",
            "quorate lock run db --job 1 --task main --index 0 --fence 7 -- sh -c true",
            "quorate lock list --namespace web",
            "quorate lock show db",
            "quorate lock check db 9",
            "quorate completions bash",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn a_server_that_was_named_is_told_from_the_default() {
        for line in ["quorate bench submit --server http://a:1", "quorate --server http://a:1 bench submit"] {
            assert!(parse(line).unwrap().client.is_server_named, "{line}");
        }
        assert!(!parse("quorate bench submit").unwrap().client.is_server_named);
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_usage() {
        for line in [
            "quorate",
            "quorate nonsense",
            "quorate job show x",
            "quorate run",
            "quorate run --cpu -1 -- true",
            "quorate run --env novalue -- true",
            "quorate work --name bad/name",
            "quorate bench nonsense",
            "quorate cluster scheduling --window 2m",
            "quorate bench policies --only lifo",
            "quorate bench submit --runs 0",
            "quorate sim --seed x",
            "quorate sim --minutes 0",
            "quorate simulate",
            "quorate simulate --trace a.swf --from-cluster",
            "quorate simulate --trace a.swf --last 24h",
            "quorate simulate --trace a.swf --procs 0",
            "quorate simulate --trace a.swf --procs 1 --workers 1cpu",
            "quorate simulate --trace a.swf --workers lots",
            "quorate simulate --trace a.swf --queue lifo",
            "quorate simulate --trace a.swf --backfill greedy",
            "quorate simulate --trace a.swf --mtbf 1d",
            "quorate simulate --trace a.swf --mtbf 0s --mttr 1h",
            "quorate simulate --trace a.swf --first 0",
            "quorate simulate --trace a.swf --weights web=0",
            "quorate simulate --trace a.swf --weights web",
            "quorate namespace set web",
            "quorate namespace set web --quota cpu",
            "quorate namespace set web --quota cpu=1,cpu=2",
            "quorate work --servers http://a:1 --name w --resource cpu=9",
            "quorate namespace set web --reclaim maybe",
            "quorate resource set matlab",
            "quorate lock run db --job 1 --task main --index 0 --fence 7",
            "quorate cron next",
            "quorate cron next @daily --count 0",
            "quorate cron next @daily --dst never",
        ] {
            assert_eq!(parse(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
