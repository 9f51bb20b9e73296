//! What a job's life may need, all at once on one cluster, while one leader after the other dies: ticks that meet a run
//! before them, times, arrays, conditions, follow-ups, retries, losses, drains, rates, keys, preemption by a gang, and
//! an element on every worker. Each ends as it would have without any death.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::events::Event;
use crate::support::{Cluster, PATIENCE, Setup, WorkerSetup, note, turn, wait_until};

const LEADERS_TO_KILL: usize = 3;
const RATE: usize = 2;
const RATE_PER_MS: i64 = 1_000;
const MOST_AT_ONCE: usize = 3;
const RUNS_OF_A_SCHEDULE: usize = 4;

fn millis(time: &Value) -> Option<i64> {
    let time: quorate_types::Timestamp = time.as_str()?.parse().unwrap();
    Some(i64::try_from(time.0).unwrap())
}

/// When each of the job's attempts began and ended, by when it began.
async fn spans(cluster: &Cluster, job: u64) -> Vec<(i64, i64)> {
    let tasks = cluster.any().all(&format!("/v1/jobs/{job}/tasks")).await;
    let attempts = tasks.iter().flat_map(|task| task["attempts"].as_array().unwrap().clone());
    let mut spans: Vec<(i64, i64)> =
        attempts.filter_map(|it| Some((millis(&it["started_at"])?, millis(&it["finished_at"])?))).collect();
    spans.sort_unstable();
    spans
}

/// How many of them there were at once, at most.
fn most_at_once(spans: &[(i64, i64)]) -> usize {
    spans
        .iter()
        .map(|(begin, _)| spans.iter().filter(|(from, to)| from <= begin && begin < to).count())
        .max()
        .unwrap_or(0)
}

/// When the job's attempts were assigned: from then on a start counts.
fn assigned(events: &[Event], job: u64) -> Vec<i64> {
    let of_job = events.iter().filter(|event| event.job == Some(job) && event.kind == "task.assigned");
    of_job.map(|event| millis(&event.raw["time"]).unwrap()).collect()
}

async fn runs_of(cluster: &Cluster, schedule: u64) -> Vec<Value> {
    let mut runs = cluster.any().all(&format!("/v1/jobs?schedule={schedule}")).await;
    runs.sort_by_key(|run| run["id"].as_u64());
    runs
}

async fn attempts(cluster: &Cluster, job: u64, task: &str, index: u64) -> Vec<Value> {
    cluster.any().task(job, task, index).await["attempts"].as_array().unwrap().clone()
}

/// Ticks that come while the run before has not finished, as each kind of overlap has it.
struct Overlaps {
    skip: u64,
    queue: u64,
    replace: u64,
}

impl Overlaps {
    async fn submit(cluster: &Cluster) -> Self {
        let every = |overlap: &str, seconds: &str| {
            let schedule = json!({"every": "1s", "overlap": overlap});
            json!({"name": overlap, "command": ["sleep", seconds], "schedule": schedule})
        };
        let api = cluster.any();
        let skip = api.submit(&every("skip", "1.4")).await;
        let queue = api.submit(&every("queue", "1.4")).await;
        Self { skip, queue, replace: api.submit(&every("replace", "60")).await }
    }

    async fn check(&self, cluster: &Cluster) {
        for schedule in [self.skip, self.queue, self.replace] {
            wait_until("some runs", PATIENCE, async || {
                (runs_of(cluster, schedule).await.len() > RUNS_OF_A_SCHEDULE).then_some(())
            })
            .await;
            cluster.any().post(&format!("/v1/jobs/{schedule}/cancel"), &Value::Null).await.ok();
        }
        for schedule in [self.skip, self.queue] {
            let mut spans_of_all = Vec::new();
            for run in runs_of(cluster, schedule).await {
                cluster.any().ends_as(run["id"].as_u64().unwrap(), "succeeded").await;
                spans_of_all.extend(spans(cluster, run["id"].as_u64().unwrap()).await);
            }
            assert!(spans_of_all.len() > RUNS_OF_A_SCHEDULE);
            assert_eq!(most_at_once(&spans_of_all), 1, "schedule {schedule}: {spans_of_all:?}");
        }
        let runs = runs_of(cluster, self.replace).await;
        let (newest, older) = runs.split_last().unwrap();
        assert!(older.iter().all(|run| run["state"] == "cancelled"), "{runs:?}");
        cluster.any().post(&format!("/v1/jobs/{}/cancel", newest["id"]), &Value::Null).await.ok();
    }
}

/// Jobs that go by the clock.
struct Times {
    later: u64,
    late: u64,
    expired: u64,
}

impl Times {
    async fn submit(cluster: &Cluster) -> Self {
        let api = cluster.any();
        let later = api.submit(&json!({"command": ["true"], "start_after": "2s", "expires": "1h"})).await;
        let late = api.submit(&json!({"command": ["sleep", "600"], "deadline": "3s"})).await;
        let nowhere = json!({"tasks": [{"command": ["true"], "requires": ["zone=nowhere"]}], "expires": "2s"});
        Self { later, late, expired: api.submit(&nowhere).await }
    }

