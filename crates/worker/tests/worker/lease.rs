//! One live attempt: nothing runs past its lease, whoever is killed, stopped or cut off.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorate_types::session::ToWorker;
use quorate_types::status::Ending;

use crate::Case;
use crate::replica::{Replica, Session, shell};
use crate::worker::{Agent, Worker, alive, block_on, marker, may_namespace, signal_process, wait_until, watchdog_pid};

pub(crate) const CASES: &[Case] = &[
    ("lease::a_lapse_ends_everything_and_registers_anew", a_lapse_ends_everything_and_registers_anew),
    ("lease::a_fenced_worker_registers_anew", a_fenced_worker_registers_anew),
    ("lease::a_resume_can_be_fenced", a_resume_can_be_fenced),
    ("lease::a_killed_agent_leaves_nothing_and_a_farewell", a_killed_agent_leaves_nothing_and_a_farewell),
    ("lease::a_stopped_agent_keeps_its_deadline", a_stopped_agent_keeps_its_deadline),
    ("lease::a_killed_watchdog_takes_everything_along", a_killed_watchdog_takes_everything_along),
    ("lease::a_stopped_watchdog_is_killed_at_the_deadline", a_stopped_watchdog_is_killed_at_the_deadline),
    ("lease::both_killed_at_once_leave_nothing", both_killed_at_once_leave_nothing),
    ("lease::a_restart_ends_what_is_left", a_restart_ends_what_is_left),
];

const KILL: i32 = 9;
const CONT: i32 = 18;
const STOP: i32 = 19;

/// Both modes, or the one that is possible.
fn modes() -> Vec<bool> {
    if may_namespace() { vec![true, false] } else { vec![false] }
}

/// Processes of all kinds: in the group, in another, orphaned and with a bare environment.
fn tree(mark: &str) -> String {
    format!("trap '' TERM; (setsid sleep {mark} &); setsid env -i sleep {mark} & sleep {mark} & sleep {mark}")
}

/// As [`tree`], without what only a PID namespace can end once the watchdog is dead.
fn tame_tree(mark: &str) -> String {
    format!("trap '' TERM; (setsid sleep {mark} &); env -i sleep {mark} & sleep {mark} & sleep {mark}")
}

async fn run_tree(session: &mut Session, script: &str, mark: &str) {
    session.assign(1, shell(1, script));
    session.started(1).await;
    wait_until("all four run", || alive(mark) == 4);
}

fn a_lapse_ends_everything_and_registers_anew() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 1_500).await;
        let (mark, first) = (marker(), session.hello.instance);
        session.assign(1, shell(2, "true"));
        session.finished(2).await;
        session.change(2, shell(1, &tree(&mark)));
        wait_until("all four run", || alive(&mark) == 4);
        session.acknowledges.store(false, Ordering::SeqCst);
        let stopped = Instant::now();
        wait_until("all are dead", || alive(&mark) == 0);
        assert!(stopped.elapsed() < Duration::from_millis(1_500), "{:?}", stopped.elapsed());
        // Sessions that go on with the old registration may come first; they get no welcome.
        let mut session = loop {
            let session = replica.session().await;
            if session.hello.resume.is_none() {
                break session;
            }
        };
        assert_eq!(session.hello.replaces, Some(first));
        assert_ne!(session.hello.instance, first);
        session.welcome(9, 10_000);
        // A restored cluster may count from lower. No report of the old registration comes.
        session.assign(1, shell(3, "true"));
        assert_eq!(session.finished(3).await.ending, Ending::Exited(0));
        worker.leave().await;
    });
}

fn a_fenced_worker_registers_anew() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 10_000).await;
        let mark = marker();
        run_tree(&mut session, &tree(&mark), &mark).await;
        session.send(ToWorker::Fenced);
        let again = replica.session().await;
        assert_eq!(alive(&mark), 0, "it replaced an instance that still ran");
        assert_eq!((again.hello.replaces, again.hello.resume), (Some(session.hello.instance), None));
        worker.leave().await;
    });
}

fn a_resume_can_be_fenced() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 10_000).await;
        let (mark, instance) = (marker(), session.hello.instance);
        run_tree(&mut session, &tree(&mark), &mark).await;
        drop(session);
        let resumed = replica.session().await;
        assert!(resumed.hello.resume.is_some());
        resumed.send(ToWorker::Fenced);
        let again = replica.session().await;
        assert_eq!(alive(&mark), 0, "it replaced an instance that still ran");
        assert_eq!((again.hello.replaces, again.hello.resume), (Some(instance), None));
        worker.leave().await;
    });
}

fn a_killed_agent_leaves_nothing_and_a_farewell() {
    for namespaced in modes() {
        block_on(async {
            let (mut replica, data) = (Replica::start().await, tempfile::tempdir().unwrap());
            let agent = Agent::start(&replica.url, data.path(), namespaced);
            let mut session = replica.welcomed(7, 10_000).await;
            let mark = marker();
            run_tree(&mut session, &tree(&mark), &mark).await;
            let watchdog = watchdog_pid(data.path());
            agent.signal(KILL);
            let took = wait_until("all are dead", || alive(&mark) == 0);
            println!("  all dead after {took:.1?} (namespaced: {namespaced})");
            assert!(took < Duration::from_millis(200), "{took:?}");
            let farewell = replica.farewell().await;
            assert!(farewell.starts_with("POST /v1/workers/w1/ended HTTP/1.1\r\n"), "{farewell}");
            assert!(farewell.contains("Authorization: Bearer secret\r\n"), "{farewell}");
            assert!(farewell.ends_with("{\"epoch\":7}"), "{farewell}");
            drop(agent);
            wait_until("the watchdog goes", || !std::path::Path::new(&format!("/proc/{watchdog}")).exists());
        });
    }
}

