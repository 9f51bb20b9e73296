//! What one attempt gets, how it ends, and what it leaves.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_types::extension::Addition;
use quorate_types::inputs::{Input, Inputs};
use quorate_types::service::Health;
use quorate_types::session::{From, Happening, Report};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{Name, Span, TaskIndex};

use crate::Case;
use crate::replica::{Replica, Session, key, shell, spec, stop, work};
use crate::worker::{Worker, alive, block_on, marker, may_namespace, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("tasks::endings", endings),
    ("tasks::environment_and_files", environment_and_files),
    ("tasks::inputs_come_with_the_order", inputs_come_with_the_order),
    ("tasks::what_cannot_start", what_cannot_start),
    ("tasks::a_stop_kills_what_ignores_it", a_stop_kills_what_ignores_it),
    ("tasks::a_stop_lets_end_in_peace", a_stop_lets_end_in_peace),
    ("tasks::a_timeout_ends_it", a_timeout_ends_it),
    ("tasks::escaped_processes_die_with_their_attempt", escaped_processes_die_with_their_attempt),
    ("tasks::output_is_read_while_it_grows", output_is_read_while_it_grows),
    ("tasks::too_much_output_ends_it", too_much_output_ends_it),
    ("tasks::progress_is_told", progress_is_told),
    ("tasks::a_health_command_runs_beside_the_attempt", a_health_command_runs_beside_the_attempt),
    ("tasks::old_folders_go", old_folders_go),
];

async fn session(replica: &mut Replica) -> Session {
    let session = replica.welcomed(7, 10_000).await;
    session.assign(1, Default::default());
    session
}

/// Where the first attempt of job 1 runs.
fn first_folder(worker: &Worker) -> PathBuf {
    worker.data.path().canonicalize().unwrap().join("attempts/1-0-0-1-1")
}

fn endings() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        for (n, script, ending) in [
            (1, "true", Ending::Exited(0)),
            (2, "exit 3", Ending::Exited(3)),
            (3, "kill -11 $$", Ending::Signalled(11)),
            // A real-time signal, which few programs have a name for.
            (4, "kill -40 $$", Ending::Signalled(40)),
            (5, "trap '' PIPE; exec sh -c 'kill -PIPE $$; exit 9'", Ending::Exited(9)),
            (6, "kill -PIPE $$; exit 9", Ending::Signalled(13)),
        ] {
            session.run(n + 1, n, script);
            session.started(n).await;
            assert_eq!(session.finished(n).await.ending, ending, "{script}");
            session.commit(n + 1);
        }
        worker.leave().await;
    });
}

fn environment_and_files() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let mut task = spec(&[
            "sh",
            "-c",
            "cat; env | sort; pwd; ls -l /proc/self/fd | wc -l; echo e >&2; printf 42 > $QUORATE_RESULT; echo [] > $QUORATE_EXTEND",
        ]);
        task.stdin = Some("from stdin\n".into());
        task.working_dir = Some("sub/dir".into());
        session.change(2, work([1], task));
        let end = session.finished(1).await;
        let out = String::from_utf8(end.stdout_tail).unwrap();
        let folder = first_folder(&worker);
        let sub = folder.join("work").join("sub/dir");
        let (folder, sub) = (folder.display(), sub.display());
        assert_eq!((end.ending, end.result.as_deref()), (Ending::Exited(0), Some("42")));
        assert_eq!(end.extension, Some(Box::new(Addition::Text("[]\n".into()))));
        assert_eq!(end.stderr_tail, b"e\n");
        assert!(out.starts_with("from stdin\n"), "{out}");
        for line in [
            "X=y".to_owned(),
            "QUORATE_JOB_ID=1".into(),
            "QUORATE_TASK=main".into(),
            "QUORATE_INDEX=0".into(),
            "QUORATE_ATTEMPT=1".into(),
            "QUORATE_FENCE=1".into(),
            "QUORATE_WORKER=w1".into(),
            "QUORATE_NAMESPACE=default".into(),
            format!("QUORATE_SERVER={}", replica.url),
            format!("QUORATE_RESULT={folder}/result"),
            format!("QUORATE_PROGRESS={folder}/progress"),
            format!("QUORATE_EXTEND={folder}/extend"),
            sub.to_string(),
        ] {
            assert!(out.lines().any(|found| found == line), "{line} is not in {out}");
        }
        // The worker's own environment stays its own, and no descriptors leak: stdio, ls's own, and the heading.
        assert!(!out.contains("CARGO"), "{out}");
        assert!(out.ends_with("\n5\n"), "{out}");
        worker.leave().await;
    });
}

