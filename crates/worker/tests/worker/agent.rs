//! The agent and its session: reconnects, assignments, performance, leaving.

use std::time::Instant;

use quorate_types::job::Driver;
use quorate_types::session::{FromWorker, Happening, Resume, ToWorker, Work};
use quorate_types::status::Ending;
use quorate_types::{Epoch, LogIndex};
use quorate_worker::{Options, WorkerError};

use crate::Case;
use crate::replica::{PATIENCE, Replica, shell, spec, stop, work};
use crate::worker::{Worker, alive, block_on, marker, options, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("agent::a_reconnect_keeps_attempts_and_sends_reports_again", a_reconnect_keeps_attempts_and_sends_reports_again),
    ("agent::a_silent_replica_is_left", a_silent_replica_is_left),
    ("agent::a_refused_one_moves_on", a_refused_one_moves_on),
    ("agent::older_assignments_are_ignored", older_assignments_are_ignored),
    ("agent::the_whole_truth_ends_the_rest", the_whole_truth_ends_the_rest),
    ("agent::noops_are_fast", noops_are_fast),
    ("agent::processes_are_fast", processes_are_fast),
    ("agent::leaving_ends_attempts_and_says_goodbye", leaving_ends_attempts_and_says_goodbye),
    ("agent::one_folder_one_worker", one_folder_one_worker),
    ("agent::a_refusal_for_good_is_an_error", a_refusal_for_good_is_an_error),
];

fn a_reconnect_keeps_attempts_and_sends_reports_again() {
    block_on(async {
        let (mut first, mut second) = (Replica::start().await, Replica::start().await);
        let worker = Worker::start(&[&first.url, &second.url]);
        let mut session = first.welcomed(7, 10_000).await;
        assert_eq!((session.hello.resume, session.hello.replaces), (None, None));
        let mark = marker();
        let instance = session.hello.instance;
        session.assign(5, shell(1, &format!("sleep {mark}")));
        session.run(6, 2, "exit 4");
        wait_until("it runs", || alive(&mark) == 1);
        assert_eq!(session.finished(2).await.ending, Ending::Exited(4));
        drop(session);
        let mut session = second.welcomed(7, 10_000).await;
        assert_eq!(session.hello.instance, instance);
        assert_eq!(session.hello.resume, Some(Resume { epoch: Epoch(7), seen: LogIndex(6) }));
        session.assign(6, work([1, 2], spec(&["false"])));
        assert_eq!(session.finished(2).await.ending, Ending::Exited(4));
        session.commit(8);
        session.change(9, stop(1));
        assert_eq!(session.finished(1).await.ending, Ending::Stopped);
        assert_eq!(alive(&mark), 0);
        worker.leave().await;
    });
}

fn a_silent_replica_is_left() {
    block_on(async {
        let (mut first, mut second) = (Replica::start().await, Replica::start().await);
        let worker = Worker::start(&[&first.url, &second.url]);
        let silent = first.welcomed(7, 10_000).await;
        silent.acknowledges.store(false, std::sync::atomic::Ordering::SeqCst);
        let session = second.welcomed(7, 10_000).await;
        assert!(session.hello.resume.is_some());
        worker.leave().await;
    });
}

fn a_refused_one_moves_on() {
    block_on(async {
        let (mut first, mut second) = (Replica::start().await, Replica::start().await);
        let worker = Worker::start(&["http://127.0.0.1:1", &first.url, &second.url]);
        let refused = first.session().await;
        refused.send(ToWorker::Refused { detail: "no leader".into(), retry: true });
        second.welcomed(7, 10_000).await;
        worker.leave().await;
    });
}

fn older_assignments_are_ignored() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 10_000).await;
        let mark = marker();
        session.assign(10, shell(1, &format!("sleep {mark}")));
        session.started(1).await;
        session.assign(9, Work::default());
        session.run(8, 2, "true");
        session.run(11, 3, "true");
        assert_eq!(session.finished(3).await.ending, Ending::Exited(0));
        wait_until("it runs", || alive(&mark) == 1);
        worker.leave().await;
    });
}

