//! How long the death of a part is felt: the longest gap in writes when the leader is killed, stopped or
//! asked to end; and how long a task is not running when its worker's agent is killed or its host cut off.

mod leader;
mod relay;
mod worker;

use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::report::{Latencies, Report, median};
use super::{Bench, rounded};
use crate::args::Death;

/// A host that is cut off is given up after the lease, 10 s by default: a few rounds say as much as many.
const HOST_ROUNDS_MAX: u32 = 5;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let rounds = bench.args.kills;
    let deaths = bench.args.death.map_or_else(|| Death::ALL.to_vec(), |death| vec![death]);
    let mut measured: Vec<(Death, Vec<Duration>)> = Vec::new();
    for death in deaths {
        let gaps = match death {
            Death::Kill | Death::Stop | Death::Graceful => leader::run(bench, death, rounds, say).await,
            Death::Agent => worker::run(bench, death, rounds, say).await,
            Death::Host => worker::run(bench, death, rounds.min(HOST_ROUNDS_MAX), say).await,
        };
        measured.push((death, gaps.with_context(|| format!("measure {}", death.as_str()))?));
    }
    // The first one, the leader killed with -9 unless another was asked for, makes the figures of the report.
    let first = measured.first().map(|(_, gaps)| gaps.as_slice()).unwrap_or_default();
    let report = Report::new("failover", "ms", &millis(first)).latency(&latencies(first)?);
    let mut deaths = Map::new();
    for (death, gaps) in &measured {
        deaths.insert(death.as_str().to_owned(), summary(gaps)?);
    }
    Ok(report
        .detail("rounds", rounds)
        .detail("writers", leader::writers(bench))
        .detail("deaths", Value::Object(deaths)))
}

fn millis(gaps: &[Duration]) -> Vec<f64> {
    gaps.iter().map(|gap| rounded(gap.as_secs_f64() * 1000.0)).collect()
}

fn latencies(gaps: &[Duration]) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    gaps.iter().for_each(|gap| latencies.record(*gap));
    Ok(latencies)
}

fn summary(gaps: &[Duration]) -> anyhow::Result<Value> {
    let (runs, latencies) = (millis(gaps), latencies(gaps)?);
    let (p50, p99) = (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99));
    Ok(json!({"median_ms": median(&runs), "p50_ms": p50, "p99_ms": p99, "runs_ms": runs}))
}
