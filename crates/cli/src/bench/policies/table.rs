//! The report for people.

use serde_json::Value;

use crate::output::table::{Column, Table};

/// The entries of a report for people.
pub(crate) fn table(entries: &Value) -> String {
    const COLUMNS: &[Column] = &[
        Column::Left("POLICY"),
        Column::Right("TASKS"),
        Column::Right("ATCT (S)"),
        Column::Right("WAIT P50"),
        Column::Right("P90"),
        Column::Right("P99"),
        Column::Right("SLOWDOWN"),
        Column::Right("UTILISATION"),
        Column::Right("BALANCE"),
        Column::Right("FAIRNESS"),
        Column::Right("QUEUE"),
        Column::Right("IN ONE ZONE"),
        Column::Right("PREFERRED"),
    ];
    let mut table = Table::new(COLUMNS);
    for entry in entries.as_array().into_iter().flatten() {
        let figure = |name: &str| match &entry[name] {
            Value::Null => "-".to_owned(),
            number => number.to_string(),
        };
        let rule = entry["rule"].as_str().unwrap_or("-").to_owned();
        let numbers = [
            "tasks",
            "atct_s",
            "wait_p50_s",
            "wait_p90_s",
            "wait_p99_s",
            "bounded_slowdown",
            "cpu_utilisation",
            "load_balance_degree",
            "fairness",
            "queue_mean",
            "in_one_zone",
            "preferred",
        ];
        table.row(std::iter::once(rule).chain(numbers.iter().map(|name| figure(name))));
    }
    table.render()
}