fn inputs_come_with_the_order() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let inputs = |task: &str, index: u32| {
            let result = Some(format!("of {task}").into());
            let ended = Input { index: TaskIndex(index), state: TaskState::Succeeded, result };
            let mut inputs = Inputs::default();
            inputs.add_task(&Name::new(task).unwrap(), Some(vec![ended]));
            Some(Box::new(inputs))
        };
        let mut both = shell(1, "cat $QUORATE_INPUTS; rm $QUORATE_INPUTS");
        both.definitions[0].inputs = inputs("whole", 0);
        both.start[0].inputs = inputs("each", 5);
        session.change(2, both);
        let out = String::from_utf8(session.finished(1).await.stdout_tail).unwrap();
        let said: serde_json::Value = serde_json::from_str(&out).unwrap();
        let element =
            |index, result: &str| serde_json::json!([{"index": index, "state": "succeeded", "result": result}]);
        assert_eq!(
            said,
            serde_json::json!({"needs": {"whole": element(0, "of whole"), "each": element(5, "of each")},
                "jobs": {}, "left_out": []})
        );
        let file = first_folder(&worker).join("inputs.json");
        assert!(!file.exists());
        // A task that needs nothing can't be given what the worker itself was started with, or what the task claims.
        session.run(3, 2, "exit ${QUORATE_INPUTS:+9}");
        assert_eq!(session.finished(2).await.ending, Ending::Exited(0));
        worker.leave().await;
    });
}

fn what_cannot_start() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let missing_dir = {
            let mut s = spec(&["true"]);
            s.working_dir = Some("/no/such/folder".into());
            s
        };
        let leaving_dir = {
            let mut s = spec(&["true"]);
            s.working_dir = Some("../..".into());
            s
        };
        for (n, spec, words) in [
            (1, spec(&["no-such-program"]), "execute no-such-program: No such file"),
            (2, spec(&["/etc"]), "execute /etc: Permission denied"),
            (3, missing_dir, "enter the working folder /no/such/folder: No such file"),
            (4, leaving_dir, "may not be left"),
        ] {
            session.change(n + 1, work([n], spec));
            let (Ending::NotStarted(why) | Ending::Unable(why)) = session.finished(n).await.ending else {
                panic!("it started")
            };
            assert!(why.contains(words), "{why}");
        }
        // A script that does not say what runs it is run by the shell.
        let script = worker.data.path().join("script");
        std::fs::write(&script, "exit 5\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        session.change(9, work([9], spec(&[script.to_str().unwrap()])));
        assert_eq!(session.finished(9).await.ending, Ending::Exited(5));
        worker.leave().await;
    });
}

fn a_stop_kills_what_ignores_it() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let mark = marker();
        session.run(2, 1, &format!("trap '' TERM; sleep {mark} & sleep {mark} & (sleep {mark} & wait) & wait"));
        session.started(1).await;
        wait_until("children", || alive(&mark) == 3);
        let asked = Instant::now();
        session.change(3, stop(1));
        assert_eq!(session.finished(1).await.ending, Ending::Stopped);
        assert!(asked.elapsed() >= Duration::from_millis(300), "the grace was cut short");
        assert_eq!(alive(&mark), 0, "the end was told before it was there");
        worker.leave().await;
    });
}

fn a_stop_lets_end_in_peace() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let mark = marker();
        session.run(2, 1, &format!("trap 'echo bye; exit 0' TERM; sleep {mark} & wait"));
        wait_until("it runs", || alive(&mark) == 1);
        session.change(3, stop(1));
        let end = session.finished(1).await;
        assert_eq!((end.ending, end.stdout_tail.as_slice()), (Ending::Stopped, &b"bye\n"[..]));
        worker.leave().await;
    });
}

fn a_timeout_ends_it() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let mut task = spec(&["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"]);
        task.timeout = Some(Span(200));
        task.grace = Span(100);
        session.change(2, work([1], task));
        let end = session.finished(1).await;
        assert_eq!(end.ending, Ending::TimedOut);
        assert!((300..5_000).contains(&end.ran.0), "{}", end.ran);
        worker.leave().await;
    });
}

/// In both modes: with a PID namespace and without.
fn escaped_processes_die_with_their_attempt() {
    for namespaced in [true, false] {
        if namespaced && !may_namespace() {
            continue;
        }
        block_on(async {
            let mut replica = Replica::start().await;
            let worker = Worker::start_with(&[&replica.url], |options| options.limits.pid_namespace = namespaced);
            let mut session = session(&mut replica).await;
            let (escaped, neighbour) = (marker(), marker());
            // The neighbour has an orphan, too, which must live on.
            session.run(2, 2, &format!("(setsid sleep {neighbour} &); sleep 1000"));
            session.started(2).await;
            wait_until("the neighbour's orphan", || alive(&neighbour) == 1);
            let script = format!(
                "setsid env -i setsid sh -c 'setsid sleep {escaped} & sleep {escaped} & wait' & while [ ! -e ok ]; do sleep 0.01; done"
            );
            session.run(3, 1, &script);
            session.started(1).await;
            wait_until("escapees", || alive(&escaped) >= 2);
            std::fs::write(first_folder(&worker).join("work").join("ok"), "").unwrap();
            assert_eq!(session.finished(1).await.ending, Ending::Exited(0));
            assert_eq!(alive(&escaped), 0, "the end was told before it was there");
            assert_eq!(alive(&neighbour), 1, "the neighbour was hit");
            session.change(4, stop(2));
            assert_eq!(session.finished(2).await.ending, Ending::Stopped);
            assert_eq!(alive(&neighbour), 0);
            worker.leave().await;
        });
    }
}

