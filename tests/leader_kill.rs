//! The leader is killed with -9 in the middle of a workflow: nobody's task notices, clients wait a moment, and the
//! killed replica comes back to the same state.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Cluster, PATIENCE, WorkerSetup, cli, note, turn, wait_until};
use serde_json::{Value, json};

const TASKS: u64 = 58;
/// The promise of issue 2: a submit through each survivor works within this after the kill.
const WRITES_WITHIN: Duration = Duration::from_secs(2);

/// The recorded Montage workflow, where the checkout has it beside it.
fn recording() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("../shared/data/workflows/montage-chameleon-2mass-005d-001.json.gz");
    file.exists().then_some(file)
}

/// The same shape for who has no recording: project, fit each pair, model, correct, and put together.
fn montage() -> Value {
    let task = |name: String, seconds: f64, needs: Vec<String>| json!({"name": name, "command": ["sleep", seconds.to_string()], "needs": needs});
    let names = |kind: &str, count: usize| (0..count).map(|at| format!("{kind}-{at}")).collect::<Vec<_>>();
    let (projects, fits, corrected) = (names("project", 12), names("fit", 20), names("background", 12));
    let mut tasks: Vec<Value> = projects.iter().map(|name| task(name.clone(), 0.4, vec![])).collect();
    for (at, name) in fits.iter().enumerate() {
        let other = (at + 1 + at / 12) % 12;
        tasks.push(task(name.clone(), 0.15, vec![projects[at % 12].clone(), projects[other].clone()]));
    }
    tasks.push(task("concat".into(), 0.1, fits));
    tasks.push(task("model".into(), 0.4, vec!["concat".into()]));
    for (name, project) in corrected.iter().zip(&projects) {
        tasks.push(task(name.clone(), 0.1, vec!["model".into(), project.clone()]));
    }
    let mut before = corrected;
    for at in tasks.len()..TASKS as usize {
        let name = format!("mosaic-{at}");
        tasks.push(task(name.clone(), 0.1, before));
        before = vec![name];
    }
    json!({"name": "montage", "tasks": tasks})
}

async fn submit_workflow(cluster: &Cluster) -> u64 {
    let Some(file) = recording() else {
        note("no recorded workflow beside the checkout: its shape is made up");
        return cluster.any().submit(&montage()).await;
    };
    let file = file.to_str().unwrap();
    let args = ["job", "submit", "--format", "wfcommons", "--time-scale", "0.05", file];
    let ran = cli::quorate(&cluster.urls(), &args, "").await.exits(0);
    ran.stdout.trim().parse().unwrap_or_else(|_| panic!("no job id on stdout: {ran:?}"))
}

