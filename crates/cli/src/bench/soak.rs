//! Full load for as long as wanted: jobs that are submitted, placed, run (by a worker that executes nothing) and
//! finished. In the end it says whether the cluster kept its leader, and how much memory it came to need.

use super::Bench;
use super::report::{Report, rounded};
use super::submit::{CONNECTIONS_DEFAULT, Tally, WARM_UP, measure};
use super::target::Target;

const SLOTS_DEFAULT: u32 = 512;
/// Tasks of each job: enough that placing and finishing them costs as much as taking the jobs.
const TASKS_PER_JOB: u32 = 4;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let duration = bench.args.duration.as_duration();
    let mut target = bench.target_with_worker("soak", bench.args.slots.unwrap_or(SLOTS_DEFAULT)).await?;
    let load = |duration| measure(&target, connections, duration, job);
    say(&format!("{connections} connections, jobs of {TASKS_PER_JOB} tasks; warming up"));
    load(WARM_UP).await?;
    let begun = term(&target).await?;
    let (mut runs, mut all, mut memory, mut elections) = (Vec::new(), Tally::new()?, Vec::new(), 0);
    for run in 1..=bench.args.runs() {
        let tally = load(duration).await?;
        runs.push(tally.accepted as f64 / tally.took.as_secs_f64());
        all.add(&tally)?;
        elections = term(&target).await?.saturating_sub(begun);
        memory.push(target.largest_resident_mib()?.map(rounded));
        let (rate, p99, mib) = (
            runs[runs.len() - 1],
            tally.latencies.quantile_ms(0.99),
            memory[memory.len() - 1].map_or_else(String::new, |mib| format!(", {mib:.0} MiB")),
        );
        say(&format!("run {run}: {rate:.0} jobs/s, p99 {p99:.2} ms, {elections} elections so far{mib}"));
    }
    target.stop().await;
    Ok(Report::new("soak", "jobs/s", &runs)
        .latency(&all.latencies)
        .detail("connections", connections)
        .detail("tasks_per_job", TASKS_PER_JOB)
        .detail("run_s", rounded(duration.as_secs_f64()))
        .detail("accepted", all.accepted)
        .detail("refused", all.refused)
        .detail("elections", elections)
        .detail("memory_mib", memory)
        .detail("latency", all.latencies.to_json()))
}

/// Each election raises it.
async fn term(target: &Target) -> anyhow::Result<u64> {
    Ok(target.client().cluster().await?.term)
}

fn job(nth: usize, number: u64) -> String {
    format!(r#"{{"name":"soak-{nth}-{number}","tasks":[{{"name":"main","driver":"noop","count":{TASKS_PER_JOB}}}]}}"#)
}
