//! What commands share around their work: runtime, logging, signals.

use std::future::Future;
use std::io::{self, IsTerminal, Read};
use std::process;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, ProcessArgs};
use crate::exit::{Failure, INTERRUPTED};

/// Which log lines appear.
const LOG_VARIABLE: &str = "QUORATE_LOG";

/// Runs a command's future on a multi-threaded runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")?;
    let result = runtime.block_on(work);
    // A reader of standard input may still be blocked; nothing waits for it.
    runtime.shutdown_background();
    result
}

/// Logs to standard error; short-lived commands log only what is wrong.
pub(crate) fn start_logging(process: Option<&ProcessArgs>) {
    // openraft warns of every try to reach a dead replica; what matters of that our own crates say.
    let default = if process.is_some() { "info,openraft=error" } else { "warn,openraft=error" };
    start_logging_by(default, process);
}

/// Logs nothing unless it is asked for: what simulated processes say of simulated faults is no news.
pub(crate) fn start_logging_on_request() {
    start_logging_by("off", None);
}

fn start_logging_by(default: &str, process: Option<&ProcessArgs>) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber can only come from a test that runs two commands; the first one stays.
    let _ = match process.map_or(LogFormat::Text, |process| process.log_format) {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// A token that TERM, Ctrl-C or, if asked for, the end of standard input cancels. A second signal
/// ends the process at once.
pub(crate) fn shutdown_token(process: &ProcessArgs) -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        cancelled.cancel();
        either(&mut interrupt, &mut terminate).await;
        process::exit(i32::from(INTERRUPTED));
    });
    if process.exit_with_stdin {
        cancel_with_stdin(token.clone())?;
    }
    Ok(token)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    Ok(signal(kind).context("listen for signals")?)
}

/// A plain thread: a blocking read on the runtime would hold up its shutdown.
fn cancel_with_stdin(token: CancellationToken) -> Result<(), Failure> {
    let wait = move || {
        let mut bytes = [0; 64];
        while io::stdin().read(&mut bytes).is_ok_and(|n| n > 0) {}
        token.cancel();
    };
    std::thread::Builder::new().name("stdin".into()).spawn(wait).context("start a thread")?;
    Ok(())
}

/// Ctrl-C and TERM for commands that decide themselves what these mean.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) {
        either(&mut self.interrupt, &mut self.terminate).await;
    }
}
