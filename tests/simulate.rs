//! The policy lab on a live cluster: what waits and runs at this moment, what ran before, and the examples of
//! docs/simulate.md.

use std::time::Duration;

use crate::support::cli::{quorate, run};
use crate::support::process;
use crate::support::{Cluster, WorkerSetup, turn};
use serde_json::{Value, json};

/// Two cores, in a zone of its own.
async fn start_worker(cluster: &mut Cluster, name: &str, zone: &str) {
    let args = vec![("--label", format!("zone={zone}"))];
    cluster.start_worker_with(name, WorkerSetup { cpu: "2", args, ..WorkerSetup::default() }).await;
}

/// Elements of two cores each.
fn job(name: &str, command: &[&str], count: u32, expected: &str) -> Value {
    let task =
        json!({"name": "main", "command": command, "count": count, "resources": {"cpu": 2}, "expected": expected});
    json!({"name": name, "tasks": [task]})
}

/// What `simulate --from-cluster --now ARGS` says.
async fn now(cluster: &Cluster, args: &[&str]) -> Value {
    let args = [&["simulate", "--from-cluster", "--now", "-o", "json"], args].concat();
    let said = quorate(&cluster.urls(), &args, "").await.exits(0);
    serde_json::from_str(&said.stdout).unwrap()
}

fn counts(outlook: &Value) -> [u64; 4] {
    ["running", "again", "waiting", "at_once"].map(|key| outlook["now"][key].as_u64().unwrap())
}

fn minutes(outlook: &Value, key: &str) -> f64 {
    outlook["now"][key].as_f64().unwrap() / 60.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_if_on_what_waits_and_runs_now() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    start_worker(&mut cluster, "w1", "a").await;
    start_worker(&mut cluster, "w2", "b").await;
    let api = cluster.any();
    let holds = api.submit(&job("holds", &["sleep", "3600"], 2, "60m")).await;
    for index in 0..2 {
        api.task_is(holds, "main", index, "running").await;
    }
    let next = api.submit(&job("next", &["true"], 3, "20m")).await;
    let before = api.read("/v1/policy").await;

    let plain = now(&cluster, &[]).await;
    assert_eq!((counts(&plain), &plain["queue"]), ([2, 0, 3, 0], &json!("priority")), "{plain}");
    // What runs began less than a few minutes ago; then twenty minutes on both, and twenty more.
    let (drained, longest) = (minutes(&plain, "drained_in_s"), minutes(&plain, "longest_wait_s"));
    assert!((90.0..100.1).contains(&drained) && (70.0..80.1).contains(&longest), "{plain}");
    let lines = plain["now"]["jobs"].as_array().unwrap();
    let of_next = lines.iter().find(|line| line["job"] == next).unwrap();
    assert_eq!((&of_next["waiting"], &of_next["name"]), (&json!(3), &json!("next")), "{plain}");

    // The attempt on a lost worker starts again; a drained one ends what it runs, and gets nothing more.
    let lost = now(&cluster, &["--lose", "label=zone=b"]).await;
    assert_eq!((counts(&lost), minutes(&lost, "drained_in_s") > 170.0), ([1, 1, 4, 0], true), "{lost}");
    let drained = now(&cluster, &["--drain", "w2"]).await;
    assert_eq!((counts(&drained), &drained["now"]["workers"][1]["to_come"]), ([2, 0, 3, 0], &json!(0)), "{drained}");
    let more = now(&cluster, &["--add", "2cpu,1GiB*3", "--queue", "fifo,aged-sjf", "--backfill", "easy"]).await;
    assert_eq!((more.as_array().unwrap().len(), counts(&more[1])), (2, [2, 0, 3, 3]), "{more}");

    // Each job with its own name, also in files; and for people.
    let (csv, starts) = (cluster.dir.join("jobs.csv"), cluster.dir.join("starts.csv"));
    let files =
        ["simulate", "--from-cluster", "--now", "--csv", csv.to_str().unwrap(), "--starts", starts.to_str().unwrap()];
    let said = quorate(&cluster.urls(), &files, "").await.exits(0).stdout;
    for words in ["DRAINED IN", "IDLE IN", "LAST START IN", "w1", "next"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for (file, line) in
        [(&csv, format!("priority,none,best-fit,user,{next}/main/2,next,")), (&starts, format!("{next}/main/2,"))]
    {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.lines().count() == 6 && text.contains(&line), "{line}: {text}");
    }
    assert_eq!(api.read("/v1/policy").await, before);
    assert_eq!(api.job(next).await["tasks"]["pending"], 3, "nothing was changed");
    for (args, reason) in [(["--drain", "w9"], "no such worker"), (["--last", "1h"], "cannot be used with")] {
        let args = [&["simulate", "--from-cluster", "--now"], args.as_slice()].concat();
        let said = quorate(&cluster.urls(), &args, "").await.exits(2);
        assert!(said.stderr.contains(reason), "{}", said.stderr);
    }
    api.post(&format!("/v1/jobs/{holds}/cancel"), &json!({})).await.ok();
    api.ends_as(holds, "cancelled").await;
    api.ends_as(next, "succeeded").await;

    // Nothing runs and nothing waits: that is an answer too.
    assert_eq!((counts(&now(&cluster, &[]).await), minutes(&now(&cluster, &[]).await, "drained_in_s")), ([0; 4], 0.0));
    cluster.finish();
}

/// Every command of the page, as a user would type it, on a cluster that has a history and something to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_run() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/simulate.md")).unwrap();
    let mut cluster = Cluster::of_three().await;
    for (name, zone) in [("w1", "a"), ("w2", "b"), ("w3", "b")] {
        start_worker(&mut cluster, name, zone).await;
    }
    let api = cluster.any();
    for round in 1..=3 {
        let id = api.submit(&job("nightly", &["true"], round * 2, "30s")).await;
        api.ends_as(id, "succeeded").await;
    }
    let holds = api.submit(&job("holds", &["sleep", "3600"], 5, "60m")).await;
    api.task_is(holds, "main", 0, "running").await;
    // A command, and what it printed when the page was written.
    let blocks: Vec<(&str, Option<&str>)> = page
        .split("```sh\n")
        .skip(1)
        .map(|rest| {
            let (command, rest) = rest.split_once("```").unwrap();
            (command, rest.trim_start().strip_prefix("```text\n").and_then(|text| text.split("```").next()))
        })
        .collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    for (command, printed) in blocks {
        let mut shell = std::process::Command::new("sh");
        process::clean(&mut shell);
        let binary = process::quorate().display().to_string();
        shell.current_dir(&cluster.dir).env("QUORATE_SERVER", cluster.urls());
        shell.arg("-ec").arg(format!("quorate() {{ '{binary}' \"$@\"; }}\n{command}"));
        let said = run(shell, "", Duration::from_secs(60)).await.exits(0);
        let heading =
            |text: &str| text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(printed) = printed {
            assert_eq!(heading(&said.stdout), heading(printed.trim_start()), "{command}");
        }
    }
    let report = std::fs::read_to_string(cluster.dir.join("policies.html")).unwrap();
    assert!(report.contains("<svg") && report.ends_with("</html>\n"));
    api.post(&format!("/v1/jobs/{holds}/cancel"), &json!({})).await.ok();
    api.ends_as(holds, "cancelled").await;
    cluster.finish();
}
