//! Metrics, in the Prometheus text format. Counters and histograms are kept as things happen; gauges of
//! the state are read from a version when somebody scrapes.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use quorate_consensus::Status;
use quorate_state::State;
use quorate_state::outcome::Outcome;
use quorate_types::status::{JobState, WorkerState};

/// Seconds; from a loopback read to a long poll.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// A busy replica records some ten thousand values a second, of eight bytes each.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the recorder of this process; `None` if there is one already (several replicas in one test).
pub(crate) fn install() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BUCKETS)
        .unwrap_or_else(|e| unreachable!("the buckets are not empty: {e}"));
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok().map(|()| handle)
}

/// Sums up what the histograms were told since the last time: until then each value takes its place in memory,
/// also where nobody ever scrapes.
pub(crate) async fn keep_up(metrics: PrometheusHandle) {
    let mut due = tokio::time::interval(UPKEEP_EVERY);
    loop {
        due.tick().await;
        metrics.run_upkeep();
    }
}

pub(crate) fn request_done(route: &str, method: &str, status: u16, took: Duration) {
    let labels = [("route", route.to_owned()), ("method", method.to_owned())];
    histogram!("quorate_http_request_seconds", &labels).record(took.as_secs_f64());
    counter!("quorate_http_requests_total", "route" => route.to_owned(), "method" => method.to_owned(), "status" => status.to_string()).increment(1);
}

pub(crate) fn round_done(took: Duration) {
    histogram!("quorate_placement_round_seconds").record(took.as_secs_f64());
}

pub(crate) fn duty_done(outcome: &Outcome) {
    if let Outcome::Assigned { accepted, stale } = outcome {
        counter!("quorate_assignments_total", "result" => "accepted").increment(u64::from(*accepted));
        counter!("quorate_assignments_total", "result" => "stale").increment(u64::from(*stale));
    }
    if let Outcome::Preempted { stopped, stale } = outcome {
        counter!("quorate_preemptions_total", "result" => "stopped").increment(u64::from(*stopped));
        counter!("quorate_preemptions_total", "result" => "stale").increment(u64::from(*stale));
    }
}

pub(crate) fn heartbeats_relayed(acknowledged: usize, refused: usize) {
    counter!("quorate_heartbeats_total", "result" => "acknowledged").increment(acknowledged as u64);
    counter!("quorate_heartbeats_total", "result" => "refused").increment(refused as u64);
}

/// Brings the gauges up to date with the state.
pub(crate) fn observe(state: &State, status: &Status, (connections, sessions): (usize, usize), events: usize) {
    gauge!("quorate_raft_term").set(status.term as f64);
    gauge!("quorate_raft_is_leader").set(if status.leader == Some(status.id) { 1.0 } else { 0.0 });
    gauge!("quorate_raft_watches_leader").set(if status.watches_leader { 1.0 } else { 0.0 });
    gauge!("quorate_applied_index").set(state.index().0 as f64);
    let jobs = state.job_states();
    for job_state in JobState::ALL {
        let count = jobs.get(job_state).copied().unwrap_or(0);
        gauge!("quorate_jobs", "state" => job_state.as_str()).set(count as f64);
    }
    for worker_state in WorkerState::ALL {
        let count = state.workers().filter(|worker| worker.state() == *worker_state).count();
        gauge!("quorate_workers", "state" => worker_state.as_str()).set(count as f64);
    }
    gauge!("quorate_tasks_unfinished").set(state.totals().unfinished_elements as f64);
    gauge!("quorate_tasks_queued").set(state.queue().len() as f64);
    gauge!("quorate_specification_bytes").set(state.totals().spec_bytes as f64);
    gauge!("quorate_output_bytes").set(state.totals().output_bytes as f64);
    gauge!("quorate_http_connections").set(connections as f64);
    gauge!("quorate_worker_sessions").set(sessions as f64);
    gauge!("quorate_events_remembered").set(events as f64);
}
