//! What each policy does: the same seeded work on a fresh cluster of mixed workers for each, and what
//! `/v1/scheduling` says of it afterwards.
//!
//! Orders of the queue and backfills have more work than there is room for; some also long tasks that fill everything
//! before short ones come, tasks that must be done in time, or workflows. Placements have half of what there is room
//! for, since where everything is full there is nothing to choose; some of them also bursts of tasks that all prefer
//! one zone, some of them more than others, or tasks with keys. Rebalancing has long tasks, and workers that join when
//! all run.
//!
//! Layout: `work` (what is done), `played` (by whom, and what is measured of it), `table` (what people read).

mod played;
mod table;
mod work;

use std::time::Duration;

use quorate_types::Span;
use quorate_types::policy::{Backfill, PlacementOrder, Policy, Quantum, QueueOrder, Rebalance, RebalanceShare};
use quorate_types::scheduling::WindowView;
use serde_json::{Map, Value, json};

use super::Bench;
use super::report::{Report, median, rounded};
use crate::args::Rule;
use played::{Load, Played, play};
pub(crate) use table::table;
use work::{Arrivals, due, long_first, long_work, work, workflows};

/// How many workers of how many cores: forty in all.
const WORKERS: [(u16, u64); 3] = [(8, 2), (4, 4), (1, 8)];
/// Those that are there when the work for rebalancing comes, and as many that join while it is done.
const JOINING: [(u16, u64); 1] = [(4, 8)];
/// When they join.
const JOIN_AFTER: Duration = Duration::from_secs(3);
/// Turns of `round-robin`: of the run times, a good part is shorter.
const QUANTUM: Span = Span::from_secs(1);
/// Work that comes, over what the workers can do meanwhile.
const CROWDED: f64 = 1.6;
const HALF_LOADED: f64 = 0.5;
/// Of the report: one entry for each policy.
pub(crate) const POLICIES: &str = "policies";

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let rules = rules(&bench.args.only);
    let mut measured: Vec<Vec<Value>> = vec![Vec::new(); rules.len()];
    // All of them, and again all of them: what the machine does besides is everybody's.
    for run in 1..=bench.args.runs() {
        for (rule, runs) in rules.iter().zip(&mut measured) {
            let policy = policy_of(*rule);
            let played = play(bench, &policy, &load(*rule, bench.args.seed)).await?;
            let entry = entry(*rule, &policy, &played);
            say(&format!("run {run}, {}: {}", name_of(*rule), entry["atct_s"]));
            runs.push(entry);
        }
    }
    let measured: Vec<Value> = measured.iter().map(|runs| merged(runs)).collect();
    let means: Vec<f64> = measured.iter().filter_map(|entry| entry["atct_s"].as_f64()).collect();
    Ok(Report::new("policies", "s mean completion time, the median of each policy", &means)
        .detail("seed", bench.args.seed)
        .detail("workers", "8 of 2 cores, 4 of 4, 1 of 8")
        .detail(POLICIES, measured))
}