fn a_stopped_agent_keeps_its_deadline() {
    for namespaced in modes() {
        block_on(async {
            let (mut replica, data) = (Replica::start().await, tempfile::tempdir().unwrap());
            let agent = Agent::start(&replica.url, data.path(), namespaced);
            let mut session = replica.welcomed(7, 1_500).await;
            let mark = marker();
            run_tree(&mut session, &tree(&mark), &mark).await;
            agent.signal(STOP);
            let took = wait_until("all are dead", || alive(&mark) == 0);
            assert!(took < Duration::from_millis(1_500), "{took:?}");
            agent.signal(CONT);
            let again = loop {
                let session = replica.session().await;
                if session.hello.resume.is_none() {
                    break session;
                }
            };
            assert_eq!(again.hello.replaces, Some(session.hello.instance));
        });
    }
}

fn a_killed_watchdog_takes_everything_along() {
    for namespaced in modes() {
        block_on(async {
            let mut replica = Replica::start().await;
            let worker = Worker::start_with(&[&replica.url], |options| options.limits.pid_namespace = namespaced);
            let mut session = replica.welcomed(7, 10_000).await;
            let mark = marker();
            let script = if namespaced { tree(&mark) } else { tame_tree(&mark) };
            run_tree(&mut session, &script, &mark).await;
            let watchdog = watchdog_pid(worker.data.path());
            signal_process(watchdog, KILL);
            let mut again = replica.session().await;
            assert_eq!(alive(&mark), 0, "it replaced an instance that still ran (namespaced: {namespaced})");
            assert_eq!((again.hello.replaces, again.hello.resume), (Some(session.hello.instance), None));
            assert_ne!(watchdog_pid(worker.data.path()), watchdog);
            again.welcome(9, 10_000);
            again.assign(5, shell(5, "true"));
            assert_eq!(again.finished(5).await.ending, Ending::Exited(0));
            worker.leave().await;
        });
    }
}

fn a_stopped_watchdog_is_killed_at_the_deadline() {
    for namespaced in modes() {
        block_on(async {
            let mut replica = Replica::start().await;
            let worker = Worker::start_with(&[&replica.url], |options| options.limits.pid_namespace = namespaced);
            let mut session = replica.welcomed(7, 3_000).await;
            let mark = marker();
            let script = if namespaced { tree(&mark) } else { tame_tree(&mark) };
            run_tree(&mut session, &script, &mark).await;
            signal_process(watchdog_pid(worker.data.path()), STOP);
            session.acknowledges.store(false, Ordering::SeqCst);
            let took = wait_until("all are dead", || alive(&mark) == 0);
            println!("  all dead after {took:.1?} of a lease of 3 s (namespaced: {namespaced})");
            assert!(took < Duration::from_millis(3_000), "{took:?}");
            let again = loop {
                let session = replica.session().await;
                if session.hello.resume.is_none() {
                    break session;
                }
            };
            assert_eq!(again.hello.replaces, Some(session.hello.instance));
            worker.leave().await;
        });
    }
}

fn both_killed_at_once_leave_nothing() {
    if !may_namespace() {
        return;
    }
    block_on(async {
        let (mut replica, data) = (Replica::start().await, tempfile::tempdir().unwrap());
        let agent = Agent::start(&replica.url, data.path(), true);
        let mut session = replica.welcomed(7, 10_000).await;
        let mark = marker();
        run_tree(&mut session, &tree(&mark), &mark).await;
        // Stopped first, so that neither can do anything about the death of the other.
        agent.signal(STOP);
        let watchdog = watchdog_pid(data.path());
        signal_process(watchdog, STOP);
        signal_process(watchdog, KILL);
        agent.signal(KILL);
        let took = wait_until("all are dead", || alive(&mark) == 0);
        assert!(took < Duration::from_millis(500), "{took:?}");
    });
}

fn a_restart_ends_what_is_left() {
    for namespaced in modes() {
        block_on(async {
            let (mut replica, data) = (Replica::start().await, tempfile::tempdir().unwrap());
            let agent = Agent::start(&replica.url, data.path(), namespaced);
            let mut session = replica.welcomed(7, 10_000).await;
            let mark = marker();
            let script = if namespaced { tree(&mark) } else { tame_tree(&mark) };
            run_tree(&mut session, &script, &mark).await;
            signal_process(watchdog_pid(data.path()), STOP);
            drop(agent);
            assert_eq!(alive(&mark), 4, "a stopped watchdog ended something");
            let agent = Agent::start(&replica.url, data.path(), namespaced);
            let again = replica.session().await;
            assert_eq!(alive(&mark), 0, "it replaced an instance that still ran (namespaced: {namespaced})");
            assert_eq!((again.hello.replaces, again.hello.resume), (Some(session.hello.instance), None));
            let watchdog = watchdog_pid(data.path());
            drop(agent);
            wait_until("the watchdog goes", || !std::path::Path::new(&format!("/proc/{watchdog}")).exists());
        });
    }
}
