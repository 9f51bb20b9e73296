//! The report for people.

use serde_json::Value;

use crate::output::table::{Column, Table};

/// What an entry may say, under which name.
const FIGURES: [(&str, &str); 16] = [
    ("tasks", "TASKS"),
    ("atct_s", "ATCT (S)"),
    ("wait_p50_s", "WAIT P50"),
    ("wait_p90_s", "P90"),
    ("wait_p99_s", "P99"),
    ("bounded_slowdown", "SLOWDOWN"),
    ("cpu_utilisation", "UTILISATION"),
    ("load_balance_degree", "BALANCE"),
    ("fairness", "FAIRNESS"),
    ("queue_mean", "QUEUE"),
    ("in_one_zone", "IN ONE ZONE"),
    ("preferred", "PREFERRED"),
    ("urgent_wait_s", "URGENT (S)"),
    ("missed", "MISSED"),
    ("job_s", "JOB (S)"),
    ("at_home", "AT HOME"),
];

/// The entries of a report for people, with the columns of which at least one has something to say.
pub(crate) fn table(entries: &Value) -> String {
    let entries: &[Value] = entries.as_array().map_or(&[], Vec::as_slice);
    let said = FIGURES.iter().filter(|(name, _)| entries.iter().any(|entry| !entry[*name].is_null()));
    let (names, headings): (Vec<&str>, Vec<&str>) = said.copied().unzip();
    let columns = headings.into_iter().map(Column::Right);
    let columns: Vec<Column> = std::iter::once(Column::Left("POLICY")).chain(columns).collect();
    let mut table = Table::new(&columns);
    for entry in entries {
        let figure = |name: &&str| match (&entry[*name], &entry["spread"][*name]) {
            (Value::Null, _) => "-".to_owned(),
            (median, Value::Array(ends)) if ends.first() != ends.last() => format!("{median} ({})", spread(ends)),
            (number, _) => number.to_string(),
        };
        let rule = entry["rule"].as_str().unwrap_or("-").to_owned();
        table.row(std::iter::once(rule).chain(names.iter().map(figure)));
    }
    table.render()
}

/// From where to where.
fn spread(ends: &[Value]) -> String {
    ends.iter().map(Value::to_string).collect::<Vec<_>>().join(" to ")
}
