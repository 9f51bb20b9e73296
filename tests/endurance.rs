//! What must hold for long: graphs, keys and recorded workflows while leaders die one after the other. Each test run
//! has a share of it; `QUORATE_ENDURANCE` set, it is all of it (`just endurance`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::events::Event;
use crate::support::{Cluster, PATIENCE, WorkerSetup, cli, note, share, turn, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// What a task of the graph needs at most, and how far back.
const NEEDS_MAX: usize = 4;
const REACH: usize = 200;
/// What is still running after so long never ends.
const LONGEST: Duration = Duration::from_secs(900);

fn graph(tasks: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut random = StdRng::seed_from_u64(seed);
    let needs = |at: usize| {
        let count = random.random_range(0..=NEEDS_MAX.min(at));
        let mut needs: Vec<usize> = (0..count).map(|_| random.random_range(at.saturating_sub(REACH)..at)).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    };
    (0..tasks).map(needs).collect()
}

/// Each task succeeded once, and its last attempt started after all that it needs had succeeded.
fn check_graph(events: &[Event], job: u64, graph: &[Vec<usize>]) {
    let (mut started, mut succeeded) = (BTreeMap::new(), BTreeMap::new());
    for event in events.iter().filter(|event| event.job == Some(job)) {
        let task = || event.task.as_ref().unwrap()[1..].parse::<usize>().unwrap();
        match event.kind.as_str() {
            // The first of them: one that came too early may have been lost.
            "task.assigned" => drop(started.entry(task()).or_insert(event.at)),
            "task.succeeded" => assert_eq!(succeeded.insert(task(), event.at), None, "twice: {}", event.raw),
            _ => {}
        }
    }
    assert_eq!(succeeded.len(), graph.len());
    for (at, needs) in graph.iter().enumerate() {
        for need in needs {
            assert!(succeeded[need] < started[&at], "t{at} started at {:?}, t{need} ended later", started[&at]);
        }
    }
}

async fn kill_leader(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.leader().await;
    cluster.restart(leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_graph_respects_every_edge_whatever_dies() {
    let _turn = turn().await;
    let (tasks, kill_every) = (share(1_500, 10_000), Duration::from_secs(share(2, 10)));
    let graph = graph(tasks, 7);
    let specs = graph.iter().enumerate().map(|(at, needs)| {
        let needs: Vec<String> = needs.iter().map(|need| format!("t{need}")).collect();
        json!({"name": format!("t{at}"), "command": ["sleep", share("0.02", "0.1")], "needs": needs, "resources": {"cpu": 0.25}})
    });
    let mut cluster = Cluster::of_three().await;
    for name in ["v", "w"] {
        cluster.start_worker_with(name, WorkerSetup { cpu: "2", ..WorkerSetup::default() }).await;
    }
    let job = cluster.any().submit(&json!({"name": "graph", "tasks": specs.collect::<Vec<_>>()})).await;
    let (began, mut kills) = (Instant::now(), 0);
    wait_until("the first ends", PATIENCE, async || {
        (cluster.any().job(job).await["tasks"]["succeeded"].as_u64()? > 100).then_some(())
    })
    .await;
    loop {
        let view = cluster.any().job(job).await;
        if view["finished_at"].is_string() {
            assert_eq!(view["state"], "succeeded", "{}", view["tasks"]);
            break;
        }
        assert!(began.elapsed() < LONGEST, "{}", view["tasks"]);
        kill_leader(&mut cluster).await;
        kills += 1;
        tokio::time::sleep(kill_every).await;
    }
    note(&format!("{tasks} tasks in {} s, over {kills} dead leaders", began.elapsed().as_secs()));
    assert!(kills > 0, "it ended before a leader could die");
    check_graph(&cluster.events_agree(&[job]).await, job, &graph);
    cluster.digests_agree().await;
    cluster.finish();
}

/// Jobs that hold a key, at any time: from the first event of its tasks that says that they may start until the
/// job's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_never_held_too_often_nor_lost_whatever_dies() {
    const LIMIT: usize = 3;
    let _turn = turn().await;
    let (jobs, kills) = (share(30, 300), share(2, 10));
    let mut cluster = Cluster::of_three().await;
    for name in ["v", "w"] {
        cluster.start_worker(name).await;
    }
    let mut ids = Vec::new();
    for nth in 0..jobs {
        // Some fail, some are cancelled while they hold the key or wait for it.
        let script = format!("sleep 0.2; test {} != 0", nth % 5);
        let job = json!({"command": ["sh", "-c", script], "concurrency": {"key": "k", "limit": LIMIT}});
        ids.push(cluster.any().submit(&job).await);
    }
    for kill in 0..kills {
        let ended = async |cluster: &Cluster| {
            let page = cluster.any().all("/v1/jobs?limit=1000").await;
            page.iter().filter(|job| job["finished_at"].is_string()).count()
        };
        let wanted = ended(&cluster).await + 3;
        wait_until("further ends", 2 * PATIENCE, async || (ended(&cluster).await >= wanted.min(jobs)).then_some(()))
            .await;
        let _ = cluster.any().post(&format!("/v1/jobs/{}/cancel", ids[kill * 7 + 9]), &json!({})).await;
        kill_leader(&mut cluster).await;
        cluster.worker("w").process.kill();
        cluster.worker("w").process.start();
    }
    for id in &ids {
        cluster.any().finished(*id, LONGEST).await;
    }
    let events = cluster.events_agree(&[]).await;
    let (mut holders, mut most) = (std::collections::BTreeSet::new(), 0);
    for event in &events {
        let Some(job) = event.job.filter(|job| ids.contains(job)) else { continue };
        match event.kind.as_str() {
            "task.pending" => drop(holders.insert(job)),
            "job.succeeded" | "job.failed" | "job.cancelled" => drop(holders.remove(&job)),
            _ => {}
        }
        most = most.max(holders.len());
    }
    assert_eq!((most, holders.len()), (LIMIT, 0), "as many hold the key as may, and in the end nobody does");
    let last = cluster.any().submit(&json!({"command": ["true"], "concurrency": {"key": "k"}})).await;
    cluster.any().ends_as(last, "succeeded").await;
    cluster.finish();
}

/// The seconds that a job takes at least on so many cores, whoever places it: those of its longest path, or of all its
/// work if that is more.
fn bound(spec: &Value, cores: f64) -> f64 {
    let tasks = spec["tasks"].as_array().unwrap();
    let seconds = |task: &Value| {
        let span: quorate_types::Span =
            task["expected"].as_str().map_or(quorate_types::Span(0), |t| t.parse().unwrap());
        span.0 as f64 / 1000.0
    };
    let by_name: BTreeMap<&str, &Value> = tasks.iter().map(|task| (task["name"].as_str().unwrap(), task)).collect();
    let mut paths: BTreeMap<&str, f64> = BTreeMap::new();
    fn path<'a>(
        name: &'a str,
        tasks: &BTreeMap<&'a str, &'a Value>,
        seconds: &dyn Fn(&Value) -> f64,
        paths: &mut BTreeMap<&'a str, f64>,
    ) -> f64 {
        if let Some(known) = paths.get(name) {
            return *known;
        }
        let task = tasks[name];
        let needs = task["needs"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
        let before = needs.map(|need| path(need, tasks, seconds, paths)).fold(0.0, f64::max);
        let whole = before + seconds(task);
        paths.insert(name, whole);
        whole
    }
    let longest = by_name.keys().map(|name| path(name, &by_name, &seconds, &mut paths)).fold(0.0, f64::max);
    let work: f64 = tasks.iter().map(|task| seconds(task) * task["resources"]["cpu"].as_f64().unwrap_or(1.0)).sum();
    longest.max(work / cores)
}

/// Where the longest path decides, and, in all of it, where the work does. The longest path goes first: as they come,
/// the tasks of some recordings can't be packed so well by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_workflow_takes_hardly_longer_than_it_must() {
    let _turn = turn().await;
    let (name, cores) =
        share(("epigenomics-chameleon-ilmn-2seq-100k-001", "64"), ("1000genome-chameleon-22ch-250k-001", "32"));
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/data/workflows/{name}.json.gz"));
    if !file.exists() {
        return note("skipped: no recorded workflow beside the checkout");
    }
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker_with("w", WorkerSetup { cpu: cores, ..WorkerSetup::default() }).await;
    cluster.any().put("/v1/policy", &json!({"queue": "critical-path"})).await.ok();
    let file = file.to_str().unwrap();
    let args = ["job", "submit", "--format", "wfcommons", "--time-scale", "0.1", "--cores", "1", file];
    let ran = cli::quorate(&cluster.urls(), &args, "").await.exits(0);
    let id = ran.stdout.trim().parse().unwrap();
    let job = cluster.any().finished(id, LONGEST).await;
    assert_eq!(job["state"], "succeeded", "{}", job["tasks"]);
    let millis = |field: &str| job[field].as_str().unwrap().parse::<quorate_types::Timestamp>().unwrap().0;
    let took = (millis("finished_at") - millis("submitted_at")) as f64 / 1000.0;
    let bound = bound(&job["spec"], cores.parse().unwrap());
    note(&format!("took {took:.2} s, {:.3} of the {bound:.2} s that it must", took / bound));
    // What else the machine does decides that, too: a share says how long it took, a whole run holds to it.
    assert!(
        std::env::var_os("QUORATE_ENDURANCE").is_none() || took <= 1.1 * bound,
        "took {took:.2} s where {bound:.2} s is the least"
    );
    cluster.finish();
}
