//! What a job's life may need, all at once on one cluster, while one leader after the other dies: ticks that meet a run
//! before them, times, arrays, conditions, follow-ups, retries, losses, drains, rates, keys, preemption by a gang, and
//! an element on every worker. Each ends as it would have without any death.

use serde_json::{Value, json};

use crate::support::events::Event;
use crate::support::{Cluster, PATIENCE, WorkerSetup, note, turn, wait_until};

const RATE: usize = 2;
const RATE_PER_MS: i64 = 1_000;
const MOST_AT_ONCE: usize = 3;
const TICK_MS: i64 = 1_000;
const RUNS_AFTER: usize = 3;
/// One run of three at least is held up by the one before it for so long.
const QUEUED_FOR_MS: i64 = 300;

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
        // Some came after the last death.
        for schedule in [self.skip, self.queue, self.replace] {
            let before = runs_of(cluster, schedule).await.len();
            wait_until("more runs", PATIENCE, async || {
                (runs_of(cluster, schedule).await.len() >= before + RUNS_AFTER).then_some(())
            })
            .await;
            cluster.any().post(&format!("/v1/jobs/{schedule}/cancel"), &Value::Null).await.ok();
        }
        // A run takes more than a tick and less than two: the next one is left out, or waits.
        let skipping = self.last(cluster, self.skip).await;
        assert!(skipping.windows(2).all(|row| row[1].tick - row[0].tick > TICK_MS), "{skipping:?}");
        let queueing = self.last(cluster, self.queue).await;
        assert!(queueing.iter().any(|run| run.began - run.tick >= QUEUED_FOR_MS), "{queueing:?}");
        let runs = runs_of(cluster, self.replace).await;
        let (newest, older) = runs.split_last().unwrap();
        assert!(older.iter().all(|run| run["state"] == "cancelled"), "{runs:?}");
        let ticks: Vec<i64> = runs.iter().map(|run| millis(&run["scheduled_for"]).unwrap()).collect();
        assert!(ticks.windows(2).all(|row| row[1] - row[0] == TICK_MS), "a tick is missing: {ticks:?}");
        cluster.any().post(&format!("/v1/jobs/{}/cancel", newest["id"]), &Value::Null).await.ok();
    }

    /// The runs after the last death. All of them ran one at a time.
    async fn last(&self, cluster: &Cluster, schedule: u64) -> Vec<Run> {
        let (mut runs, mut all) = (Vec::new(), Vec::new());
        for run in runs_of(cluster, schedule).await {
            let id = run["id"].as_u64().unwrap();
            cluster.any().ends_as(id, "succeeded").await;
            let spans = spans(cluster, id).await;
            runs.push(Run { tick: millis(&run["scheduled_for"]).unwrap(), began: spans[0].0 });
            all.extend(spans);
        }
        assert_eq!(most_at_once(&all), 1, "schedule {schedule}: {all:?}");
        runs.split_off(runs.len() - RUNS_AFTER)
    }
}

