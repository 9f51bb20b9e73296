//! `quorate serve`: one replica.

use quorate_replica::config::Config;
use toml::{Table, Value};

use super::config::{self, Kind, Layers};
use crate::args::{ClientArgs, ServeArgs};
use crate::exit::Failure;
use crate::output;
use crate::runtime::{block_on, shutdown_token, start_logging};

/// Settings that have no default value and that the environment may give nevertheless.
const OPTIONAL: &[(&str, Kind)] = &[
    ("cluster", Kind::Text),
    ("join", Kind::Text),
    ("advertise_http", Kind::Text),
    ("advertise_peer", Kind::Text),
    ("token", Kind::Text),
    ("token_file", Kind::Text),
    ("peer_token", Kind::Text),
    ("peer_token_file", Kind::Text),
    ("memory_budget", Kind::Text),
];

pub(super) fn run(args: &ServeArgs, client: &ClientArgs) -> Result<(), Failure> {
    let config = config(args, client)?;
    if args.print_config {
        let text = toml::to_string_pretty(&config).map_err(|e| Failure::Usage(format!("print the settings: {e}")))?;
        return output::raw(text.as_bytes());
    }
    if config.id == 0 {
        return Err(Failure::Usage("a replica needs --id N, a number from 1 that no other replica has".into()));
    }
    config.clone().checked().map_err(|error| Failure::Usage(format!("{error:#}")))?;
    start_logging(Some(&args.process));
    refuse_huge_pages();
    block_on(async {
        let shutdown = shutdown_token(&args.process)?;
        Ok(quorate_replica::run(config, shutdown).await?)
    })
}

/// A replica's memory grows by small pieces all over the allocator's arenas. With huge pages the kernel clears 2 MiB
/// for each of them: a third of a busy replica's time, and pauses that the slowest hundredth of all requests waits
/// for (docs/performance.md). A replica starts no other programs, so nobody inherits this.
fn refuse_huge_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "the kernel goes on giving huge pages");
    }
}

fn config(args: &ServeArgs, client: &ClientArgs) -> Result<Config, Failure> {
    let file = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Layers { file, environment: environment.collect(), flags: flags(args, client)? }.resolve(OPTIONAL)
}

fn flags(args: &ServeArgs, client: &ClientArgs) -> Result<Table, Failure> {
    let mut table = Table::new();
    for text in &args.set {
        let (path, value) = config::assignment(text)?;
        config::put(&mut table, &path, value);
    }
    let id = args.id.map(|id| i64::try_from(id).map_err(|_| Failure::Usage(format!("--id {id} is too large"))));
    let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    if let Some(id) = id.transpose()? {
        table.insert("id".into(), Value::Integer(id));
    }
    let texts = [
        ("data", args.data.as_ref().map(path)),
        ("http", args.http.clone()),
        ("peer", args.peer.clone()),
        ("cluster", args.cluster.clone()),
        ("join", args.join.clone()),
        ("advertise_http", args.advertise_http.clone()),
        ("advertise_peer", args.advertise_peer.clone()),
        ("memory_budget", args.memory_budget.clone()),
        ("token", client.token.clone()),
        ("token_file", client.token_file.as_ref().map(path)),
        ("peer_token_file", args.peer_token_file.as_ref().map(path)),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            table.insert(name.into(), Value::String(value));
        }
    }
    if args.insecure {
        table.insert("insecure".into(), Value::Boolean(true));
    }
    Ok(table)
}
