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
/// From this priority on a job is urgent: a fifth of all.
const URGENT: u32 = 80;
/// Deadlines, from when the first may be to when the last are. All work is there at once; each second some seven
/// eighths as much of it is due as all workers can do in one, so that all can be kept.
const DUE_MS: std::ops::Range<u64> = 1_500..13_000;
/// What comes when all comes at once, in what the workers can do in this time.
const DUE_WORK: Duration = Duration::from_secs(10);
/// Keys of tasks that had better stay where the last one with theirs was.
const KEYS: usize = 26;
/// Workflows that come together: tasks on their own, and then a chain.
const WORKFLOWS: usize = 5;
const FAN: u64 = 60;
const CHAIN: u64 = 9;
const STEP_MS: std::ops::Range<u64> = 800..1_200;

/// When jobs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrivals {
    Steady,
    /// Once a second, several at once, so that there is something to choose: of one core each, and each with a
    /// preference of its own.
    Bursts,
    /// Of one core each, with keys.
    Keyed,
}

/// A job, and when it comes.
pub(super) struct Work {
    pub(super) at: Duration,
    pub(super) core_ms: u64,
    /// How much it prefers [`PREFERRED`], from 1 to 100; 0 if it does not.
    pub(super) weight: u64,
    /// Which of the keys its task has, if it has one.
    pub(super) key: Option<usize>,
    pub(super) urgent: bool,
    pub(super) job: Value,
}

impl Work {
    /// Without preference, key or priority.
    fn plain(at: Duration, job: Value) -> Self {
        Self { at, core_ms: 0, weight: 0, key: None, urgent: false, job }
    }
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
        Arrivals::Bursts | Arrivals::Keyed => 1,
    };
    let namespace = pick(random, &NAMESPACES);
    let priority: u32 = random.random_range(0..=100);
    // An order, and long enough for all to keep it: who misses it fails.
    let slack_s: u64 = random.random_range(60..=120);
    let mut task = json!({
        "name": "main",
        "command": sleep(run_ms),
        "resources": {"cpu": cores},
        "expected": format!("{run_ms}ms"),
    });
    let mut work =
        Work { at, core_ms: run_ms * cores, weight: 0, key: None, urgent: priority >= URGENT, job: json!({}) };
    match arrivals {
        Arrivals::Steady => {}
        Arrivals::Bursts => {
            work.at = Duration::from_secs(at.as_secs());
            work.weight = random.random_range(1..=100);
            task["prefers"] = json!([{"condition": format!("zone={PREFERRED}"), "weight": work.weight}]);
        }
        Arrivals::Keyed => {
            let key = random.random_range(0..KEYS);
            work.key = Some(key);
            task["key"] = json!(format!("key-{key}"));
        }
    }
    work.job = json!({
        "name": format!("work-{}", nth % 8), "namespace": namespace, "priority": priority,
        "deadline": format!("{slack_s}s"), "tasks": [task],
    });
    work
}

/// All at once, each with a time by which it must be done.
pub(super) fn due(seed: u64) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut work = Vec::new();
    let mut left = CORES * DUE_WORK.as_secs_f64() * 1000.0;
    while left > 0.0 {
        let mut next = one(&mut random, work.len(), Arrivals::Keyed);
        next.at = Duration::ZERO;
        let due_ms = random.random_range(DUE_MS).max(DUE_MS.start + next.core_ms);
        next.job["deadline"] = json!(format!("{due_ms}ms"));
        left -= next.core_ms as f64;
        work.push(next);
    }
    work
}

/// Workflows, all there at once. In each the chain is what takes longest, and comes last in the specification.
pub(super) fn workflows(seed: u64) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut one = || {
        let mut core_ms = 0;
        let mut tasks = Vec::new();
        for nth in 0..FAN + CHAIN {
            let run_ms = random.random_range(STEP_MS);
            core_ms += run_ms;
            let before: Vec<String> = (nth > FAN).then(|| format!("step-{}", nth - 1)).into_iter().collect();
            tasks.push(json!({
                "name": format!("step-{nth}"), "command": sleep(run_ms), "expected": format!("{run_ms}ms"),
                "needs": before,
            }));
        }
        let job = json!({"name": "workflow", "tasks": tasks});
        Work { core_ms, ..Work::plain(Duration::ZERO, job) }
    };
    std::iter::repeat_with(&mut one).take(WORKFLOWS).collect()
}

/// A long task for each core, and then many short ones.
pub(super) fn long_first(seed: u64) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let one = |at, name, run_ms: u64| Work { core_ms: run_ms, ..Work::plain(at, plain(name, run_ms)) };
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
    json!({"name": name, "tasks": [{"command": sleep(run_ms), "expected": format!("{run_ms}ms")}]})
}

fn sleep(run_ms: u64) -> [String; 2] {
    ["sleep".to_owned(), format!("{}.{:03}", run_ms / 1000, run_ms % 1000)]
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
    let job = json!({"name": "long", "tasks": [task]});
    let one = || Work { core_ms: LONG_RUN.0, ..Work::plain(Duration::ZERO, job.clone()) };
    std::iter::repeat_with(one).take(JOINING_CORES as usize).collect()
}
