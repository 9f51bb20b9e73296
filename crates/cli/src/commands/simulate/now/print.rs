//! The same for people.

use quorate_sim::lab::Run;
use quorate_types::Span;

use super::outlook::{Line, Outlook};
use crate::exit::Failure;
use crate::output;
use crate::output::table::{Column, Table};

/// Jobs of one table: those that wait the longest.
const LINES: usize = 20;
/// Workers that are named in one cell.
const NAMED: usize = 4;

const RUNS: &[Column] = &[
    Column::Left("QUEUE"),
    Column::Left("BACKFILL"),
    Column::Left("PLACEMENT"),
    Column::Right("RUNNING"),
    Column::Right("AGAIN"),
    Column::Right("WAITING"),
    Column::Right("AT ONCE"),
    Column::Right("MEAN WAIT"),
    Column::Right("LONGEST WAIT"),
    Column::Right("DRAINED IN"),
    Column::Right("NEVER"),
];
const WORKERS: &[Column] = &[
    Column::Left("WORKER"),
    Column::Left("STATE"),
    Column::Right("RUNNING"),
    Column::Right("TO COME"),
    Column::Right("IDLE IN"),
];
const JOBS: &[Column] = &[
    Column::Left("JOB"),
    Column::Left("NAME"),
    Column::Right("RUNNING"),
    Column::Right("WAITING"),
    Column::Right("FIRST START IN"),
    Column::Right("LAST START IN"),
    Column::Right("DONE IN"),
    Column::Left("WORKERS"),
];

/// A line for each policy; for a single one, its workers and jobs too.
pub(super) fn tables(runs: &[Run], outlooks: &[Outlook]) -> Result<(), Failure> {
    let mut text = policies(runs, outlooks).render();
    if let [outlook] = outlooks {
        text += &format!("\n{}\n{}", workers(outlook).render(), jobs(outlook).render());
        if outlook.jobs.len() > LINES {
            text += &format!("and {} more jobs: -o json has all\n", outlook.jobs.len() - LINES);
        }
        for never in &outlook.never {
            text += &format!("{}/{}: {} tasks would wait for ever\n", never.job, never.task, never.count);
        }
    }
    output::raw(text.as_bytes())
}

fn time(seconds: f64) -> String {
    output::time::span(Span((seconds * 1000.0).round() as u64))
}

fn policies(runs: &[Run], outlooks: &[Outlook]) -> Table {
    let mut table = Table::new(RUNS);
    for (run, outlook) in runs.iter().zip(outlooks) {
        let policy = run.variant.parts().into_iter().take(3).map(|(_, name)| name.to_owned());
        let never: u64 = outlook.never.iter().map(|never| never.count).sum();
        table.row(policy.chain([
            outlook.running.to_string(),
            outlook.again.to_string(),
            outlook.waiting.to_string(),
            outlook.at_once.to_string(),
            time(outlook.mean_wait_s),
            time(outlook.longest_wait_s),
            time(outlook.drained_in_s),
            never.to_string(),
        ]));
    }
    table
}

fn workers(outlook: &Outlook) -> Table {
    let mut table = Table::new(WORKERS);
    for worker in &outlook.workers {
        table.row([
            worker.name.to_string(),
            worker.state.to_owned(),
            worker.running.to_string(),
            worker.to_come.to_string(),
            time(worker.idle_in_s),
        ]);
    }
    table
}

fn jobs(outlook: &Outlook) -> Table {
    let mut table = Table::new(JOBS);
    for line in outlook.jobs.iter().take(LINES) {
        let start = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), time);
        table.row([
            line.job.to_string(),
            line.name.clone(),
            line.running.to_string(),
            line.waiting.to_string(),
            start(line.first_start_in_s),
            start(line.last_start_in_s),
            time(line.done_in_s),
            places(line),
        ]);
    }
    table
}

/// `a 3, b 1`: those with the most tasks first.
fn places(line: &Line) -> String {
    let mut workers: Vec<_> = line.workers.iter().collect();
    workers.sort_by_key(|(_, tasks)| std::cmp::Reverse(**tasks));
    let mut names: Vec<String> = workers.iter().take(NAMED).map(|(name, tasks)| format!("{name} {tasks}")).collect();
    if workers.len() > NAMED {
        names.push(format!("{} more", workers.len() - NAMED));
    }
    names.join(", ")
}