/// Of several runs of one policy the medians, and from where to where the figures went.
fn merged(runs: &[Value]) -> Value {
    let Some(first) = runs.first().and_then(Value::as_object) else { return Value::Null };
    let (mut entry, mut spread) = (first.clone(), Map::new());
    for (name, figure) in &mut entry {
        let mut all: Vec<f64> = runs.iter().filter_map(|run| run[name].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (all.first(), all.last()) {
            *figure = median(&all).into();
            spread.insert(name.clone(), json!([least, most]));
        }
    }
    entry.insert("runs".to_owned(), runs.len().into());
    entry.insert("spread".to_owned(), spread.into());
    entry.into()
}

fn rules(only: &[Rule]) -> Vec<Rule> {
    if !only.is_empty() {
        return only.to_vec();
    }
    let queues = QueueOrder::ALL.iter().copied().map(Rule::Queue);
    // Without backfill is what the orders are.
    let backfills = Backfill::ALL.iter().copied().filter(|backfill| *backfill != Backfill::None).map(Rule::Backfill);
    let placements = PlacementOrder::ALL.iter().copied().map(Rule::Placement);
    let preferring = [PlacementOrder::LeastLoad, PlacementOrder::MinCostFlow].map(Rule::Preferring);
    let keyed = [PlacementOrder::LeastLoad, PlacementOrder::ConsistentHash].map(Rule::Keyed);
    let rebalances = Rebalance::ALL.iter().copied().map(Rule::Rebalance);
    let long_first = [QueueOrder::Fifo, QueueOrder::RoundRobin, QueueOrder::Srtf].map(Rule::LongFirst);
    let due = [QueueOrder::Fifo, QueueOrder::Sjf, QueueOrder::Deadline].map(Rule::Due);
    let workflows = [QueueOrder::Fifo, QueueOrder::LeastWork, QueueOrder::CriticalPath].map(Rule::Workflows);
    let queues = queues.chain(long_first).chain(due).chain(workflows);
    queues.chain(backfills).chain(placements).chain(preferring).chain(keyed).chain(rebalances).collect()
}

fn policy_of(rule: Rule) -> Policy {
    let plain = Policy { queue: QueueOrder::Fifo, ..Policy::default() };
    match rule {
        Rule::Queue(queue) | Rule::LongFirst(queue) | Rule::Due(queue) | Rule::Workflows(queue) => {
            Policy { queue, quantum: Quantum::try_from(QUANTUM).unwrap_or_default(), ..plain }
        }
        Rule::Backfill(backfill) => Policy { backfill, ..plain },
        Rule::Placement(placement) | Rule::Preferring(placement) | Rule::Keyed(placement) => {
            Policy { placement, ..plain }
        }
        // All of it at once: the run is short.
        Rule::Rebalance(rebalance) => {
            Policy { rebalance, rebalance_share: RebalanceShare::try_from(1_000).unwrap_or_default(), ..plain }
        }
    }
}

fn load(rule: Rule, seed: u64) -> Load {
    let (work, workers, join_after): (_, &[_], _) = match rule {
        Rule::Queue(_) | Rule::Backfill(_) => (work(seed, CROWDED, Arrivals::Steady), &WORKERS, None),
        Rule::LongFirst(_) => (long_first(seed), &WORKERS, None),
        Rule::Due(_) => (due(seed), &WORKERS, None),
        Rule::Workflows(_) => (workflows(seed), &WORKERS, None),
        Rule::Placement(_) => (work(seed, HALF_LOADED, Arrivals::Steady), &WORKERS, None),
        Rule::Preferring(_) => (work(seed, HALF_LOADED, Arrivals::Bursts), &WORKERS, None),
        Rule::Keyed(_) => (work(seed, HALF_LOADED, Arrivals::Keyed), &WORKERS, None),
        Rule::Rebalance(_) => (long_work(), &JOINING, Some(JOIN_AFTER)),
    };
    Load { work, workers, join_after, may_miss: matches!(rule, Rule::Due(_)) }
}

fn name_of(rule: Rule) -> String {
    let name = match rule {
        Rule::Queue(queue) => queue.as_str(),
        Rule::LongFirst(queue) => return format!("long-first={queue}"),
        Rule::Backfill(backfill) => backfill.as_str(),
        Rule::Placement(placement) => placement.as_str(),
        Rule::Due(queue) => return format!("due={queue}"),
        Rule::Workflows(queue) => return format!("workflows={queue}"),
        Rule::Preferring(placement) => return format!("preferring={placement}"),
        Rule::Keyed(placement) => return format!("keyed={placement}"),
        Rule::Rebalance(Rebalance::Off) => "rebalance=off",
        Rule::Rebalance(Rebalance::On) => "rebalance=on",
    };
    name.to_owned()
}

fn entry(rule: Rule, policy: &Policy, played: &Played) -> Value {
    let Some(window) = played.view.windows.first() else { return Value::Null };
    let WindowView { finished, wait_s, .. } = window;
    let number = |value: Option<f64>| value.map(rounded);
    json!({
        "rule": name_of(rule),
        "policy": policy,
        "jobs": played.jobs,
        "tasks": finished.succeeded,
        "atct_s": number(window.average_task_completion_time_s),
        "wait_p50_s": number(wait_s.map(|wait| wait.p50)),
        "wait_p90_s": number(wait_s.map(|wait| wait.p90)),
        "wait_p99_s": number(wait_s.map(|wait| wait.p99)),
        "bounded_slowdown": number(window.bounded_slowdown),
        "cpu_utilisation": number(window.resource_utilisation.get("cpu").copied()),
        "load_balance_degree": number(window.load_balance_degree.as_ref().and_then(|all| all.get("cpu")).copied()),
        "fairness": number(window.fairness),
        "queue_mean": rounded(window.queue_length.mean),
        "in_one_zone": rounded(played.in_one_zone),
        "preferred": number(played.preferred),
        "missed": number(played.missed),
        "urgent_wait_s": number(played.urgent_wait_s),
        "job_s": number(played.job_s),
        "at_home": number(played.at_home),
    })
}

#[cfg(test)]
mod tests {
    use super::work::{ARRIVALS, CORES};
    use super::*;

    #[test]
    fn a_seed_makes_the_same_work_again() {
        let of = |seed, load, arrivals| {
            let work = work(seed, load, arrivals);
            work.iter().map(|work| (work.at, work.job.to_string())).collect::<Vec<_>>()
        };
        for arrivals in [Arrivals::Steady, Arrivals::Bursts] {
            assert_eq!(of(1, CROWDED, arrivals), of(1, CROWDED, arrivals));
            assert_ne!(of(1, CROWDED, arrivals), of(2, CROWDED, arrivals));
        }
        let bursts = work(1, HALF_LOADED, Arrivals::Bursts);
        let core_s: f64 = bursts.iter().map(|work| work.core_ms as f64 / 1000.0).sum();
        let wanted = CORES * HALF_LOADED * ARRIVALS.as_secs_f64();
        assert!((wanted..wanted + 32.0).contains(&core_s), "{core_s} of {wanted}");
        // Ten bursts of several, in which all want the same and not as much as each other.
        assert!(bursts.chunk_by(|a, b| a.at == b.at).count() <= 10);
        assert!(bursts.iter().all(|work| (1..=100).contains(&work.weight)));
    }

    #[test]
    fn what_is_due_can_all_be_done_in_time() {
        let mut due: Vec<(u64, u64)> = work::due(1)
            .iter()
            .map(|work| {
                let text = work.job["deadline"].as_str().unwrap_or_default();
                (text.trim_end_matches("ms").parse().unwrap_or_default(), work.core_ms)
            })
            .collect();
        due.sort_unstable();
        let mut before = 0.0;
        for (by_ms, core_ms) in due {
            before += core_ms as f64;
            assert!(before / CORES < by_ms as f64, "{before} core milliseconds are due after {by_ms} ms");
        }
    }

    #[test]
    fn several_runs_give_medians_and_what_they_lie_between() {
        let run = |atct: Option<f64>| json!({"rule": "fifo", "atct_s": atct, "missed": null});
        let all = merged(&[run(Some(3.0)), run(Some(5.0)), run(Some(1.0)), run(None)]);
        let expected =
            json!({"rule": "fifo", "atct_s": 3.0, "missed": null, "runs": 4, "spread": {"atct_s": [1.0, 5.0]}});
        assert_eq!(all, expected);
    }

    #[test]
    fn all_policies_are_there_once() {
        let names: Vec<String> = rules(&[]).into_iter().map(name_of).collect();
        let all =
            QueueOrder::ALL.len() + Backfill::ALL.len() - 1 + PlacementOrder::ALL.len() + 13 + Rebalance::ALL.len();
        assert_eq!(names.len(), all);
        for name in ["sjf", "easy", "least-load", "preferring=min-cost-flow", "due=deadline", "keyed=consistent-hash"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
    }
}
