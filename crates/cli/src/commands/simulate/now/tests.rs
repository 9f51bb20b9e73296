//! A cluster as its API describes it, and what becomes of it.

use quorate_sim::lab::{Rules, Variant, Wanted};
use quorate_types::api::{JobView, TaskView, WorkerView};
use serde_json::{Value, json};

use super::outlook::Outlook;
use super::read::{Learned, Live, LiveJob};
use super::scene::Plan;
use super::*;
use crate::args::{Cli, Command};

const NOW: &str = "2026-01-01T01:00:00Z";

fn worker(name: &str, state: &str, cpu: u64) -> WorkerView {
    let worker = json!({"name": name, "epoch": 1, "state": state, "labels": {"zone": name}, "capacity": {"cpu": cpu},
        "used": {}, "running": 0, "replica": 1});
    serde_json::from_value(worker).unwrap()
}

/// Submitted at midnight.
fn job(id: u64, request: &Value, tasks: &[Value]) -> LiveJob {
    let request: quorate_types::job::JobRequest = serde_json::from_value(request.clone()).unwrap();
    let spec = request.validate().unwrap();
    let counts = json!({"total": spec.elements(), "waiting": 0, "pending": 0, "assigned": 0, "running": 0, "stopping": 0,
        "succeeded": 0, "failed": 0, "cancelled": 0});
    let view = json!({"id": id, "name": spec.name, "namespace": spec.namespace, "state": "running", "priority": 50,
        "labels": spec.labels, "submitted_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": null, "index": 9,
        "tasks": counts});
    let mut view: JobView = serde_json::from_value(view).unwrap();
    view.spec = Some(std::sync::Arc::new(spec));
    let tasks = tasks.iter().map(|task| serde_json::from_value::<TaskView>(task.clone()).unwrap()).collect();
    LiveJob { view, tasks }
}

fn task(state: &str, index: u32, worker: &str, started: &str) -> Value {
    let attempt = json!({"number": 1, "fence": 5, "worker": worker, "epoch": 1, "state": state, "exit_code": null,
        "reason": null, "started_at": started, "finished_at": null});
    json!({"task": "main", "index": index, "state": state, "attempt": 1, "worker": worker, "exit_code": null,
        "reason": null, "result": null, "progress": null, "started_at": started,
        "finished_at": if state == "succeeded" { json!(NOW) } else { Value::Null }, "attempts": [attempt]})
}

/// Two workers of four cores. On each a task of 30 minutes runs since ten; two more wait, and one that needs them.
fn live() -> Live {
    let wide = json!({"name": "wide", "tasks": [
        {"name": "after", "command": ["x"], "needs": ["main"], "expected": "5m"},
        {"name": "main", "command": ["x"], "count": 4, "resources": {"cpu": 4}, "expected": "30m"}]});
    let ten = "2026-01-01T00:50:00Z";
    let running = [task("running", 0, "a", ten), task("running", 1, "b", ten)];
    Live {
        now: NOW.parse().unwrap(),
        workers: vec![worker("a", "ready", 4), worker("b", "ready", 4), worker("dead", "lost", 64)],
        jobs: vec![job(1, &wide, &running)],
        ..Live::default()
    }
}

fn outlook(live: &Live, line: &str) -> Result<Outlook, Failure> {
    let line = format!("quorate simulate --from-cluster --now {line}");
    let Command::Simulate(args) = Cli::of(line.split_whitespace()).unwrap().command else { panic!("{line}") };
    let plan = Plan::of(live, &args.machines, args.assume)?;
    let workload = Workload::of_jobs(plan.waiting.clone(), &plan.machines, None).unwrap();
    let (variants, wanted) = ([Variant::default()], Wanted { fates: true, ..Wanted::default() });
    let (scene, machines, rules) = (&plan.scene, &plan.machines, Rules::default());
    let experiment = Experiment { workload: &workload, scene, machines, variants: &variants, rules, wanted };
    let runs = experiment.run(&|_| {}).unwrap();
    Ok(Outlook::of(&runs[0], &plan))
}

/// running, again, waiting, at once, longest wait and drained in minutes.
fn figures(line: &str) -> (u64, u64, u64, u64, f64, f64) {
    let found = outlook(&live(), line).unwrap();
    let minutes = |seconds: f64| seconds / 60.0;
    let (longest, drained) = (minutes(found.longest_wait_s), minutes(found.drained_in_s));
    (found.running, found.again, found.waiting, found.at_once, longest, drained)
}

#[test]
fn what_runs_goes_on_and_what_waits_follows() {
    // Twenty minutes are left of what runs, then thirty, then five.
    assert_eq!(figures(""), (2, 0, 3, 0, 50.0, 55.0));
    // A drained worker ends what it runs; the other one takes both.
    assert_eq!(figures("--drain b"), (2, 0, 3, 0, 80.0, 85.0));
    // What a lost one ran starts again: three times thirty minutes after the twenty.
    assert_eq!(figures("--lose b"), (1, 1, 4, 0, 110.0, 115.0));
    assert_eq!(figures("--lose zone=b"), figures("--lose b"));
    assert_eq!(figures("--add 4cpu*2"), (2, 0, 3, 2, 30.0, 35.0));
}

