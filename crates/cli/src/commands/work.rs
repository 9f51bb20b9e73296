//! `quorate work`: one worker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use quorate_types::{Name, Resources};
use quorate_worker::{Limits, Options};

use crate::WATCHDOG;
use crate::args::{ClientArgs, WorkArgs};
use crate::exit::Failure;
use crate::runtime::{block_on, shutdown_token, start_logging};

pub(super) fn run(args: WorkArgs, client: &ClientArgs) -> Result<(), Failure> {
    start_logging(Some(&args.process));
    let process = args.process.clone();
    let options = options(args, client)?;
    block_on(async {
        let shutdown = shutdown_token(&process)?;
        Ok(quorate_worker::run(options, shutdown).await.context("run the worker")?)
    })
}

fn options(args: WorkArgs, client: &ClientArgs) -> Result<Options, Failure> {
    let executable = std::env::current_exe().context("find this executable")?;
    let servers = if args.servers.is_empty() { split(&client.server) } else { args.servers };
    let mut capacity: Resources = quorate_worker::detect_capacity();
    capacity.cpu_millis = args.cpu.unwrap_or(capacity.cpu_millis);
    capacity.memory_bytes = args.memory.unwrap_or(capacity.memory_bytes);
    capacity.other_millis.extend(once("resource", args.resource)?);
    Ok(Options {
        servers,
        labels: once("label", args.label)?,
        taints: args.taint,
        host: args.advertise_host.unwrap_or_else(quorate_worker::detect_host),
        capacity,
        data_dir: args.data.unwrap_or_else(|| default_folder(&args.name)),
        name: args.name,
        token: super::token(client)?,
        watchdog_command: vec![executable.into(), WATCHDOG.into()],
        limits: Limits::default(),
    })
}

/// What an option says of each name.
fn once<T>(option: &str, given: Vec<(Name, T)>) -> Result<BTreeMap<Name, T>, Failure> {
    let mut all = BTreeMap::new();
    for (name, value) in given {
        if all.insert(name.clone(), value).is_some() {
            return Err(Failure::Usage(format!("--{option}: {name} is given twice")));
        }
    }
    Ok(all)
}

fn split(servers: &str) -> Vec<String> {
    servers.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::to_owned).collect()
}

/// A folder that a restart finds again, for a worker that was given none.
fn default_folder(name: &Name) -> PathBuf {
    PathBuf::from("quorate-data").join(format!("worker-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_twice_is_refused() {
        let given = |names: &[&str]| names.iter().map(|name| (Name::new(name).unwrap(), 1)).collect();
        assert_eq!(once("label", given(&["a", "b"])).unwrap().len(), 2);
        let refused = once("label", given(&["a", "b", "a"])).unwrap_err();
        assert!(matches!(&refused, Failure::Usage(said) if said == "--label: a is given twice"), "{refused:?}");
    }
}
