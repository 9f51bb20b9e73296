//! One file for each command: call, then print.

pub(crate) mod bench;
mod cluster;
mod completions;
mod config;
mod cron;
mod demo;
mod dev;
mod explain;
mod extend;
mod job;
mod lock;
mod logs;
mod namespace;
mod policy;
mod resource;
mod run;
mod scheduling;
mod serve;
mod sim;
mod simulate;
mod submit;
mod wait;
mod work;
mod worker;

use std::time::Duration;

use anyhow::Context as _;
use quorate_client::{Client, Error, Options};
use quorate_types::api::Page;

use crate::args::{Cli, ClientArgs, Command, Format};
use crate::exit::Failure;
use crate::runtime::{block_on, start_logging, start_logging_on_request};

/// A person who mistyped an address should not have to wait out an election for it.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(3);

/// What the client commands share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: Format,
}

impl Context {
    fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let options = Options { unreachable_patience: UNREACHABLE_PATIENCE, ..Options::default() };
        let token = token(args)?;
        let client = Client::with_options(&[&args.server], token.as_deref(), options)?;
        Ok(Self { client, format: args.output })
    }
}

/// The items of all pages of a list.
async fn all_pages<T>(page: impl AsyncFn(Option<&str>) -> Result<Page<T>, Error>) -> Result<Vec<T>, Failure> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let found = page(cursor.as_deref()).await?;
        items.extend(found.items);
        cursor = found.next_cursor;
        if cursor.is_none() {
            return Ok(items);
        }
    }
}

/// The token, from the flag or environment, or else from the file.
fn token(args: &ClientArgs) -> Result<Option<String>, Failure> {
    match (&args.token, &args.token_file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(path)) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("read the token in {}", path.display()))?;
            Ok(Some(text.lines().next().unwrap_or_default().trim().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

/// Runs the command that was parsed.
pub(crate) fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { client, command } = cli;
    match command {
        Command::Serve(args) => serve::run(&args, &client),
        Command::Work(args) => work::run(*args, &client),
        Command::Sim(args) => {
            start_logging_on_request();
            sim::run(&args, client.output)
        }
        Command::Simulate(args) => {
            start_logging(None);
            simulate::run(&args, &client)
        }
        Command::Cron(command) => cron::run(&command, client.output),
        Command::Completions { shell } => completions::print(shell),
        // Handled before anything is parsed; see `main`.
        Command::Watchdog => Err(Failure::Usage("watchdog takes no options".into())),
        Command::Demo(args) => with_runtime(demo::run(args)),
        Command::Dev(args) => with_runtime(dev::run(args, client)),
        Command::Bench(args) => with_runtime(bench::run(args, client)),
        Command::Run(args) => with_client(&client, async move |context| run::run(&context, *args).await),
        Command::Job(command) => with_client(&client, async move |context| job::run(&context, *command).await),
        Command::Worker(command) => with_client(&client, async move |context| worker::run(&context, command).await),
        Command::Cluster(command) => with_client(&client, async move |context| cluster::run(&context, command).await),
        Command::Namespace(command) => {
            with_client(&client, async move |context| namespace::run(&context, *command).await)
        }
        Command::Resource(command) => with_client(&client, async move |context| resource::run(&context, command).await),
        Command::Lock(command) => with_client(&client, async move |context| lock::run(&context, command).await),
        Command::Policy(command) => with_client(&client, async move |context| policy::run(&context, command).await),
    }
}

fn with_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    start_logging(None);
    block_on(work)
}

fn with_client(args: &ClientArgs, work: impl AsyncFnOnce(Context) -> Result<(), Failure>) -> Result<(), Failure> {
    with_runtime(async { work(Context::new(args)?).await })
}