fn output_is_read_while_it_grows() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        session.run(2, 1, "printf one; while [ ! -e go ]; do sleep 0.01; done; printf two");
        session.started(1).await;
        let piece = session.output(1, From::Offset(0), 10_000).await.unwrap();
        assert_eq!((piece.offset, piece.bytes.as_slice(), piece.end), (0, &b"one"[..], false));
        let nothing = session.output(1, From::Offset(3), 50).await.unwrap();
        assert_eq!((nothing.offset, nothing.bytes.len(), nothing.end), (3, 0, false));
        std::fs::write(first_folder(&worker).join("work").join("go"), "").unwrap();
        let piece = session.output(1, From::Offset(3), 10_000).await.unwrap();
        assert_eq!((piece.offset, piece.bytes.as_slice()), (3, &b"two"[..]));
        assert_eq!(session.finished(1).await.stdout_tail, b"onetwo");
        let piece = session.output(1, From::Offset(6), 10_000).await.unwrap();
        assert_eq!((piece.offset, piece.bytes.len(), piece.end), (6, 0, true));
        let piece = session.output(1, From::Tail(2), 0).await.unwrap();
        assert_eq!((piece.offset, piece.bytes.as_slice(), piece.end), (4, &b"wo"[..], true));
        assert_eq!(session.output(99, From::Offset(0), 10_000).await, None);
        // One that leaves nothing has an output that ends at once.
        session.run(3, 2, "true");
        session.finished(2).await;
        let piece = session.output(2, From::Offset(0), 10_000).await.unwrap();
        assert!(piece.end && piece.bytes.is_empty());
        worker.leave().await;
    });
}

fn too_much_output_ends_it() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start_with(&[&replica.url], |options| options.limits.output_bytes = 10_000);
        let mut session = session(&mut replica).await;
        session.run(2, 1, "trap '' TERM; while :; do echo 0123456789; sleep 0.0001; done");
        let end = session.finished(1).await;
        assert_eq!((end.ending, end.stdout_tail.len()), (Ending::OutputLimit, 1024));
        worker.leave().await;
    });
}

fn progress_is_told() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        session.change(2, shell(1, "echo '0.42 almost half' > $QUORATE_PROGRESS; sleep 1000"));
        session.started(1).await;
        let report = session.report().await;
        assert_eq!(report.key, key(1));
        assert_eq!(report.what, Happening::Progress { millis: 420, message: "almost half".into() });
        worker.leave().await;
    });
}

/// The command sees the folder and the environment of its attempt, is ended when it takes too long, and ends with it.
fn a_health_command_runs_beside_the_attempt() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = session(&mut replica).await;
        let mut work = shell(1, "echo 7 > up; sleep 1000");
        let script = "test $QUORATE_JOB_ID = 1 && test -e up || exit 1; test -e slow && sleep 1000; exit 0";
        work.definitions[0].health = Some(Box::new(Health {
            command: Some(["sh", "-c", script].map(str::to_owned).into()),
            interval: Span(500),
            timeout: Span(300),
            failures: 2,
            start_period: Span(60_000),
            min_healthy: Span(0),
        }));
        session.change(2, work);
        session.started(1).await;
        assert_eq!(session.report().await, Report { key: key(1), what: Happening::Healthy });
        let attempts = worker.data.path().join("attempts");
        let folder = std::fs::read_dir(attempts).unwrap().next().unwrap().unwrap().path();
        std::fs::write(folder.join("work/slow"), "").unwrap();
        assert_eq!(session.finished(1).await.ending, Ending::Unhealthy(2));
        worker.leave().await;
    });
}

fn old_folders_go() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start_with(&[&replica.url], |options| options.limits.spool_bytes = 3_000);
        let mut session = session(&mut replica).await;
        for n in 1..=4 {
            session.run(n + 1, n, "head -c 1000 /dev/zero");
            session.finished(n).await;
        }
        assert_eq!(session.output(1, From::Offset(0), 0).await, None);
        assert_eq!(session.output(2, From::Offset(0), 0).await.map(|piece| piece.bytes.len()), Some(1000));
        let folders = || std::fs::read_dir(worker.data.path().join("attempts")).unwrap().count();
        wait_until("the oldest folder is gone", || folders() == 3);
        worker.leave().await;
    });
}