#[test]
fn where_things_go_is_told_by_worker_and_by_job() {
    let found = outlook(&live(), "--drain b --add 4cpu").unwrap();
    let workers: Vec<_> = found.workers.iter().map(|w| (w.name.as_str(), w.state, w.running, w.to_come)).collect();
    assert_eq!(workers, [("a", "ready", 1, 2), ("b", "draining", 1, 0), ("added-1", "ready", 0, 1)]);
    assert_eq!(found.workers[1].idle_in_s, 1200.0);
    let [line] = found.jobs.as_slice() else { panic!("{found:?}") };
    assert_eq!((line.running, line.waiting, line.first_start_in_s, line.done_in_s), (2, 3, Some(0.0), 55.0 * 60.0));
    assert_eq!(line.workers.values().sum::<u64>(), 5);
}

#[test]
fn what_fits_nowhere_waits_for_ever_with_all_that_needs_it() {
    let found = outlook(&live(), "--drain a --drain b --add 2cpu").unwrap();
    let never: Vec<_> = found.never.iter().map(|never| (never.task.as_str(), never.count)).collect();
    assert_eq!((never, found.waiting, found.drained_in_s), (vec![("after", 1), ("main", 2)], 0, 1200.0));
    for (line, reason) in [("--drain c", "--drain c: there is no such"), ("--lose a --lose b", "no worker is left")] {
        let failure = outlook(&live(), line).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.to_string().contains(reason), "{line}: {failure}");
    }
}

#[test]
fn times_are_expected_learned_limited_or_assumed() {
    let drained = |request: Value, tasks: &[Value], line: &str| {
        let job = job(1, &request, tasks);
        let mut learned = Learned::default();
        learned.add(&job.view, &job.tasks);
        let live = Live { jobs: vec![job], learned, ..live() };
        outlook(&live, line).unwrap().drained_in_s / 60.0
    };
    let plain = json!({"command": ["x"]});
    assert_eq!(drained(plain.clone(), &[], ""), 10.0);
    assert_eq!(drained(plain, &[], "--assume 3m"), 3.0);
    assert_eq!(drained(json!({"tasks": [{"command": ["x"], "timeout": "7m"}]}), &[], ""), 7.0);
    // Twenty minutes were learned of the first element.
    let twice = json!({"tasks": [{"command": ["x"], "count": 2, "timeout": "90m"}]});
    let ended = [task("succeeded", 0, "a", "2026-01-01T00:40:00Z")];
    assert_eq!(drained(twice.clone(), &ended, ""), 20.0);
    // It runs for fifty already: as long again, but not beyond its timeout.
    let late = [ended[0].clone(), task("running", 1, "a", "2026-01-01T00:10:00Z")];
    assert_eq!(drained(twice, &late, ""), 40.0);
    let later = json!({"command": ["x"], "start_after": "2026-01-01T01:30:00Z"});
    assert_eq!(drained(later, &[], ""), 40.0);
}

#[test]
fn what_starts_later_holds_up_what_needs_it() {
    let later = json!({"command": ["x"], "start_after": "2026-01-01T01:30:00Z"});
    let needs = json!({"tasks": [{"name": "t", "command": ["x"], "needs": [{"job": 1, "on": "finish"}]}]});
    let live = Live { jobs: vec![job(1, &later, &[]), job(2, &needs, &[])], ..live() };
    assert_eq!(outlook(&live, "").unwrap().drained_in_s, 50.0 * 60.0);
}

/// Worker b is tainted, and c in a zone of its own; three must not share a worker.
#[test]
fn constraints_say_where_what_waits_goes() {
    let mut tainted = worker("b", "ready", 4);
    tainted.taints = vec!["spot".parse().unwrap()];
    let workers = vec![worker("a", "ready", 4), tainted, worker("c", "ready", 4)];
    let request = json!({"tasks": [
        {"name": "free", "command": ["x"], "expected": "10m", "count": 2, "anti_affinity": ["free"]},
        {"name": "zoned", "command": ["x"], "expected": "10m", "requires": ["zone=c"], "resources": {"cpu": 4}},
        {"name": "spot", "command": ["x"], "expected": "10m", "requires": ["zone=b"], "tolerations": ["spot"]},
        {"name": "lost", "command": ["x"], "expected": "10m", "requires": ["zone=b"]}]});
    let live = Live { workers, jobs: vec![job(1, &request, &[])], ..live() };
    let told = |line: &str| {
        let found = outlook(&live, line).unwrap();
        let to_come = found.workers.iter().map(|worker| (worker.name.to_string(), worker.to_come)).collect::<Vec<_>>();
        let never: Vec<_> = found.never.iter().map(|never| (never.task.to_string(), never.count)).collect();
        (to_come, never, found.drained_in_s / 60.0)
    };
    let of = |names: &[(&str, u64)]| names.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
    // One that is alone on a first, and the other one on c beside or after what takes all of it.
    assert_eq!(told(""), (of(&[("a", 1), ("b", 1), ("c", 2)]), of(&[("lost", 1)]), 20.0));
    let (_, never, _) = told("--lose zone=c");
    assert_eq!(never, of(&[("lost", 1), ("zoned", 1)]));
    let (to_come, never, drained) = told("--lose zone=c --add 4cpu,label:zone=c");
    assert_eq!((to_come[2].1, never, drained), (2, of(&[("lost", 1)]), 20.0));
    let (_, never, _) = told("--lose zone=c --add 4cpu,label:zone=c,taint:x");
    assert_eq!(never, of(&[("lost", 1), ("zoned", 1)]));
}