fn the_whole_truth_ends_the_rest() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 10_000).await;
        let mark = marker();
        session.assign(1, shell(1, &format!("sleep {mark}")));
        session.started(1).await;
        wait_until("it runs", || alive(&mark) == 1);
        session.assign(2, shell(2, "true"));
        assert_eq!(session.finished(2).await.ending, Ending::Exited(0));
        wait_until("it ends", || alive(&mark) == 0);
        worker.leave().await;
    });
}

fn noops_are_fast() {
    const COUNT: u64 = 50_000;
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let mut session = replica.welcomed(7, 10_000).await;
        let mut noop = spec(&["true"]);
        noop.driver = Driver::Noop;
        let started = Instant::now();
        session.assign(1, work(1..=COUNT, noop));
        let mut got = 0;
        while got < COUNT {
            match session.receive().await {
                Some(FromWorker::Reports { seq, reports }) => {
                    assert!(reports.iter().all(|report| matches!(report.what, Happening::Finished(_))));
                    got += reports.len() as u64;
                    session.last_seq = seq;
                    session.commit(2);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let rate = COUNT as f64 / started.elapsed().as_secs_f64();
        println!("  {rate:.0} no-op attempts a second");
        assert!(rate > 20_000.0, "{rate}");
        worker.leave().await;
    });
}

fn processes_are_fast() {
    const COUNT: u64 = 4_000;
    const AT_ONCE: u64 = 64;
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        // Nobody acknowledges heartbeats: the lease has to last for all of it, also on a busy machine.
        let mut session = replica.welcomed(7, 120_000).await;
        let started = Instant::now();
        session.assign(1, work(1..=AT_ONCE, spec(&["true"])));
        let (mut ended, mut next) = (0, AT_ONCE + 1);
        while ended < COUNT {
            if let Happening::Finished(end) = session.report().await.what {
                assert_eq!(end.ending, Ending::Exited(0));
                ended += 1;
                if next <= COUNT {
                    session.change(next, work([next], spec(&["true"])));
                    next += 1;
                }
            }
            // Of starts as well: the worker has only so many batches under way.
            session.commit(1);
        }
        let rate = COUNT as f64 / started.elapsed().as_secs_f64();
        println!("  {rate:.0} processes a second");
        assert!(rate > 100.0, "{rate}");
        worker.leave().await;
    });
}

fn leaving_ends_attempts_and_says_goodbye() {
    block_on(async {
        let mut replica = Replica::start().await;
        let patient = |options: &mut Options| options.limits.leave_reports = PATIENCE;
        let worker = Worker::start_with(&[&replica.url], patient);
        let mut session = replica.welcomed(7, 10_000).await;
        let mark = marker();
        session.assign(1, shell(1, &format!("sleep {mark}")));
        session.started(1).await;
        wait_until("it runs", || alive(&mark) == 1);
        worker.shutdown.cancel();
        assert_eq!(session.finished(1).await.ending, Ending::Stopped);
        assert_eq!(alive(&mark), 0);
        session.run(2, 2, "true");
        session.commit(3);
        loop {
            match session.receive().await {
                Some(FromWorker::Goodbye) => break,
                Some(FromWorker::Heartbeat { .. }) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(session.receive().await, None);
        worker.leave().await;
    });
}

fn one_folder_one_worker() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        replica.welcomed(7, 10_000).await;
        let options = options(&[&replica.url], worker.data.path());
        let second = quorate_worker::run(options, Default::default()).await;
        assert!(matches!(second, Err(WorkerError::Locked(_))), "{second:?}");
        worker.leave().await;
    });
}

fn a_refusal_for_good_is_an_error() {
    block_on(async {
        let mut replica = Replica::start().await;
        let worker = Worker::start(&[&replica.url]);
        let refused = replica.session().await;
        refused.send(ToWorker::Refused { detail: "another worker has this name".into(), retry: false });
        let outcome = worker.task.await.unwrap();
        assert!(matches!(outcome, Err(WorkerError::Refused(_))), "{outcome:?}");
    });
}
