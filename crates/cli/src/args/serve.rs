//! The commands that run parts of a cluster: `serve`, `work`, `dev` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_types::resources::parse_bytes;
use quorate_types::{Name, Taint};

use super::job::{label, millis};

/// What every long-running process takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProcessArgs {
    /// How log lines look; QUORATE_LOG says which appear (default: info).
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "QUORATE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Stop when standard input ends: the starter holds the other end of a pipe, and its death closes it.
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Every setting may also come from the environment as QUORATE_<SETTING> or from the file. Flags win
/// over the environment, that over the file, that over the defaults.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The replica's number, from 1; never used again after the replica was removed.
    #[arg(long)]
    pub(crate) id: Option<u64>,
    /// The replica's folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where clients and workers connect.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// Where the other replicas connect.
    #[arg(long, value_name = "ADDR")]
    pub(crate) peer: Option<String>,
    /// The replicas that start the cluster together, this one included.
    #[arg(long, value_name = "1=HOST:PEER,2=…", conflicts_with = "join")]
    pub(crate) cluster: Option<String>,
    /// A replica of the cluster to join.
    #[arg(long, value_name = "URL")]
    pub(crate) join: Option<String>,
    /// The HTTP address that others use, if it is not the one listened on.
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise_http: Option<String>,
    /// The same for the peer address.
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise_peer: Option<String>,
    /// A file with the token that the other replicas must present.
    #[arg(long, value_name = "FILE")]
    pub(crate) peer_token_file: Option<PathBuf>,
    /// Listen on other than loopback addresses without tokens.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Memory that the replica may take; near it, new jobs are refused. Default: 80 % of the machine's or the
    /// control group's.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_budget: Option<String>,
    /// A setting by its name in the file; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Settings in TOML.
    #[arg(long, value_name = "FILE", env = "QUORATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print the settings that result, and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    /// Addresses of replicas; the worker keeps a connection to one of them. Default: --server.
    #[arg(long, value_delimiter = ',', value_name = "URL,URL,…", env = "QUORATE_SERVERS")]
    pub(crate) servers: Vec<String>,
    /// The worker's name, unique in the cluster.
    #[arg(long, env = "QUORATE_NAME")]
    pub(crate) name: Name,
    /// Cores to offer; default: what the machine has.
    #[arg(long, value_parser = millis, value_name = "CORES")]
    pub(crate) cpu: Option<u64>,
    /// Memory to offer; default: what the machine has.
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub(crate) memory: Option<u64>,
    /// Other resources to offer; may be given several times.
    #[arg(long, value_parser = resource, value_name = "gpu=2")]
    pub(crate) resource: Vec<(Name, u64)>,
    /// A label of the worker; may be given several times.
    #[arg(long, value_parser = label, value_name = "zone=a")]
    pub(crate) label: Vec<(Name, String)>,
    /// Keeps tasks off the worker that don't tolerate it; may be given several times.
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) taint: Vec<Taint>,
    /// The name or address under which others reach what runs here, for gangs. Default: the host's name.
    #[arg(long, value_parser = host, value_name = "HOST", env = "QUORATE_ADVERTISE_HOST")]
    pub(crate) advertise_host: Option<String>,
    /// The worker's folder: tasks' working folders and output. Default: quorate-data/worker-NAME.
    #[arg(long, value_name = "DIR", env = "QUORATE_DATA")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// How many replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) replicas: u16,
    /// How many workers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(crate) workers: u16,
    /// Where to keep everything; without it a temporary folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The first replica's address; the others take the ports after it.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub(crate) http: SocketAddr,
    /// Cores of each worker; default: what the machine has.
    #[arg(long, value_parser = millis, value_name = "CORES")]
    pub(crate) cpu: Option<u64>,
    /// Listen on another than a loopback address without a token.
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the folder with the logs and files of the demo.
    #[arg(long)]
    pub(crate) keep: bool,
}

fn host(text: &str) -> Result<String, String> {
    quorate_types::validate::check_host(text).map(|()| text.to_owned())
}

fn resource(text: &str) -> Result<(Name, u64), String> {
    let (name, amount) = label(text)?;
    if let "cpu" | "memory" = name.as_str() {
        return Err(format!("{name} has an option of its own: --{name}"));
    }
    Ok((name, millis(&amount)?))
}