/// For which tick it is, and when it began.
#[derive(Debug)]
struct Run {
    tick: i64,
    began: i64,
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
        let exits = |code: u8, after: &str| {
            let command = json!(["sh", "-c", format!("sleep {after}; exit {code}")]);
            json!({"tasks": [{"command": command, "retries": 3, "retry_on": [7]}]})
        };
        let flag = cluster.dir.join("mended");
        let script = format!("sleep 0.5; test -e {}", flag.display());
        let mended = json!({"on_failure": "continue", "tasks": [
            {"name": "good", "command": ["true"]},
            {"name": "bad", "command": ["sh", "-c", script]},
            {"name": "after", "command": ["sleep", "2"], "needs": ["good", "bad"]}]});
        let mended = api.submit(&mended).await;
        let lost = json!({"tasks": [{"command": ["sleep", "600"], "requires": ["role=victim"], "tolerations": ["role"], "losses": 1}]});
        let poisonous = api.submit(&lost).await;
        api.ends_as(mended, "failed").await;
        std::fs::write(flag, "").unwrap();
        api.task_is(poisonous, "main", 0, "running").await;
        cluster.worker("victim").process.kill();
        let retried = api.submit(&exits(7, "0.6")).await;
        Self { retried, not_retried: api.submit(&exits(3, "3")).await, mended, poisonous }
    }

    async fn mend(&self, cluster: &Cluster) {
        cluster.any().post(&format!("/v1/jobs/{}/retry", self.mended), &json!({"failed": true})).await.ok();
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

/// What has to make room, and takes two seconds for that.
struct Room {
    drained: u64,
    replaced: u64,
    low: u64,
}

/// What gets it.
struct Newcomers {
    gang: u64,
    replaces: u64,
    everywhere: u64,
}

fn small(task: Value, cpu: u8, count: u8) -> Value {
    let mut task = task;
    let more = json!({"count": count, "requires": ["role=small"], "tolerations": ["role"], "resources": {"cpu": cpu}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

fn newest(task: &Value) -> Value {
    json!({"tasks": [task], "concurrency": {"key": "newest", "limit": 1, "when_full": "replace"}})
}

impl Room {
    async fn submit(cluster: &Cluster) -> Self {
        let api = cluster.any();
        // Only its second attempt ends by itself, and what asks it to end has to wait for the grace.
        let stays = json!({"grace": "2s", "command":
            ["sh", "-c", "trap '' TERM; test $QUORATE_ATTEMPT -ge 2 || exec sleep 600"]});
        let mut old = stays.clone();
        (old["prefers"], old["tolerations"]) = (json!(["role=old"]), json!(["role"]));
        let low = api.submit(&json!({"priority": 1, "tasks": [small(stays.clone(), 2, 1)]})).await;
        let (drained, replaced) = (api.submit(&json!({"tasks": [old]})).await, api.submit(&newest(&stays)).await);
        for (job, on) in [(low, "small"), (drained, "old"), (replaced, "w")] {
            let task = api.task_is(job, "main", 0, "running").await;
            assert_eq!(task["worker"], on, "{task}");
        }
        Self { drained, replaced, low }
    }

    async fn drain(cluster: &Cluster) {
        cluster.any().post("/v1/workers/old/drain", &json!({"deadline": "1s"})).await.ok();
    }

    async fn newcomers(cluster: &Cluster) -> Newcomers {
        let api = cluster.any();
        let mut members = small(json!({"command": ["sleep", "1"]}), 1, 2);
        members["gang"] = json!("g");
        let gang = api.submit(&json!({"priority": 90, "preempt": "lower", "tasks": [members]})).await;
        let replaces = api.submit(&newest(&json!({"command": ["sleep", "1"]}))).await;
        let agent =
            json!({"name": "agent", "command": ["sleep", "600"], "resources": {"cpu": 0}, "tolerations": ["role"]});
        let everywhere = api.submit(&json!({"kind": "system", "tasks": [agent]})).await;
        // None of it is over when the leader dies.
        for job in [gang, replaces] {
            assert_eq!(api.job(job).await["state"], "pending");
        }
        Newcomers { gang, replaces, everywhere }
    }

    async fn check(&self, newcomers: &Newcomers, cluster: &Cluster) {
        let api = cluster.any();
        api.ends_as(self.drained, "succeeded").await;
        let moved = attempts(cluster, self.drained, "main", 0).await;
        assert_eq!((moved.len(), &moved[0]["worker"]), (2, &json!("old")), "{moved:?}");
        assert_ne!(moved[1]["worker"], "old");
        api.ends_as(self.replaced, "cancelled").await;
        api.ends_as(newcomers.replaces, "succeeded").await;
        api.ends_as(newcomers.gang, "succeeded").await;
        api.ends_as(self.low, "succeeded").await;
        let gang = spans(cluster, newcomers.gang).await;
        let low = spans(cluster, self.low).await;
        assert_eq!((gang.len(), low.len()), (2, 2), "{gang:?} {low:?}");
        assert_eq!(most_at_once(&gang), 2, "a gang runs as one: {gang:?}");
        wait_until("the agent on each worker that takes tasks, the newest included", PATIENCE, async || {
            let tasks = api.all(&format!("/v1/jobs/{}/tasks?state=running", newcomers.everywhere)).await;
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
    let mut cluster = Cluster::of_three().await;
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
    retries.mend(&cluster).await;
    let newcomers = Room::newcomers(&cluster).await;
    kill_the_leader(&mut cluster).await;
    cluster.start_worker("new").await;
    Room::drain(&cluster).await;
    kill_the_leader(&mut cluster).await;
    kill_the_leader(&mut cluster).await;
    overlaps.check(&cluster).await;
    times.check(&cluster).await;
    flow.check(&cluster).await;
    retries.check(&cluster).await;
    room.check(&newcomers, &cluster).await;
    cluster.digests_agree().await;
    let all = [flow.bounded, flow.each, flow.rated, flow.first, times.later, retries.mended];
    let all = [&all[..], &[room.drained, room.low, newcomers.gang, newcomers.replaces]].concat();
    let starts = assigned(&cluster.events_agree(&all).await, flow.rated);
    assert_eq!(starts.len(), 12);
    assert!(starts.windows(RATE + 1).all(|row| row[RATE] - row[0] >= RATE_PER_MS), "{starts:?}");
    cluster.finish();
}

async fn kill_the_leader(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    note(&format!("replica {leader}, the leader, dies"));
    cluster.kill(leader);
    cluster.restart(leader).await;
}
