//! `quorate demo`.

use std::time::Instant;

use anyhow::Context as _;

use crate::args::DemoArgs;
use crate::demo::{self, Summary};
use crate::exit::{Failure, INTERRUPTED};
use crate::output;
use crate::output::table::details;
use crate::runtime::Interrupts;

pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let mut folder = tempfile::Builder::new().prefix("quorate-demo-").tempdir().context("create a temporary folder")?;
    folder.disable_cleanup(args.keep);
    let started = Instant::now();
    let say = |line: &str| output::note(format!("[{:5.1} s] {line}", started.elapsed().as_secs_f64()));
    let result = tokio::select! {
        result = demo::run(folder.path(), say) => result,
        // Leaving drops the cluster, which ends its processes.
        () = interrupts.next() => return Err(Failure::Code(INTERRUPTED)),
    };
    match result {
        Ok(summary) => print(&summary),
        Err(error) => {
            folder.disable_cleanup(true);
            output::note(format!("the demo failed; its logs are kept in {}", folder.path().join("logs").display()));
            Err(error.into())
        }
    }
}

fn print(summary: &Summary) -> Result<(), Failure> {
    let Summary { job, took, failover, checked, digest, digest_index } = summary;
    let killed = format!("replica {} with -9 half-way; replica {} took over", failover.killed, failover.leader);
    let writes: Vec<String> =
        failover.writes.iter().map(|(id, took)| format!("{:.2} s through replica {id}", took.as_secs_f64())).collect();
    output::raw(
        details(&[
            ("workflow", format!("job {job} succeeded in {:.1} s", took.as_secs_f64())),
            ("leader killed", killed),
            ("writes back after", format!("{:.2} s ({})", failover.unavailable().as_secs_f64(), writes.join(", "))),
            ("results", format!("{} tasks, each with one attempt and one accepted result", checked.results)),
            (
                "executions",
                format!("{} in the tasks' own file, each exactly once, none interrupted", checked.executions),
            ),
            ("replicas", format!("all three have the digest {digest} at index {digest_index}")),
        ])
        .as_bytes(),
    )?;
    output::data("Every task succeeded exactly once.")
}
