//! When jobs run: schedules through deaths of leaders and of everything, conditions, and the examples of docs/flow.md.

use std::time::Duration;

use crate::support::cli::quorate;
use crate::support::http::id_of;
use crate::support::{Cluster, PATIENCE, share, turn, wait_until};
use serde_json::{Value, json};

/// How long the whole cluster is down: longer than a tick may be late.
const DARK: Duration = Duration::from_secs(12);
/// For what was missed during a restart to be made up for.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// The ticks that a schedule's runs were for, in milliseconds, ascending.
async fn ticks(cluster: &Cluster, schedule: u64) -> Vec<i64> {
    let runs = cluster.any().all(&format!("/v1/jobs?schedule={schedule}&limit=1000")).await;
    assert!(runs.iter().all(|run| run["schedule_id"] == schedule), "{runs:?}");
    let mut ticks: Vec<i64> = runs.iter().map(|run| millis(run["scheduled_for"].as_str().unwrap())).collect();
    ticks.sort_unstable();
    ticks
}

fn millis(time: &str) -> i64 {
    let time: quorate_types::Timestamp = time.parse().unwrap();
    i64::try_from(time.0).unwrap()
}

/// Waits until the schedule has run some more.
async fn newer_ticks(cluster: &Cluster, schedule: u64) {
    // All of it takes five minutes.
    let between = share(3, 22);
    let before = ticks(cluster, schedule).await.len();
    wait_until("further ticks", CATCHING_UP, async || {
        (ticks(cluster, schedule).await.len() >= before + between).then_some(())
    })
    .await;
}

/// Each tick from the first to the last is there, and once.
fn check(schedule: u64, ticks: &[i64]) {
    let steps: Vec<i64> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step == 1000), "schedule {schedule} ran at steps of {steps:?} ms");
}

