//! The same in the Prometheus text format. Written here and not kept by the recorder, which would go on showing what
//! is gone: a namespace that is not measured any more, a percentile of nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_state::State;
use quorate_types::Name;
use quorate_types::resources::in_units;
use quorate_types::scheduling::{FinishedTasks, Window, WindowView};

use super::meter::Meter;

/// The window of what is said of namespaces: one, for there may be many of them.
const OF_NAMESPACES: Window = Window::FiveMinutes;

/// Samples by family, since those of one must stand together.
#[derive(Debug, Default)]
struct Page(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    kind: &'static str,
    samples: String,
}

impl Page {
    fn set(&mut self, name: &str, labels: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(name, "gauge", labels, value);
        }
    }

    fn put(&mut self, name: &str, kind: &'static str, labels: &str, value: f64) {
        let family = self.0.entry(name.to_owned()).or_default();
        family.kind = kind;
        // Writing to a string does not fail.
        let _ = match labels {
            "" => writeln!(family.samples, "{name} {value}"),
            labels => writeln!(family.samples, "{name}{{{labels}}} {value}"),
        };
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { kind, samples }) in &self.0 {
            let _ = write!(text, "# TYPE {name} {kind}\n{samples}");
        }
        text
    }
}

impl Meter {
    /// All windows of the cluster, and one of each namespace.
    pub(super) fn prometheus(&self) -> String {
        let mut page = Page::default();
        page.set("quorate_scheduling_since_timestamp_seconds", "", Some(self.since.0 as f64 / 1000.0));
        finished(&mut page, "quorate_scheduling", "", self.cluster.finished);
        for window in self.report(None, Window::ALL).windows {
            of_window(&mut page, "quorate_scheduling", &format!("window=\"{}\"", window.window), &window);
        }
        for (name, scope) in self.spaces.scopes() {
            let label = format!("namespace=\"{name}\"");
            finished(&mut page, "quorate_scheduling_namespace", &label, scope.finished);
            for window in self.report(Some(name), &[OF_NAMESPACES]).windows {
                let labels = format!("{label},window=\"{}\"", window.window);
                of_window(&mut page, "quorate_scheduling_namespace", &labels, &window);
            }
        }
        page.text()
    }
}

/// What namespaces that have a record hold, and may: of other namespaces there can be any number.
pub(crate) fn entitlements(state: &State) -> String {
    let mut page = Page::default();
    for (name, rules) in state.rules() {
        let held = state.space(name).map(|space| space.held.clone()).unwrap_or_default();
        for (family, allowance) in [("quota", &rules.quota), ("limit", &rules.limit)] {
            for (kind, amount) in allowance.kinds() {
                let labels = format!("namespace=\"{name}\",resource=\"{kind}\"");
                page.set(&format!("quorate_namespace_{family}"), &labels, Some(in_units(kind, amount)));
            }
        }
        let others = held.other_millis.keys().map(Name::as_str);
        for kind in ["cpu", "memory"].into_iter().chain(others).filter_map(|kind| Name::new(kind).ok()) {
            let labels = format!("namespace=\"{name}\",resource=\"{kind}\"");
            page.set("quorate_namespace_held", &labels, Some(in_units(&kind, held.amount(&kind))));
        }
    }
    page.text()
}

fn finished(page: &mut Page, prefix: &str, labels: &str, finished: FinishedTasks) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (result, count) in [("succeeded", finished.succeeded), ("failed", finished.failed)] {
        let labels = format!("{labels}{comma}result=\"{result}\"");
        page.put(&format!("{prefix}_tasks_finished_total"), "counter", &labels, count as f64);
    }
}

fn of_window(page: &mut Page, prefix: &str, labels: &str, window: &WindowView) {
    let name = |end: &str| format!("{prefix}_{end}");
    page.set(&name("task_completion_mean_seconds"), labels, window.average_task_completion_time_s);
    page.set(&name("wait_mean_seconds"), labels, window.wait_s.map(|wait| wait.mean));
    for (quantile, value) in [
        ("0.5", window.wait_s.map(|wait| wait.p50)),
        ("0.9", window.wait_s.map(|wait| wait.p90)),
        ("0.99", window.wait_s.map(|wait| wait.p99)),
    ] {
        page.set(&name("wait_seconds"), &format!("{labels},quantile=\"{quantile}\""), value);
    }
    page.set(&name("bounded_slowdown_ratio"), labels, window.bounded_slowdown);
    for (resource, part) in &window.resource_utilisation {
        page.set(&name("utilisation_ratio"), &format!("{labels},resource=\"{resource}\""), Some(*part));
    }
    for (resource, degree) in window.load_balance_degree.iter().flatten() {
        page.set(&name("load_balance_degree_ratio"), &format!("{labels},resource=\"{resource}\""), Some(*degree));
    }
    page.set(&name("load_ratio"), labels, window.load);
    page.set(&name("fairness_ratio"), labels, window.fairness);
    page.set(&name("queued_mean_tasks"), labels, Some(window.queue_length.mean));
    page.set(&name("queued_max_tasks"), labels, Some(window.queue_length.max as f64));
    page.set(&name("running_mean_tasks"), labels, Some(window.running));
}
