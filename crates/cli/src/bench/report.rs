//! What a scenario found.

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The JSON of `quorate bench -o json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: Vec<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) detail: Map<String, Value>,
}

impl Report {
    pub(super) fn new(scenario: &'static str, unit: &'static str, runs: &[f64]) -> Self {
        let runs: Vec<f64> = runs.iter().map(|run| rounded(*run)).collect();
        let least = runs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
        Self {
            scenario,
            unit,
            median: median(&runs),
            min: finite(least),
            max: finite(most),
            runs,
            p50_ms: None,
            p99_ms: None,
            detail: Map::new(),
        }
    }

    pub(super) fn latency(mut self, latencies: &Latencies) -> Self {
        self.p50_ms = Some(latencies.quantile_ms(0.5));
        self.p99_ms = Some(latencies.quantile_ms(0.99));
        self
    }

    pub(super) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => rounded(f64::midpoint(sorted[n / 2 - 1], sorted[n / 2])),
    }
}

/// Three decimals: more would only pretend.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Latencies in microseconds with three significant digits, of any length.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    pub(super) fn record(&mut self, latency: std::time::Duration) {
        // A histogram that resizes itself takes every value.
        let _ = self.0.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        rounded(self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "p50_ms": self.quantile_ms(0.5),
            "p90_ms": self.quantile_ms(0.9),
            "p99_ms": self.quantile_ms(0.99),
            "p999_ms": self.quantile_ms(0.999),
            "max_ms": rounded(self.0.max() as f64 / 1000.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_has_the_keys_of_the_contract() {
        let mut latencies = Latencies::new().unwrap();
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let report = Report::new("submit", "jobs/s", &[3.0, 1.0, 2.00049]).latency(&latencies).detail("errors", 0);
        let json = serde_json::to_value(&report).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["scenario", "unit", "median", "min", "max", "runs", "p50_ms", "p99_ms", "detail"];
        assert!(expected.iter().all(|key| keys.contains(key)) && keys.len() == expected.len(), "{keys:?}");
        assert_eq!((report.median, report.min, report.max), (2.0, 1.0, 3.0));
        assert_eq!(report.p50_ms.unwrap().round(), 50.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