/// What schedulers with a leader are known to lose: after an election some jobs never ran again (Dkron's issue 998), or
/// missed ticks (issue 1210).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tick_runs_once_whatever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let mut schedules = Vec::new();
    for nth in 0..share(40, 200) {
        let calendar = if nth % 2 == 0 { json!({"every": "1s"}) } else { json!({"cron": "* * * * * *"}) };
        let mut schedule = json!({"overlap": "allow", "misfire": "all", "history": 10_000});
        schedule.as_object_mut().unwrap().extend(calendar.as_object().unwrap().clone());
        let job = json!({"name": format!("tick-{nth}"), "tasks": [{"driver": "noop"}], "schedule": schedule});
        schedules.push(id_of(&cluster.any().post("/v1/jobs", &job).await.ok()));
    }
    let submitted = millis(&quorate_types::Timestamp::from_wall_clock().to_string());
    for _ in 0..share(3, 10) {
        newer_ticks(&cluster, schedules[0]).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        cluster.restart(leader).await;
    }
    for _ in 0..share(1, 2) {
        newer_ticks(&cluster, schedules[0]).await;
        cluster.kill_all_at_once();
        // Nobody is there for so long: these ticks have to be made up for.
        tokio::time::sleep(DARK).await;
        cluster.start_all();
        cluster.settled().await;
    }
    newer_ticks(&cluster, schedules[0]).await;
    let now = millis(&quorate_types::Timestamp::from_wall_clock().to_string());
    // Reading them takes minutes on a busy machine, and the archive holds no more than 100,000 runs.
    for schedule in &schedules {
        cluster.any().post(&format!("/v1/jobs/{schedule}/pause"), &json!({})).await.ok();
    }
    for schedule in schedules {
        let seen = wait_until("the last tick's run", CATCHING_UP, async || {
            let seen = ticks(&cluster, schedule).await;
            seen.last().is_some_and(|last| *last >= now - 1000).then_some(seen)
        })
        .await;
        assert!(seen[0] <= submitted + 2_000, "schedule {schedule} began at {} of {submitted}", seen[0]);
        check(schedule, &seen);
        wait_until("the end of all runs", CATCHING_UP, async || {
            let runs = cluster.any().all(&format!("/v1/jobs?schedule={schedule}&limit=1000")).await;
            let failed = runs.iter().find(|run| ["failed", "cancelled"].contains(&run["state"].as_str().unwrap()));
            assert_eq!(failed, None, "a run of schedule {schedule}");
            runs.iter().all(|run| run["state"] == "succeeded").then_some(())
        })
        .await;
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_run() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flow.md")).unwrap();
    let blocks = page.split("```json job\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<Value> = blocks.map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(examples.len(), 10);
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    for example in &examples {
        let id = id_of(&cluster.any().post("/v1/jobs", example).await.ok());
        if example.get("schedule").is_some() {
            let next = cluster.any().read(&format!("/v1/jobs/{id}/next?count=3")).await;
            let items = next["items"].as_array().unwrap();
            assert!(items.len() == 3 && items[0].as_str().unwrap().contains("T03:00:00+0"), "{next}");
            let run = cluster.any().post(&format!("/v1/jobs/{id}/run"), &json!({})).await;
            assert_eq!(run.status, 201, "{}", run.text());
            assert_eq!(ended(&cluster, id_of(&run)).await["schedule_id"], id);
            continue;
        }
        let job = ended(&cluster, id).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        if example["name"] == "grow" {
            assert_eq!(result_of(&cluster, id, "gather").await, "30");
        }
        if example["name"] == "squares" {
            assert_eq!(cluster.any().task(id, "square", 9).await["result"].as_str().unwrap().trim(), "81");
        }
        if example["name"] == "patient" {
            assert_eq!(cluster.any().task(id, "main", 0).await["attempt"], 2);
        }
        if example["name"] == "canvas" {
            assert_eq!(result_of(&cluster, id, "sum").await, "126");
        }
        if example.get("then").is_some() {
            let follower = wait_until("the job that follows", PATIENCE, async || {
                let page = cluster.any().read("/v1/jobs?name=index").await;
                page["items"].as_array().unwrap().first().cloned()
            })
            .await;
            assert_eq!(follower["follows"], id);
        }
    }
    cluster.finish();
}

/// What the page says of a running job's life, on one whose number is 12 there; its worker is `w1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_page_do_what_it_says() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flow.md")).unwrap();
    let blocks = page.split("```sh run\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert_eq!(commands.len(), 8);
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w1").await;
    let api = cluster.any();
    let array = json!({"name": "square", "command": ["sh", "-c", "test $QUORATE_INDEX = 0 || sleep 600"], "count": 4});
    let id = api.submit(&json!({"tasks": [array]})).await;
    for command in commands {
        let job = api.job(id).await;
        if job["state"] != "paused" {
            api.task_is(id, "square", 3, "running").await;
        }
        if command.contains(" retry ") {
            api.task_is(id, "square", 0, "succeeded").await;
            api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
            ended(&cluster, id).await;
        }
        let args = command.strip_prefix("quorate ").unwrap().replace("12", &id.to_string());
        quorate(&cluster.urls(), &args.split(' ').collect::<Vec<_>>(), "").await.exits(0);
        let (job, task) = (api.job(id).await, api.task(id, "square", 3).await);
        match args.split(' ').nth(1).unwrap() {
            "pause" => {
                let is_frozen = job["frozen"] == true;
                assert_eq!((&job["state"], is_frozen), (&json!("paused"), args.contains("freeze")), "{job}");
                assert_eq!(task["state"] == "running", args.contains("freeze"), "{task}");
            }
            "resume" | "retry" => assert!(["pending", "running"].contains(&job["state"].as_str().unwrap()), "{job}"),
            // Its attempts are counted below: it may be placed again by now.
            "reassign" => {}
            "drain" => assert_eq!(api.read("/v1/workers/w1").await["state"], "draining"),
            "undrain" => assert_eq!(api.read("/v1/workers/w1").await["state"], "ready"),
            other => panic!("what should {other} have done?"),
        }
    }
    // Cancelled, ended by the pause, and reassigned; what was frozen kept its attempt, as what had succeeded did.
    assert_eq!(api.task(id, "square", 0).await["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(api.task(id, "square", 3).await["attempts"].as_array().unwrap().len(), 4);
    cluster.finish();
}

async fn ended(cluster: &Cluster, id: u64) -> Value {
    wait_until("the job's end", PATIENCE, async || {
        let job = cluster.any().read(&format!("/v1/jobs/{id}?wait=5s")).await;
        job["finished_at"].is_string().then_some(job)
    })
    .await
}

async fn result_of(cluster: &Cluster, job: u64, task: &str) -> Value {
    cluster.any().read(&format!("/v1/jobs/{job}/tasks/{task}/0")).await["result"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_flow_when_the_leader_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    cluster.start_worker("v").await;
    let other = json!({"tasks": [{"name": "b", "command": ["sh", "-c", "printf 'of b' > $QUORATE_RESULT"]}]});
    let other = id_of(&cluster.any().post("/v1/jobs", &other).await.ok());
    ended(&cluster, other).await;
    // Each attempt of the last task leaves what it read; the first one fails.
    let seen = cluster.dir.join("seen");
    let read = format!("cp $QUORATE_INPUTS {}-$QUORATE_ATTEMPT; test $QUORATE_ATTEMPT = 2", seen.display());
    let group = "sleep 1; test -s $QUORATE_INPUTS && printf \"of $QUORATE_INDEX\" > $QUORATE_RESULT";
    let job = json!({"tasks": [
        {"name": "a", "command": ["sh", "-c", "test -z \"$QUORATE_INPUTS\" && printf 'of \"a\"' > $QUORATE_RESULT"]},
        {"name": "group", "count": 4, "command": ["sh", "-c", group], "needs": ["a"]},
        {"name": "last", "command": ["sh", "-c", read], "retries": 1, "backoff": {"initial": "2s"},
            "needs": ["a", "group", {"job": other}]}]});
    let id = id_of(&cluster.any().post("/v1/jobs", &job).await.ok());
    let in_state = async |cluster: &Cluster, task: &str, wanted: &str| {
        wait_until("the task's state", PATIENCE, async || {
            let task = cluster.any().read(&format!("/v1/jobs/{id}/tasks/{task}/0")).await;
            (task["state"] == wanted && task["attempt"] == 1).then_some(())
        })
        .await;
    };
    for (task, wanted) in [("group", "running"), ("last", "waiting")] {
        if task == "last" {
            wait_until("its first attempt", PATIENCE, async || seen.with_file_name("seen-1").exists().then_some(()))
                .await;
        }
        in_state(&cluster, task, wanted).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        cluster.restart(leader).await;
    }
    assert_eq!(ended(&cluster, id).await["state"], "succeeded");
    let files = [1, 2].map(|attempt| std::fs::read(seen.with_file_name(format!("seen-{attempt}"))).unwrap());
    assert_eq!(files[0], files[1], "both attempts read the same");
    let element = |index: usize, result: &str| json!({"index": index, "state": "succeeded", "result": result});
    let group: Vec<Value> = (0..4).map(|index| element(index, &format!("of {index}"))).collect();
    let job = json!({"state": "succeeded", "tasks": {"b": [element(0, "of b")]}});
    assert_eq!(
        serde_json::from_slice::<Value>(&files[0]).unwrap(),
        json!({"needs": {"a": [element(0, "of \"a\"")], "group": group}, "jobs": {other.to_string(): job}, "left_out": []})
    );
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_and_keys_hold_when_the_leader_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let graph = json!({"tasks": [
        {"name": "a", "command": ["sh", "-c", "sleep 0.5; exit 3"], "retries": 3, "no_retry_on": [3]},
        {"name": "after", "command": ["true"], "needs": ["a"]},
        {"name": "alarm", "command": ["true"], "needs": [{"task": "a", "on": "failure"}]},
        {"name": "clean", "command": ["true"], "needs": [{"task": "after", "on": "finish"}, "alarm"]}]});
    let graph = id_of(&cluster.any().post("/v1/jobs", &graph).await.ok());
    let keyed = json!({"command": ["sleep", "0.3"], "concurrency": {"key": "k", "limit": 2}});
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(id_of(&cluster.any().post("/v1/jobs", &keyed).await.ok()));
    }
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.restart(leader).await;
    assert_eq!(ended(&cluster, graph).await["state"], "failed");
    let tasks = cluster.any().read(&format!("/v1/jobs/{graph}/tasks")).await;
    let states: Vec<&str> =
        tasks["items"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "cancelled", "succeeded", "succeeded"]);
    assert_eq!(tasks["items"][0]["attempt"], 1, "an exit code that is not retried");
    for job in &jobs {
        assert_eq!(ended(&cluster, *job).await["state"], "succeeded");
    }
    let events = cluster.events_agree(&[]).await;
    let (mut holders, mut most) = (0, 0);
    for event in events.iter().filter(|event| event.job.is_some_and(|job| jobs.contains(&job))) {
        match event.kind.as_str() {
            "task.pending" => holders += 1,
            "job.succeeded" => holders -= 1,
            _ => {}
        }
        most = most.max(holders);
    }
    assert_eq!(most, 2, "as many hold the key as may, and no more");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_schedules_and_changes_are_refused() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let api = cluster.any();
    let cases = [
        (json!({"cron": "61 * * * *"}), "/schedule/cron"),
        (json!({"cron": "0 0 30 2 *"}), "/schedule/cron"),
        (json!({"cron": "@daily", "time_zone": "Mars/Olympus"}), "/schedule/time_zone"),
        (json!({"every": "10ms"}), "/schedule/every"),
        (json!({"every": "1m", "cron": "@daily"}), "/schedule/every"),
    ];
    for (schedule, pointer) in cases {
        let answer = api.post("/v1/jobs", &json!({"command": ["x"], "schedule": schedule})).await;
        assert_eq!((answer.status, answer.code()), (422, "invalid_job".into()), "{schedule}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{schedule}");
    }
    let unknown = json!({"tasks": [{"command": ["x"], "needs": [{"job": 999}]}]});
    assert_eq!(api.post("/v1/jobs", &unknown).await.code(), "invalid_job");
    let plain = id_of(&api.post("/v1/jobs", &json!({"command": ["x"]})).await.ok());
    assert_eq!(api.post(&format!("/v1/jobs/{plain}/run"), &json!({})).await.code(), "conflict");
    assert_eq!(api.get(&format!("/v1/jobs/{plain}/next")).await.status, 409);
    let path = format!("/v1/jobs/{plain}");
    let other = json!({"command": ["x"], "schedule": {"every": "1h"}});
    let change = async |path: &str, job: &Value| {
        api.send(reqwest::Method::PUT, path, &[], job.to_string().into()).await.unwrap()
    };
    assert_eq!(change(&path, &other).await.code(), "conflict", "it is no schedule");
    let schedule = id_of(&api.post("/v1/jobs", &json!({"command": ["x"], "schedule": {"every": "1m"}})).await.ok());
    let path = format!("/v1/jobs/{schedule}");
    let refused = change(&path, &json!({"command": ["x"]})).await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["errors"][0]["pointer"]),
        ("invalid_job", &json!("/schedule"))
    );
    let service = id_of(&api.post("/v1/jobs", &json!({"kind": "service", "command": ["x"]})).await.ok());
    let service = format!("/v1/jobs/{service}");
    api.read(&service).await;
    let refused = change(&service, &json!({"command": ["x"]})).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/kind")), "it stays a service");
    change(&path, &other).await.ok();
    let shown = api.read(&path).await;
    assert_eq!((&shown["spec"]["schedule"]["every"], &shown["state"]), (&json!("1h"), &json!("pending")));
    let held = json!({"command": ["x"], "concurrency": {"key": "k", "when_full": "reject"}});
    api.post("/v1/jobs", &held).await.ok();
    assert_eq!(api.post("/v1/jobs", &held).await.code(), "conflict");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_knows_schedules() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let servers = cluster.urls();
    let say = async |args: &[&str], input: &str| quorate(&servers, args, input).await.exits(0).stdout.trim().to_owned();
    let yearly = r#"{"name":"yearly","command":["true"],"schedule":{"cron":"0 0 1 1 *","time_zone":"Asia/Tokyo"}}"#;
    let id = say(&["job", "submit", "-"], yearly).await;
    let next = say(&["job", "next", &id, "--count", "2"], "").await;
    assert!(next.lines().count() == 2 && next.lines().all(|line| line.ends_with("-01-01T00:00:00+09:00")), "{next}");
    let run = say(&["job", "run-now", &id], "").await;
    say(&["job", "wait", &run], "").await;
    let listed = say(&["job", "list", "--schedule", &id, "-o", "json"], "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed["items"].as_array().unwrap().len(), listed["items"][0]["id"].to_string()), (1, run.clone()));
    say(&["job", "change", &id, "-"], &yearly.replace("Asia/Tokyo", "UTC")).await;
    assert!(say(&["job", "next", &id], "").await.lines().all(|line| line.ends_with("-01-01T00:00:00+00:00")));
    say(&["job", "retry", &run, "--from", "main"], "").await;
    say(&["job", "wait", &run], "").await;
    quorate(&servers, &["job", "next", &run], "").await.exits(5);
    say(&["worker", "drain", "w", "--deadline", "10m"], "").await;
    say(&["worker", "undrain", "w"], "").await;
    cluster.finish();
}

/// Every example of docs/cron.md, as a user would type it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_on_cron_say_what_they_say() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cron.md")).unwrap();
    let examples: Vec<&str> = page.split("$ quorate ").skip(1).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let (command, rest) = example.split_once('\n').unwrap();
        let expected = rest.split("```").next().unwrap().trim();
        let words: Vec<&str> = command.split('"').collect();
        let [first, expression, options] = words.as_slice() else { panic!("{command}") };
        let args: Vec<&str> = first.split_whitespace().chain([*expression]).chain(options.split_whitespace()).collect();
        let said = quorate("http://127.0.0.1:1", &args, "").await.exits(0);
        assert_eq!(said.stdout.trim(), expected, "{command}");
    }
}