    async fn check(&self, cluster: &Cluster) {
        let later = cluster.any().ends_as(self.later, "succeeded").await;
        let began = spans(cluster, self.later).await[0].0;
        assert!(began >= millis(&later["submitted_at"]).unwrap() + 2_000, "{later}");
        cluster.any().ends_as(self.late, "failed").await;
        cluster.any().ends_as(self.expired, "cancelled").await;
    }
}

/// Arrays and what follows.
struct Flow {
    bounded: u64,
    each: u64,
    rated: u64,
    first: u64,
}

impl Flow {
    async fn submit(cluster: &Cluster) -> Self {
        let api = cluster.any();
        let bounded = json!({"tasks": [{"command": ["sleep", "0.5"], "count": 20, "max_parallel": MOST_AT_ONCE}]});
        let each = json!({"tasks": [
            {"name": "a", "command": ["sh", "-c", "sleep $((QUORATE_INDEX % 4))"], "count": 8},
            {"name": "b", "command": ["true"], "count": 8, "needs": [{"task": "a", "on": "success", "each": true}]}]});
        let per = format!("{RATE_PER_MS}ms");
        let rate = json!({"key": "calls", "limit": RATE, "per": per});
        let rated = json!({"tasks": [{"command": ["true"], "count": 12, "rate": rate}]});
        let first = json!({"command": ["sleep", "2"], "then": [
            {"job": {"name": "follower", "command": ["true"]}},
            {"on": "failure", "job": {"name": "alarm", "command": ["true"]}}]});
        Self {
            bounded: api.submit(&bounded).await,
            each: api.submit(&each).await,
            rated: api.submit(&rated).await,
            first: api.submit(&first).await,
        }
    }

    async fn check(&self, cluster: &Cluster) {
        let api = cluster.any();
        for job in [self.bounded, self.each, self.rated, self.first] {
            api.ends_as(job, "succeeded").await;
        }
        let bounded = spans(cluster, self.bounded).await;
        assert_eq!(bounded.len(), 20);
        assert!(most_at_once(&bounded) <= MOST_AT_ONCE, "{bounded:?}");
        for index in 0..8 {
            let (a, b) =
                (attempts(cluster, self.each, "a", index).await, attempts(cluster, self.each, "b", index).await);
            assert_eq!((a.len(), b.len()), (1, 1));
            assert!(millis(&b[0]["started_at"]) >= millis(&a[0]["finished_at"]), "element {index}: {a:?} {b:?}");
        }
        let followers = api.all("/v1/jobs?name=follower").await;
        assert_eq!((followers.len(), &followers[0]["follows"]), (1, &json!(self.first)), "{followers:?}");
        assert!(api.all("/v1/jobs?name=alarm").await.is_empty());
    }
}

/// What fails, and what is tried again.
struct Retries {
    retried: u64,
    not_retried: u64,
    mended: u64,
    poisonous: u64,
}

impl Retries {
    async fn submit(cluster: &mut Cluster) -> Self {
        let api = cluster.any();
        let exits = |code: u8| {
            let command = json!(["sh", "-c", format!("sleep 0.6; exit {code}")]);
            json!({"tasks": [{"command": command, "retries": 3, "retry_on": [7]}]})
        };
        let flag = cluster.dir.join("mended");
        let script = format!("test -e {}", flag.display());
        let mended = json!({"on_failure": "continue", "tasks": [
            {"name": "good", "command": ["true"]},
            {"name": "bad", "command": ["sh", "-c", script]},
            {"name": "after", "command": ["sleep", "2"], "needs": ["good", "bad"]}]});
        let mended = api.submit(&mended).await;
        let lost = json!({"tasks": [{"command": ["sleep", "600"], "requires": ["role=victim"], "tolerations": ["role"], "losses": 1}]});
        let poisonous = api.submit(&lost).await;
        let retried = api.submit(&exits(7)).await;
        let retries = Self { retried, not_retried: api.submit(&exits(3)).await, mended, poisonous };
        api.ends_as(mended, "failed").await;
        std::fs::write(flag, "").unwrap();
        api.post(&format!("/v1/jobs/{mended}/retry"), &json!({"failed": true})).await.ok();
        api.task_is(poisonous, "main", 0, "running").await;
        cluster.worker("victim").process.kill();
        retries
    }

    async fn check(&self, cluster: &Cluster) {
        let api = cluster.any();
        for (job, tries) in [(self.retried, 4), (self.not_retried, 1)] {
            api.ends_as(job, "failed").await;
            let attempts = attempts(cluster, job, "main", 0).await;
            assert_eq!(attempts.len(), tries, "{attempts:?}");
        }
        api.ends_as(self.mended, "succeeded").await;
        for (task, tries) in [("good", 1), ("bad", 2), ("after", 1)] {
            assert_eq!(attempts(cluster, self.mended, task, 0).await.len(), tries, "{task}");
        }
        api.ends_as(self.poisonous, "failed").await;
        let task = api.task(self.poisonous, "main", 0).await;
        assert!(task.to_string().contains("poisonous"), "{task}");
    }
}

