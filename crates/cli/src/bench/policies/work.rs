//! The work that policies are measured with.

use std::time::Duration;

use quorate_types::Span;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Of all workers.
pub(super) const CORES: f64 = 40.0;
/// Of those that are there when the work for rebalancing comes.
const JOINING_CORES: f64 = 32.0;
/// For so long jobs come, on average evenly.
pub(super) const ARRIVALS: Duration = Duration::from_secs(10);
/// A task takes from the first on, and most take much less than the longest.
const RUN_MS: (f64, f64) = (200.0, 4_000.0);
/// Requests of tasks in cores, with how many of a hundred tasks have it.
const REQUESTS: [(u64, u32); 4] = [(1, 70), (2, 18), (4, 9), (8, 3)];
/// Who submits, with how many of a hundred tasks.
const NAMESPACES: [(&str, u32); 3] = [("heavy", 70), ("middle", 20), ("light", 10)];
/// Long tasks that come first, and the short ones that come then.
const LONG_MS: u64 = 12_000;
const SHORT_MS: std::ops::Range<u64> = 200..500;
const SHORT_TASKS: usize = 100;
/// How long the tasks run that fill the first workers where others join.
const LONG_RUN: Span = Span::from_secs(40);
/// The zone with the least room, which all prefer that prefer any.
pub(super) const PREFERRED: &str = "b";

/// When jobs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrivals {
    Steady,
    /// Once a second, several at once, so that there is something to choose: of one core each, and each with a
    /// preference of its own.
    Bursts,
}

/// A job of one task, and when it comes.
pub(super) struct Work {
    pub(super) at: Duration,
    pub(super) core_ms: u64,
    /// How much it prefers [`PREFERRED`], from 1 to 100; 0 if it does not.
    pub(super) weight: u64,
    pub(super) job: Value,
}

/// The same for the same seed, load and arrivals.
pub(super) fn work(seed: u64, load: f64, arrivals: Arrivals) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut work = Vec::new();
    let mut left = CORES * load * ARRIVALS.as_secs_f64() * 1000.0;
    while left > 0.0 {
        let next = one(&mut random, work.len(), arrivals);
        left -= next.core_ms as f64;
        work.push(next);
    }
    work.sort_by_key(|work| work.at);
    work
}

fn one(random: &mut StdRng, nth: usize, arrivals: Arrivals) -> Work {
    let at = ARRIVALS.mul_f64(random.random_range(0.0..1.0));
    // Evenly in the logarithm: as many from 0.2 to 0.4 s as from 2 to 4 s.
    let run_ms = RUN_MS.0 * (RUN_MS.1 / RUN_MS.0).powf(random.random_range(0.0..1.0));
    let run_ms = run_ms as u64;
    let cores = match arrivals {
        Arrivals::Steady => pick(random, &REQUESTS),
        Arrivals::Bursts => 1,
    };
    let namespace = pick(random, &NAMESPACES);
    let priority: u32 = random.random_range(0..=100);
    // An order, and long enough for all to keep it: who misses it fails.
    let slack_s: u64 = random.random_range(60..=120);
    let mut task = json!({
        "name": "main",
        "command": ["sleep", format!("{}.{:03}", run_ms / 1000, run_ms % 1000)],
        "resources": {"cpu": cores},
        "expected": format!("{run_ms}ms"),
    });
    let (at, weight) = match arrivals {
        Arrivals::Steady => (at, 0),
        Arrivals::Bursts => (Duration::from_secs(at.as_secs()), random.random_range(1..=100)),
    };
    if weight > 0 {
        task["prefers"] = json!([{"condition": format!("zone={PREFERRED}"), "weight": weight}]);
    }
    let job = json!({
        "name": format!("work-{}", nth % 8), "namespace": namespace, "priority": priority,
        "deadline": format!("{slack_s}s"), "tasks": [task],
    });
    Work { at, core_ms: run_ms * cores, weight, job }
}

/// A long task for each core, and then many short ones.
pub(super) fn long_first(seed: u64) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let one = |at, name, run_ms: u64| Work { at, core_ms: run_ms, weight: 0, job: plain(name, run_ms) };
    let mut work: Vec<Work> = (0..CORES as u64).map(|_| one(Duration::ZERO, "long", LONG_MS)).collect();
    for _ in 0..SHORT_TASKS {
        let at = Duration::from_secs(1) + ARRIVALS.mul_f64(random.random_range(0.0..1.0));
        work.push(one(at, "short", random.random_range(SHORT_MS)));
    }
    work.sort_by_key(|work| work.at);
    work
}

/// A job of one task on one core.
fn plain(name: &str, run_ms: u64) -> Value {
    let command = ["sleep".to_owned(), format!("{}.{:03}", run_ms / 1000, run_ms % 1000)];
    json!({"name": name, "tasks": [{"command": command, "expected": format!("{run_ms}ms")}]})
}

/// One of several, each as often as it weighs in a hundred.
fn pick<T: Copy>(random: &mut StdRng, of: &[(T, u32)]) -> T {
    let mut drawn: u32 = random.random_range(0..of.iter().map(|(_, weight)| weight).sum());
    for (value, weight) in of {
        match drawn.checked_sub(*weight) {
            Some(left) => drawn = left,
            None => return *value,
        }
    }
    of[0].0
}

/// A task for each core of the workers that are there first.
pub(super) fn long_work() -> Vec<Work> {
    let task = json!({"command": ["sleep", (LONG_RUN.0 / 1000).to_string()], "movable": true});
    let one =
        || Work { at: Duration::ZERO, core_ms: LONG_RUN.0, weight: 0, job: json!({"name": "long", "tasks": [task]}) };
    std::iter::repeat_with(one).take(JOINING_CORES as usize).collect()
}