/// Submits through one replica until that is accepted; answers how long after `since` that was.
async fn first_write(api: crate::support::Api, name: String, since: Instant) -> Duration {
    let job = json!({"name": name, "command": ["true"], "priority": 100});
    wait_until(&format!("a write through {}", api.base), PATIENCE, || async {
        let answer = api.try_submit(&job, Some(&name)).await.ok()?;
        answer.is_success().then(|| since.elapsed())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_does_not_notice_the_death_of_the_leader() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for name in ["w1", "w2"] {
        cluster.start_worker_with(name, WorkerSetup { cpu: "2", ..WorkerSetup::default() }).await;
    }
    let job = submit_workflow(&cluster).await;
    let leader = cluster.leader().await;
    let api = cluster.at(leader);
    let counts = wait_until("the middle of the workflow", PATIENCE, || async {
        let tasks = api.job(job).await["tasks"].clone();
        let middle = tasks["succeeded"].as_u64()? >= TASKS / 3 && tasks["running"].as_u64()? >= 3;
        middle.then_some(tasks)
    })
    .await;
    assert_eq!(counts["total"], TASKS, "{counts}");
    assert!(counts["succeeded"].as_u64().unwrap() < TASKS - 5, "killed too late to show anything: {counts}");

    cluster.kill(leader);
    let killed = Instant::now();
    let survivors = cluster.apis();
    let writes = survivors.iter().map(|api| {
        let name = format!("after-{}", api.base.rsplit(':').next().unwrap());
        tokio::spawn(first_write(api.clone(), name, killed))
    });
    for (write, api) in writes.collect::<Vec<_>>().into_iter().zip(&survivors) {
        let took = write.await.unwrap();
        note(&format!("{} took a write {} ms after the leader's death", api.base, took.as_millis()));
        assert!(took < WRITES_WITHIN, "{}: the first write only after {took:?}", api.base);
    }
    assert_ne!(cluster.leader().await, leader);

    cluster.any().ends_as(job, "succeeded").await;
    let tasks = cluster.any().tasks(job).await;
    assert_eq!(tasks.len() as u64, TASKS);
    for task in &tasks {
        assert_eq!((&task["state"], &task["exit_code"]), (&json!("succeeded"), &json!(0)), "{task}");
        assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "a task was interrupted: {task}");
    }

    cluster.restart(leader).await;
    let (index, _) = cluster.digests_agree().await;
    assert!(index > 0);
    let events = cluster.events_agree(&[job]).await;
    let disturbed = ["task.stopping", "task.failed", "task.waiting", "worker.lost", "worker.left"];
    let disturbance = events.iter().find(|event| disturbed.contains(&event.kind.as_str()));
    assert!(disturbance.is_none(), "{disturbance:?}");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leader_after_the_other_dies_and_every_task_runs_once() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let journal = crate::support::Journal::new(&cluster.dir);
    cluster.start_worker("w1").await;
    cluster.start_worker("w2").await;
    let job = json!({"name": "steady", "tasks": [
        journal.task("first", 8, Duration::from_secs(1)),
        journal.task("then", 8, Duration::from_secs(1)),
    ]});
    let mut job = job;
    job["tasks"][1]["needs"] = json!(["first"]);
    let id = cluster.any().submit(&job).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let more = journal.check().len() + usize::from(round > 0);
        wait_until("tasks to run", PATIENCE, || async { (journal.check().len() > more.min(12)).then_some(()) }).await;
        cluster.kill(leader);
        cluster.leader().await;
        cluster.restart(leader).await;
    }
    cluster.any().ends_as(id, "succeeded").await;
    let attempts = journal.check();
    assert_eq!(attempts.len(), 16);
    for (element, seen) in &attempts {
        assert!(seen.len() == 1 && seen[0].ended, "{element} was interrupted: {seen:?}");
    }
    cluster.digests_agree().await;
    cluster.events_agree(&[id]).await;
    cluster.finish();
}

const READS: usize = 8;

/// On how many connections to a port something has come that nobody has read: the fifth column of `/proc/net/tcp` is
/// the length of both queues, in the fourth 01 is an established connection.
fn unread(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mine = format!(":{port:04X}");
    let waits = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1].ends_with(&mine) && columns[3] == "01" && !columns[4].ends_with(":00000000")
    };
    table.lines().skip(1).filter(waits).count()
}