/// What has to make room.
struct Room {
    drained: u64,
    replaced: u64,
    replaces: u64,
    low: u64,
    gang: u64,
    everywhere: u64,
}

impl Room {
    async fn submit(cluster: &Cluster) -> Self {
        let api = cluster.any();
        let drained = json!({"tasks": [{"command": ["sleep", "4"], "prefers": ["role=old"], "tolerations": ["role"]}]});
        let keyed = |seconds: &str| {
            let key = json!({"key": "newest", "limit": 1, "when_full": "replace"});
            json!({"command": ["sleep", seconds], "concurrency": key})
        };
        let small = |cpu: u8, count: u8, seconds: &str| {
            json!({"command": ["sleep", seconds], "count": count, "requires": ["role=small"], "tolerations": ["role"],
                "resources": {"cpu": cpu}})
        };
        let low = api.submit(&json!({"priority": 1, "tasks": [small(2, 1, "3")]})).await;
        let (drained, replaced) = (api.submit(&drained).await, api.submit(&keyed("600")).await);
        for (job, on) in [(low, "small"), (drained, "old")] {
            let task = api.task_is(job, "main", 0, "running").await;
            assert_eq!(task["worker"], on, "{task}");
        }
        api.task_is(replaced, "main", 0, "running").await;
        let mut members = small(1, 2, "1");
        members["gang"] = json!("g");
        let gang = api.submit(&json!({"priority": 90, "preempt": "lower", "tasks": [members]})).await;
        let replaces = api.submit(&keyed("1")).await;
        api.post("/v1/workers/old/drain", &json!({"deadline": "2s"})).await.ok();
        let agent =
            json!({"name": "agent", "command": ["sleep", "600"], "resources": {"cpu": 0}, "tolerations": ["role"]});
        let system = json!({"kind": "system", "tasks": [agent]});
        Self { drained, replaced, replaces, low, gang, everywhere: api.submit(&system).await }
    }

    async fn check(&self, cluster: &Cluster) {
        let api = cluster.any();
        api.ends_as(self.drained, "succeeded").await;
        let moved = attempts(cluster, self.drained, "main", 0).await;
        assert_eq!((moved.len(), &moved[0]["worker"]), (2, &json!("old")), "{moved:?}");
        assert_ne!(moved[1]["worker"], "old");
        api.ends_as(self.replaced, "cancelled").await;
        api.ends_as(self.replaces, "succeeded").await;
        api.ends_as(self.gang, "succeeded").await;
        api.ends_as(self.low, "succeeded").await;
        let gang = spans(cluster, self.gang).await;
        let low = spans(cluster, self.low).await;
        assert_eq!((gang.len(), low.len()), (2, 2), "{gang:?} {low:?}");
        assert_eq!(most_at_once(&gang), 2, "a gang runs as one: {gang:?}");
        wait_until("the agent on each worker that takes tasks, the newest included", PATIENCE, async || {
            let tasks = api.all(&format!("/v1/jobs/{}/tasks?state=running", self.everywhere)).await;
            let mut on: Vec<&str> = tasks.iter().filter_map(|task| task["worker"].as_str()).collect();
            on.sort_unstable();
            (on == ["new", "small", "w"]).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_jobs_life_notices_that_leaders_die() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(Setup::default().with("lease_ttl", "3s")).await;
    for (name, cpu) in [("w", "64"), ("old", "4"), ("small", "2"), ("victim", "4")] {
        let role = format!("role={name}");
        let mut args = vec![("--label", role.clone())];
        // Nobody is there but who is meant to be.
        args.extend((name != "w").then_some(("--taint", role)));
        cluster.start_worker_with(name, WorkerSetup { cpu, args, ..WorkerSetup::default() }).await;
    }
    let overlaps = Overlaps::submit(&cluster).await;
    let retries = Retries::submit(&mut cluster).await;
    let room = Room::submit(&cluster).await;
    let times = Times::submit(&cluster).await;
    let flow = Flow::submit(&cluster).await;
    for nth in 0..LEADERS_TO_KILL {
        let leader = cluster.leader().await;
        note(&format!("replica {leader}, the leader, dies"));
        cluster.kill(leader);
        cluster.restart(leader).await;
        if nth == 0 {
            cluster.start_worker("new").await;
        }
        // What goes by the clock is to be in its middle when the next one dies.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    overlaps.check(&cluster).await;
    times.check(&cluster).await;
    flow.check(&cluster).await;
    retries.check(&cluster).await;
    room.check(&cluster).await;
    cluster.digests_agree().await;
    let starts = assigned(&cluster.events_agree(&[]).await, flow.rated);
    assert_eq!(starts.len(), 12);
    assert!(starts.windows(RATE + 1).all(|row| row[RATE] - row[0] >= RATE_PER_MS), "{starts:?}");
    cluster.finish();
}
