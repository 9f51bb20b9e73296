//! What scripts rely on: exit codes, and what goes to which stream.

use std::time::Duration;

use serde_json::{Value, json};

use super::{file_says, with_workers};
use crate::support::cli::{self, Ran, quorate};
use crate::support::{sys, turn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_gives_the_codes_it_promises() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let servers = cluster.urls();
    let run = |args: &'static [&'static str]| {
        let servers = servers.clone();
        async move { quorate(&servers, args, "").await }
    };
    let said: Ran = run(&["run", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"]).await.exits(3);
    assert_eq!(said.stdout, "to stdout\n", "{said:?}");
    assert!(said.stderr.contains("to stderr"), "{said:?}");
    let said = run(&["run", "--env", "WHO=you", "--", "sh", "-c", "echo hello $WHO"]).await.exits(0);
    assert_eq!(said.stdout, "hello you\n");
    let detached = run(&["run", "--detach", "--name", "detached", "--", "true"]).await.exits(0);
    let id = detached.stdout.trim().to_owned();
    let id = id.as_str();
    quorate(&servers, &["job", "wait", id], "").await.exits(0);
    assert!(quorate(&servers, &["job", "show", id], "").await.exits(0).stdout.contains("detached"));
    let shown = quorate(&servers, &["job", "show", id, "-o", "json"], "").await.exits(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&shown["name"], &shown["state"]), (&json!("detached"), &json!("succeeded")));

    // A job from standard input, waited for; one that fails; one that is none.
    quorate(&servers, &["job", "submit", "-", "--wait"], r#"{"command":["true"]}"#).await.exits(0);
    quorate(&servers, &["job", "submit", "-", "--wait"], r#"{"command":["false"]}"#).await.exits(1);
    let refused = quorate(&servers, &["job", "submit", "-"], r#"{"command":[]}"#).await.exits(5);
    assert!(refused.stderr.contains("/command") && refused.stdout.is_empty(), "{refused:?}");
    let many = "{\"command\":[\"true\"]}\n{\"command\":[\"true\"]}\n";
    let many = quorate(&servers, &["job", "submit", "-", "--wait"], many).await.exits(0);
    assert_eq!(many.stdout.lines().filter(|line| line.trim().parse::<u64>().is_ok()).count(), 2, "{many:?}");

    // Who names none of many elements ends none of them.
    let array = r#"{"tasks":[{"name":"a","command":["sleep","600"],"count":2}]}"#;
    let array = quorate(&servers, &["job", "submit", "-"], array).await.exits(0).stdout;
    let array = array.trim();
    cluster.any().task_is(array.parse().unwrap(), "a", 1, "running").await;
    let said = quorate(&servers, &["job", "reassign", array, "a"], "").await.exits(2);
    assert!(said.stderr.contains("several elements"), "{said:?}");
    quorate(&servers, &["job", "reassign", array, "a/1"], "").await.exits(0);
    quorate(&servers, &["job", "cancel", array], "").await.exits(0);

    for missing in [
        &["job", "show", "999999"][..],
        &["job", "cancel", "999999"],
        &["worker", "show", "nobody"],
        &["job", "logs", "999999"],
    ] {
        let said = quorate(&servers, missing, "").await.exits(4);
        assert!(said.stderr.contains("error:") && said.stdout.is_empty(), "{said:?}");
    }
    for usage in [&["job"][..], &["job", "show", "x"], &["nonsense"], &["run"], &["job", "submit", "/nonexistent"]] {
        quorate(&servers, usage, "").await.exits(2);
    }
    let nowhere = format!("http://127.0.0.1:{}", crate::support::ports::free("127.0.0.1"));
    let said = quorate(&nowhere, &["job", "list"], "").await.exits(3);
    assert!(said.stderr.contains("hint:"), "{said:?}");
    // One dead address among living ones does not matter.
    quorate(&format!("{nowhere},{servers}"), &["job", "list"], "").await.exits(0);
    for read in [
        &["job", "list"][..],
        &["job", "tasks", id],
        &["job", "logs", id],
        &["worker", "list"],
        &["worker", "show", "w"],
        &["cluster", "status"],
    ] {
        quorate(&servers, read, "").await.exits(0);
        let json = quorate(&servers, &[read, &["-o", "json"]].concat(), "").await;
        assert!(read[1] == "logs" || serde_json::from_str::<Value>(&json.stdout).is_ok(), "{read:?}: {json:?}");
    }
    quorate(&servers, &["worker", "drain", "w"], "").await.exits(0);
    cluster.any().worker_is("w", "draining").await;
    quorate(&servers, &["worker", "undrain", "w"], "").await.exits(0);
    quorate(&servers, &["job", "cancel", id], "").await.exits(5);
    quorate(&servers, &["job", "forget", id], "").await.exits(0);
    quorate(&servers, &["job", "show", id], "").await.exits(4);
    cluster.finish();
}

fn number(text: &str) -> Option<i32> {
    text.trim().parse().ok()
}

/// Ctrl-C on `quorate run` cancels the job: nothing goes on without its user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_cancels_its_job() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let mark = cluster.dir.join("pid");
    let script = format!("echo $$ > {}; sleep 1000", mark.display());
    let mut command = std::process::Command::new(crate::support::process::quorate());
    crate::support::process::clean(&mut command);
    command.env("QUORATE_SERVER", cluster.urls()).args(["run", "--", "sh", "-c", &script]);
    let own = format!("QUORATE_SERVER={}", cluster.urls());
    let run = tokio::spawn(cli::run(command, "", Duration::from_secs(60)));
    file_says(&mark, number).await;
    let client = sys::with_environment(&[own]).into_iter().find(|seen| seen.command.contains(" run -- ")).unwrap();
    assert!(sys::signal(client.pid, libc::SIGINT));
    let ran = run.await.unwrap().exits(130);
    assert!(ran.stderr.contains("cancel"), "{ran:?}");
    cluster.any().ends_as(1, "cancelled").await;
    assert!(cluster.workers["w"].attempts(None).is_empty());
    cluster.finish();
}
