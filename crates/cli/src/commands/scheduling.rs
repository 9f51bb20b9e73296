//! `quorate cluster scheduling`.

use quorate_types::scheduling::{SchedulingView, WindowView};

use super::Context;
use crate::args::{Format, SchedulingArgs};
use crate::exit::Failure;
use crate::output::table::details;
use crate::output::{self, json};

pub(super) async fn run(context: &Context, args: SchedulingArgs) -> Result<(), Failure> {
    let view = context.client.scheduling(args.namespace.as_ref(), args.window).await?;
    match context.format {
        Format::Json => json::print(&view),
        Format::Table => output::raw(render(&view).as_bytes()),
    }
}

/// What holds now, then a row for each measure with a column for each window.
fn render(view: &SchedulingView) -> String {
    let scope = view.namespace.as_ref().map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    let now = details(&[
        ("measured", scope),
        ("since", view.since.to_string()),
        ("queued", view.queued.to_string()),
        ("running", view.running.to_string()),
        ("workers", view.workers.to_string()),
    ]);
    let mut rows = vec![("", row(view, |window| window.window.to_string()))];
    rows.extend(MEASURES.iter().map(|(name, of)| (*name, row(view, of))));
    rows.extend(by_resource(view, "utilisation", |window| Some(&window.resource_utilisation)));
    rows.extend(by_resource(view, "load balance degree", |window| window.load_balance_degree.as_ref()));
    let name_width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let cell_width = rows.iter().flat_map(|(_, cells)| cells).map(String::len).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, cells)| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:>cell_width$}")).collect();
        format!("{name:<name_width$}{cells}\n")
    });
    format!("{now}\n{}", lines.collect::<String>())
}

type Cell = fn(&WindowView) -> String;

const MEASURES: &[(&str, Cell)] = &[
    ("succeeded", |window| window.finished.succeeded.to_string()),
    ("failed", |window| window.finished.failed.to_string()),
    ("tasks a second", |window| figure(Some(window.throughput_per_s))),
    ("task completion time, mean (s)", |window| figure(window.average_task_completion_time_s)),
    ("wait, mean (s)", |window| figure(window.wait_s.map(|wait| wait.mean))),
    ("wait, p50 (s)", |window| figure(window.wait_s.map(|wait| wait.p50))),
    ("wait, p90 (s)", |window| figure(window.wait_s.map(|wait| wait.p90))),
    ("wait, p99 (s)", |window| figure(window.wait_s.map(|wait| wait.p99))),
    ("bounded slowdown, mean", |window| figure(window.bounded_slowdown)),
    ("queue length, mean", |window| figure(Some(window.queue_length.mean))),
    ("queue length, max", |window| window.queue_length.max.to_string()),
    ("running, mean", |window| figure(Some(window.running))),
    ("load (tasks a worker)", |window| figure(window.load)),
    ("fairness", |window| figure(window.fairness)),
];

fn row(view: &SchedulingView, of: impl Fn(&WindowView) -> String) -> Vec<String> {
    view.windows.iter().map(of).collect()
}

type Parts = std::collections::BTreeMap<String, f64>;

/// A row for each kind of resource that any window has.
fn by_resource(
    view: &SchedulingView,
    name: &'static str,
    of: fn(&WindowView) -> Option<&Parts>,
) -> Vec<(&'static str, Vec<String>)> {
    let kinds: std::collections::BTreeSet<&String> =
        view.windows.iter().filter_map(of).flat_map(|parts| parts.keys()).collect();
    let cells = |kind: &String| {
        row(view, |window| {
            let part = of(window).and_then(|parts| parts.get(kind));
            format!("{kind} {}", figure(part.copied()))
        })
    };
    kinds.into_iter().map(|kind| (name, cells(kind))).collect()
}

pub(crate) fn figure(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"))
}

#[cfg(test)]
mod tests {
    use quorate_types::Timestamp;
    use quorate_types::scheduling::{FinishedTasks, QueueView, Window};

    use super::*;

    fn window(window: Window) -> WindowView {
        WindowView {
            window,
            from: Timestamp(0),
            finished: FinishedTasks { succeeded: 12, failed: 1 },
            throughput_per_s: 0.25,
            average_task_completion_time_s: None,
            wait_s: None,
            bounded_slowdown: Some(1.0),
            resource_utilisation: Parts::from([("cpu".to_owned(), 0.5)]),
            load_balance_degree: None,
            load: None,
            fairness: None,
            queue_length: QueueView { mean: 1.5, max: 3 },
            running: 2.0,
        }
    }

    #[test]
    fn a_row_for_each_measure_and_a_column_for_each_window() {
        let view = SchedulingView {
            since: Timestamp(0),
            until: Timestamp(1000),
            namespace: None,
            queued: 3,
            running: 2,
            workers: 1,
            windows: vec![window(Window::Minute), window(Window::Day)],
        };
        let text = render(&view);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        let cells = |name: &str| line(name)[name.len()..].split_whitespace().collect::<Vec<_>>();
        assert_eq!(text.lines().nth(6).unwrap().split_whitespace().collect::<Vec<_>>(), ["1m", "24h"]);
        assert_eq!(cells("succeeded"), ["12", "12"]);
        assert_eq!(cells("task completion time, mean (s)"), ["-", "-"]);
        assert_eq!(cells("utilisation"), ["cpu", "0.500", "cpu", "0.500"]);
        assert!(!text.contains("load balance degree"));
    }
}