/// A leader that is stopped for a while believes, when it wakes up, that it still leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_through_its_own_replacement_tells_nothing_stale() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    for round in 0..3 {
        let sleeper = cluster.leader().await;
        let process = &cluster.replicas[&sleeper].process;
        process.signal(libc::SIGSTOP);
        let awake = cluster.ids().into_iter().find(|id| *id != sleeper).unwrap();
        let name = format!("meanwhile-{round}");
        let job = json!({"name": name, "command": ["true"]});
        let id = wait_until("a write without the sleeper", PATIENCE, || async {
            let answer = cluster.at(awake).try_submit(&job, Some(&name)).await.ok()?;
            answer.is_success().then(|| crate::support::http::id_of(&answer))
        })
        .await;
        let port = cluster.replicas[&sleeper].http.parse::<SocketAddr>().unwrap().port();
        let before = unread(port);
        // Asked after the write was answered, and while the old leader sleeps: these are the first things it does.
        let reads: Vec<_> = (0..READS)
            .map(|_| {
                let api = cluster.at(sleeper).fresh();
                tokio::spawn(async move { api.try_get(&format!("/v1/jobs/{id}")).await })
            })
            .collect();
        wait_until("the reads to lie at the sleeper's door", PATIENCE, || async move {
            (unread(port) >= before + READS).then_some(())
        })
        .await;
        process.signal(libc::SIGCONT);
        let mut seen = 0;
        for read in reads {
            if let Some(answer) = read.await.unwrap() {
                assert!(matches!(answer.status, 200 | 503), "a stale read: {} {}", answer.status, answer.text());
                seen += usize::from(answer.status == 200);
            }
        }
        assert!(seen > 0, "no read was answered: nothing was tested");
        cluster.leader().await;
    }
    cluster.digests_agree().await;
    cluster.events_agree(&[]).await;
    cluster.finish();
}

/// Checkers are tests too: each must find what it is there for.
mod the_event_checkers {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use crate::support::events::{Event, agree, check_job, check_order};

    fn event(cursor: &str, kind: &str, task: &str, fence: u64) -> Event {
        let time = "2026-01-01T00:00:00.000Z";
        let event =
            json!({"cursor": cursor, "time": time, "type": kind, "job": 1, "task": task, "index": 0, "fence": fence});
        Event::parse(&event.to_string())
    }

    fn spec() -> Value {
        json!({"tasks": [{"name": "a", "count": 1, "needs": []}, {"name": "b", "count": 1, "needs": ["a"]}]})
    }

    fn complaint(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(check).expect_err("the checker saw nothing");
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn find_gaps_and_disorder_and_differences() {
        let good = vec![
            event("1.0", "task.pending", "a", 0),
            event("1.1", "task.assigned", "a", 1),
            event("3.0", "x", "a", 1),
        ];
        check_order(1, &good, 3);
        assert!(complaint(|| check_order(1, &good[1..], 3)).contains("gap"));
        let swapped = vec![good[2].clone(), good[0].clone()];
        assert!(complaint(|| check_order(1, &swapped, 3)).contains("order"));
        let twice = vec![good[2].clone(), good[2].clone()];
        assert!(complaint(|| check_order(1, &twice, 3)).contains("gap"));
        let shorter = BTreeMap::from([(1, (good.clone(), 3)), (2, (good[..2].to_vec(), 3))]);
        assert!(complaint(|| drop(agree(&shorter))).contains("more and less"));
        let other = vec![good[0].clone(), good[1].clone(), event("3.0", "y", "a", 1)];
        let different = BTreeMap::from([(1, (good, 3)), (2, (other, 3))]);
        assert!(complaint(|| drop(agree(&different))).contains("different"));
    }

    #[test]
    fn find_second_results_and_early_children() {
        let a = [event("2.0", "task.assigned", "a", 2), event("3.0", "task.succeeded", "a", 2)];
        let b = [event("4.0", "task.assigned", "b", 4), event("5.0", "task.succeeded", "b", 4)];
        check_job(&[a.clone(), b.clone()].concat(), 1, &spec());
        assert!(complaint(|| check_job(&[b.clone(), a.clone()].concat(), 1, &spec())).contains("before"));
        assert!(complaint(|| check_job(&a, 1, &spec())).contains("not every task"));
        let twice = [&a[..], &[event("3.1", "task.succeeded", "a", 2)]].concat();
        assert!(complaint(|| check_job(&twice, 1, &spec())).contains("second result"));
        let stale = [event("2.0", "task.assigned", "a", 2), event("2.1", "task.assigned", "a", 3), a[1].clone()];
        assert!(complaint(|| check_job(&stale, 1, &spec())).contains("newest attempt"));
    }
}
