use super::*;

mod line;

use quorate_types::extension::Addition;
use quorate_types::job::{Backoff, TaskSpec};
use quorate_types::limits::REASON_BYTES_MAX;
use quorate_types::service::Health;
use quorate_types::session::{Finished, Motion};
use quorate_types::{AttemptNumber, Fence, JobId, Name, Resources, TaskIndex};

/// Attempt 1 of job `n`.
pub(crate) fn key(n: u32) -> AttemptKey {
    AttemptKey { job: JobId(n.into()), task: 0, index: TaskIndex(0), attempt: AttemptNumber(1), fence: Fence(n.into()) }
}

pub(crate) fn finished(n: u32, ending: Ending, ran_ms: u64) -> Report {
    let finished = Finished {
        ending,
        ran: Span(ran_ms),
        result: None,
        extension: None,
        stdout_tail: Vec::new(),
        stderr_tail: Vec::new(),
    };
    Report { key: key(n), what: Happening::Finished(Box::new(finished)) }
}

pub(crate) fn definition(driver: Driver, timeout_ms: Option<u64>) -> Definition {
    let spec = TaskSpec {
        name: Name::new("main").unwrap(),
        driver,
        command: vec!["true".into()],
        env: Default::default(),
        working_dir: None,
        stdin: None,
        count: 1,
        max_parallel: None,
        needs: vec![],
        resources: Resources::new(1000, 0),
        retries: 0,
        retry_on: vec![],
        no_retry_on: vec![],
        losses: 5,
        backoff: Backoff::default(),
        timeout: timeout_ms.map(Span),
        grace: Span(700),
        expected: None,
        requires: [].into(),
        prefers: [].into(),
        tolerations: [].into(),
        spread: [].into(),
        anti_affinity: [].into(),
        gang: None,
        key: None,
        movable: false,
        cluster_resources: Default::default(),
        rate: None,
    };
    Definition {
        job: JobId(1),
        namespace: Name::new("default").unwrap(),
        spec: Arc::new(spec),
        inputs: None,
        gang: None,
        health: None,
    }
}

fn work_of(definition: Definition, start: &[u32], stop: &[u32]) -> Work {
    Work {
        definitions: vec![definition],
        start: start.iter().map(|n| Order { key: key(*n), definition: 0, behind: None, inputs: None }).collect(),
        stop: stop.iter().map(|n| key(*n)).collect(),
        motion: Vec::new(),
    }
}

fn work(start: &[u32], stop: &[u32]) -> Work {
    work_of(definition(Driver::Process, Some(5_000)), start, stop)
}

fn noops(start: &[u32]) -> Work {
    work_of(definition(Driver::Noop, None), start, &[])
}

fn table() -> Table {
    Table::new(Bounds { attempts: 8, grace: Duration::from_secs(60) })
}

fn at(ms: u64) -> Boottime {
    Boottime(ms * 1_000_000)
}

/// A table that runs attempts 1 to `n`, pushed at index 10.
fn running(n: u32) -> Table {
    let mut table = table();
    assigned(&mut table, 10, work(&(1..=n).collect::<Vec<_>>(), &[]));
    for n in 1..=n {
        assert_eq!(table.on_prepared(key(n), Ok(())), Some(Action::Spawn { key: key(n) }));
        table.on_spawned(key(n), at(0));
    }
    table
}

fn sent(table: &mut Table) -> Vec<Report> {
    let mut reports = Vec::new();
    while let Some(batch) = table.outbox.next_batch() {
        reports.extend(batch.reports.clone());
    }
    reports
}

fn names(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Prepare { key, .. } => format!("prepare {}", key.job),
        Action::Spawn { key } => format!("spawn {}", key.job),
        Action::Terminate { key, grace } => format!("terminate {} {}", key.job, grace.as_millis()),
        Action::Kill { key } => format!("kill {}", key.job),
        Action::Move { key, motion } => format!("{motion:?} {}", key.job).to_lowercase(),
        Action::Probe { key, .. } => format!("probe {}", key.job),
        Action::Collect { key } => format!("collect {}", key.job),
        Action::Discard { key } => format!("discard {}", key.job),
    };
    actions.iter().map(name).collect()
}

fn exit(table: &mut Table, n: u32, status: Status, ordered: bool) {
    assert_eq!(table.on_exited(key(n), status, ordered, Span(20)), Action::Collect { key: key(n) });
    table.on_collected(key(n), Leftover::default());
}

/// The whole truth at `index`, in one message.
fn assigned(table: &mut Table, index: u64, work: Work) -> Vec<Action> {
    let all: Vec<_> = work.start.iter().map(|order| order.key).chain(work.stop.iter().copied()).collect();
    table.on_assigned(LogIndex(index), &all, work, at(0))
}

#[test]
fn the_whole_truth_may_come_in_pieces() {
    let mut table = table();
    assigned(&mut table, 10, work(&[1], &[]));
    let all: Vec<_> = work(&[1, 2, 3], &[]).start.iter().map(|order| order.key).collect();
    assert_eq!(names(&table.on_assigned(LogIndex(12), &all, work(&[2], &[]), at(0))), ["prepare 2"]);
    assert_eq!(names(&table.on_changed(LogIndex(12), work(&[3], &[]), at(0))), ["prepare 3"]);
}

#[test]
fn an_attempt_is_prepared_spawned_and_reported() {
    let mut table = table();
    assert_eq!(names(&table.on_changed(LogIndex(4), work(&[1], &[]), at(0))), ["prepare 1"]);
    assert_eq!(names(&table.on_changed(LogIndex(5), work(&[1, 2], &[]), at(0))), ["prepare 2"]);
    assert_eq!(table.on_prepared(key(1), Ok(())), Some(Action::Spawn { key: key(1) }));
    table.on_spawned(key(1), at(0));
    assert_eq!(table.running().collect::<Vec<_>>(), [key(1)]);
    table.on_exited(key(1), Status::Exited(3), false, Span(20));
    assert!(!table.is_idle());
    let extension = Some("[]".to_owned());
    let leftover = Leftover {
        result: Some("42".into()),
        extension: extension.clone(),
        stdout_tail: b"o".to_vec(),
        stderr_tail: b"e".to_vec(),
    };
    table.on_collected(key(1), leftover);
    let reports = sent(&mut table);
    assert_eq!(reports[0], Report { key: key(1), what: Happening::Started });
    let Happening::Finished(end) = &reports[1].what else { panic!("{reports:?}") };
    assert_eq!((&end.ending, end.ran, end.result.as_deref()), (&Ending::Exited(3), Span(20), Some("42")));
    assert_eq!((end.stdout_tail.as_slice(), end.stderr_tail.as_slice()), (&b"o"[..], &b"e"[..]));
    assert_eq!(end.extension, None, "only what succeeds adds to its job");
    table.on_prepared(key(2), Ok(()));
    table.on_spawned(key(2), at(0));
    table.on_exited(key(2), Status::Exited(0), false, Span(20));
    table.on_collected(key(2), Leftover { extension, ..Leftover::default() });
    let Happening::Finished(end) = &sent(&mut table)[1].what else { panic!("it has ended") };
    assert_eq!(end.extension, Some(Box::new(Addition::Text("[]".into()))));
}

#[test]
fn endings_say_who_ended_it() {
    let by_stop = |table: &mut Table| {
        assert_eq!(names(&table.on_changed(LogIndex(11), work(&[], &[1]), at(0))), ["terminate 1 700"])
    };
    let by_timeout = |table: &mut Table| assert_eq!(names(&table.on_time(at(5_000))), ["terminate 1 700"]);
    let by_limit = |table: &mut Table| assert_eq!(table.on_output_limit(key(1)), Some(Action::Kill { key: key(1) }));
    let by_nobody = |_: &mut Table| {};
    type Case<'a> = (&'a dyn Fn(&mut Table), Status, bool, Ending);
    let cases: [Case<'_>; 8] = [
        (&by_nobody, Status::Exited(0), false, Ending::Exited(0)),
        (&by_nobody, Status::Signalled(11), false, Ending::Signalled(11)),
        (&by_stop, Status::Signalled(15), true, Ending::Stopped),
        (&by_stop, Status::Exited(0), true, Ending::Stopped),
        (&by_stop, Status::Exited(4), false, Ending::Exited(4)),
        (&by_timeout, Status::Signalled(9), true, Ending::TimedOut),
        (&by_timeout, Status::Exited(0), false, Ending::Exited(0)),
        (&by_limit, Status::Signalled(9), true, Ending::OutputLimit),
    ];
    for (cause, status, ordered, ending) in cases {
        let mut table = running(1);
        cause(&mut table);
        exit(&mut table, 1, status, ordered);
        assert_eq!(sent(&mut table)[1], finished(1, ending, 20));
    }
}

#[test]
fn the_first_cause_counts_and_signals_once() {
    let mut table = running(1);
    assert_eq!(names(&table.on_time(at(5_000))), ["terminate 1 700"]);
    assert_eq!(table.on_changed(LogIndex(11), work(&[], &[1]), at(0)), []);
    assert_eq!(table.on_changed(LogIndex(12), work(&[], &[1]), at(0)), []);
    assert_eq!(table.on_output_limit(key(1)), None);
    exit(&mut table, 1, Status::Signalled(15), true);
    assert_eq!(sent(&mut table)[1], finished(1, Ending::TimedOut, 20));
}

#[test]
fn timers_come_in_order_and_go_with_their_attempt() {
    let mut table = table();
    table.on_changed(LogIndex(1), work(&[1, 2], &[]), at(0));
    for n in [1, 2] {
        table.on_prepared(key(n), Ok(()));
        table.on_spawned(key(n), at(u64::from(n) * 100));
    }
    assert_eq!(table.next_time(), Some(at(5_100)));
    assert_eq!(table.on_time(at(5_099)), []);
    exit(&mut table, 1, Status::Exited(0), false);
    assert_eq!(table.next_time(), Some(at(5_200)));
    assert_eq!(names(&table.on_time(at(6_000))), ["terminate 2 700"]);
    assert_eq!(table.next_time(), None);
}

#[test]
fn the_grace_is_bounded() {
    let mut table = Table::new(Bounds { attempts: 8, grace: Duration::from_millis(100) });
    table.on_changed(LogIndex(1), work(&[1], &[]), at(0));
    table.on_prepared(key(1), Ok(()));
    assert_eq!(names(&table.close(Duration::from_secs(9))), ["terminate 1 100"]);
}

#[test]
fn a_stop_finds_the_attempt_in_any_phase() {
    let mut table = table();
    // Unknown, also together with its start: it never runs here.
    assert_eq!(table.on_changed(LogIndex(1), work(&[], &[1]), at(0)), []);
    assert_eq!(table.on_changed(LogIndex(2), work(&[2], &[2]), at(0)), []);
    assert_eq!(sent(&mut table), [finished(1, Ending::Stopped, 0), finished(2, Ending::Stopped, 0)]);
    // Reported, and not acknowledged yet: nothing is said twice.
    assert_eq!(table.on_changed(LogIndex(3), work(&[1], &[1, 2]), at(0)), []);
    assert_eq!(sent(&mut table), []);
    // Preparing: it is not even spawned.
    table.on_changed(LogIndex(4), work(&[3], &[]), at(0));
    assert_eq!(table.on_changed(LogIndex(5), work(&[], &[3]), at(0)), []);
    assert_eq!(table.on_prepared(key(3), Ok(())), Some(Action::Discard { key: key(3) }));
    assert_eq!(sent(&mut table), [finished(3, Ending::Stopped, 0)]);
    // Spawning: the order follows the spawn.
    table.on_changed(LogIndex(6), work(&[4], &[]), at(0));
    table.on_prepared(key(4), Ok(()));
    assert_eq!(names(&table.on_changed(LogIndex(7), work(&[], &[4]), at(0))), ["terminate 4 700"]);
}

#[test]
fn what_cannot_start_says_why() {
    let mut table = table();
    table.on_changed(LogIndex(1), work(&[1, 2], &[]), at(0));
    assert_eq!(table.on_prepared(key(1), Err("no space".into())), Some(Action::Discard { key: key(1) }));
    table.on_prepared(key(2), Ok(()));
    assert_eq!(table.on_not_started(key(2), Ending::NotStarted("ä".repeat(1000))), Action::Discard { key: key(2) });
    let mut lost = work(&[3], &[]);
    lost.start[0].definition = 7;
    table.on_changed(LogIndex(2), lost, at(0));
    let reports = sent(&mut table);
    assert_eq!(reports[0], finished(1, Ending::Unable("no space".into()), 0));
    assert_eq!(reports[1], finished(2, Ending::NotStarted("ä".repeat(REASON_BYTES_MAX / 2)), 0));
    assert!(matches!(&reports[2].what, Happening::Finished(end) if matches!(end.ending, Ending::NotStarted(_))));
}

#[test]
fn attempts_at_once_are_bounded() {
    let mut table = table();
    let actions = table.on_changed(LogIndex(1), work(&(1..=10).collect::<Vec<_>>(), &[]), at(0));
    assert_eq!((actions.len(), sent(&mut table).len()), (8, 2));
}

#[test]
fn older_pushes_are_ignored_equal_ones_are_not() {
    let mut table = running(1);
    assert_eq!(assigned(&mut table, 9, work(&[], &[])), []);
    assert_eq!(table.on_changed(LogIndex(9), work(&[2], &[1]), at(0)), []);
    assert!(table.knows(&key(1)) && !table.knows(&key(2)));
    assert_eq!(names(&table.on_changed(LogIndex(10), work(&[2], &[]), at(0))), ["prepare 2"]);
    assert_eq!(table.seen(), LogIndex(10));
}

#[test]
fn the_whole_truth_ends_what_is_not_in_it() {
    let mut table = running(3);
    exit(&mut table, 2, Status::Exited(0), false);
    table.on_changed(LogIndex(11), work(&[4], &[]), at(0));
    assert_eq!(names(&assigned(&mut table, 12, work(&[3, 5], &[]))), ["kill 1", "prepare 5"]);
    // What is left of the others is discarded when it comes back, and nothing is reported.
    assert_eq!(table.on_exited(key(1), Status::Signalled(9), true, Span(1)), Action::Discard { key: key(1) });
    assert_eq!(table.on_prepared(key(4), Ok(())), Some(Action::Discard { key: key(4) }));
    assert_eq!(sent(&mut table), [Report { key: key(3), what: Happening::Started }]);
    assert_eq!(table.timers.len(), 1);
}

#[test]
fn a_reconnect_keeps_attempts_and_sends_reports_again() {
    let mut table = running(3);
    exit(&mut table, 1, Status::Exited(0), false);
    let before = sent(&mut table);
    assert_eq!(before.len(), 4);
    table.outbox.on_new_session();
    assert_eq!(sent(&mut table), before);
    // The end of attempt 1 is not committed: the replica still counts it as ours, and it is not run again.
    assert_eq!(assigned(&mut table, 10, work(&[1, 2, 3], &[])), []);
    exit(&mut table, 2, Status::Exited(0), false);
    assert_eq!(sent(&mut table), [finished(2, Ending::Exited(0), 20)]);
    // It was committed, only the acknowledgement got lost: the truth lacks it, and so do the reports.
    table.outbox.on_new_session();
    assert_eq!(assigned(&mut table, 13, work(&[2, 3], &[])), []);
    assert!(!table.knows(&key(1)));
    let again = sent(&mut table);
    assert!(again.iter().all(|report| report.key != key(1)));
    assert!(again.contains(&finished(2, Ending::Exited(0), 20)));
}

#[test]
fn a_settled_attempt_is_never_started_again() {
    let mut table = running(2);
    exit(&mut table, 1, Status::Exited(0), false);
    sent(&mut table);
    table.on_reports_committed(1, LogIndex(20));
    assert!(!table.knows(&key(1)));
    assert_eq!(table.seen(), LogIndex(20));
    // Pushes that left before the commit, by a replica that lags behind it; what else is in them counts.
    assert_eq!(names(&assigned(&mut table, 15, work(&[1, 2, 3], &[]))), ["prepare 3"]);
    assert_eq!(table.on_changed(LogIndex(16), work(&[1], &[1]), at(0)), []);
    assert_eq!(sent(&mut table), []);
    // A push from after the commit ends the watch.
    table.on_changed(LogIndex(20), work(&[], &[]), at(0));
    assert!(table.settled.is_empty());
    assert_eq!(table.on_changed(LogIndex(19), work(&[1], &[]), at(0)), []);
}

#[test]
fn an_acknowledgement_covers_only_its_reports() {
    let mut table = running(2);
    sent(&mut table);
    exit(&mut table, 1, Status::Exited(0), false);
    sent(&mut table);
    table.on_reports_committed(1, LogIndex(11));
    assert!(table.knows(&key(1)));
    table.on_reports_committed(2, LogIndex(12));
    assert!(!table.knows(&key(1)) && table.knows(&key(2)));
    assert!(table.outbox.is_empty());
}

#[test]
fn noops_are_reported_and_need_nothing_else() {
    let mut table = table();
    assert_eq!(table.on_changed(LogIndex(1), noops(&[1, 2]), at(0)), []);
    assert_eq!(sent(&mut table), [finished(1, Ending::Exited(0), 0), finished(2, Ending::Exited(0), 0)]);
    assert!(table.is_idle());
    table.on_reports_committed(1, LogIndex(2));
    assert_eq!(table.on_changed(LogIndex(1), noops(&[1]), at(0)), []);
    assert_eq!(sent(&mut table), []);
}

#[test]
fn closing_ends_everything_and_starts_nothing() {
    let mut table = running(2);
    table.on_changed(LogIndex(11), work(&[3], &[]), at(0));
    let mut actions = names(&table.close(Duration::from_secs(9)));
    actions.sort();
    assert_eq!(actions, ["terminate 1 700", "terminate 2 700"]);
    assert_eq!(table.on_changed(LogIndex(12), work(&[4], &[]), at(0)), []);
    assert_eq!(table.on_changed(LogIndex(13), noops(&[5]), at(0)), []);
    assert_eq!(table.on_prepared(key(3), Ok(())), Some(Action::Discard { key: key(3) }));
    for n in [1, 2] {
        exit(&mut table, n, Status::Signalled(15), true);
    }
    assert!(table.is_idle());
    assert!(!table.knows(&key(4)) && !table.knows(&key(5)));
}

#[test]
fn a_reset_leaves_nothing_but_the_numbering_of_reports() {
    let mut table = running(2);
    exit(&mut table, 1, Status::Exited(0), false);
    let last = std::iter::from_fn(|| table.outbox.next_batch().map(|batch| batch.seq)).last();
    table.reset();
    assert_eq!((table.seen(), table.next_time(), table.is_idle()), (LogIndex(0), None, true));
    assert_eq!(table.on_exited(key(2), Status::Signalled(9), true, Span(1)), Action::Discard { key: key(2) });
    // A new registration may see smaller indices: the cluster can have been restored.
    assigned(&mut table, 3, noops(&[7]));
    assert_eq!(table.outbox.next_batch().map(|batch| batch.seq), last.map(|seq| seq + 1));
}

#[test]
fn progress_counts_only_while_it_runs() {
    let mut table = running(1);
    table.on_progress(key(1), 420, "half".into());
    table.on_progress(key(2), 1, String::new());
    let reports = sent(&mut table);
    assert_eq!(reports[1].what, Happening::Progress { millis: 420, message: "half".into() });
    assert_eq!(reports.len(), 2);
    exit(&mut table, 1, Status::Exited(0), false);
    table.on_progress(key(1), 990, String::new());
    assert_eq!(sent(&mut table).len(), 1);
}

fn moved(n: u32, motion: Motion) -> Work {
    Work { motion: vec![(key(n), motion)], ..Work::default() }
}

/// Its five seconds pass only while it goes.
#[test]
fn time_stands_still_with_an_attempt() {
    let mut table = running(2);
    let change = |table: &mut Table, index, work, ms| names(&table.on_changed(LogIndex(index), work, at(ms)));
    assert_eq!(change(&mut table, 11, moved(1, Motion::Frozen), 4_000), ["frozen 1"]);
    assert_eq!(change(&mut table, 12, moved(1, Motion::Frozen), 4_500), [""; 0], "it stands still already");
    assert_eq!(names(&table.on_time(at(60_000))), ["terminate 2 700"]);
    assert_eq!(table.next_time(), None);
    assert_eq!(change(&mut table, 13, moved(1, Motion::Going), 70_000), ["going 1"]);
    assert_eq!(table.next_time(), Some(at(71_000)));
    assert_eq!(names(&table.on_time(at(71_000))), ["terminate 1 700"]);
}

#[test]
fn what_is_frozen_before_it_runs_is_stopped_once_it_does() {
    let mut table = table();
    table.on_changed(LogIndex(1), work(&[1, 2], &[]), at(0));
    assert_eq!(table.on_changed(LogIndex(2), moved(1, Motion::Frozen), at(0)), []);
    for n in [1, 2] {
        table.on_prepared(key(n), Ok(()));
    }
    let frozen = Action::Move { key: key(1), motion: Motion::Frozen };
    assert_eq!((table.on_spawned(key(1), at(10)), table.on_spawned(key(2), at(10))), (Some(frozen), None));
    // The end of what stands still goes the usual way.
    assert_eq!(names(&table.on_changed(LogIndex(3), work(&[], &[1]), at(20))), ["terminate 1 700"]);
}

#[test]
fn the_whole_truth_says_all_that_stands_still() {
    let mut table = running(3);
    for n in [1, 2] {
        table.on_changed(LogIndex(11), moved(n, Motion::Frozen), at(0));
    }
    let truth = Work { motion: vec![(key(2), Motion::Frozen), (key(3), Motion::Frozen)], ..work(&[1, 2, 3], &[]) };
    assert_eq!(names(&assigned(&mut table, 12, truth)), ["going 1", "frozen 3"]);
}

/// An attempt that runs since 0, and is looked at every second from then on.
fn with_health(failures: u32, start_ms: u64) -> Table {
    let command = Some(vec!["ok".to_owned()]);
    watched(Health { command, failures, start_period: Span(start_ms), ..health() })
}

fn health() -> Health {
    let (interval, timeout) = (Span(1_000), Span(300));
    Health { command: None, interval, timeout, failures: 2, start_period: Span(0), min_healthy: Span(0) }
}

fn watched(health: Health) -> Table {
    let definition = Definition { health: Some(Box::new(health)), ..definition(Driver::Process, None) };
    let mut table = Table::new(Bounds { attempts: 9, grace: Duration::from_secs(9) });
    table.on_changed(LogIndex(1), work_of(definition, &[1], &[]), at(0));
    table.on_prepared(key(1), Ok(()));
    table.on_spawned(key(1), at(0));
    table
}

/// Looks at `ms`, and lets the command end a tenth of a second later; what is done then.
fn look(table: &mut Table, ms: u64, well: bool) -> Vec<String> {
    assert_eq!(names(&table.on_time(at(ms))), ["probe 1"], "at {ms}");
    assert_eq!(table.on_time(at(ms + 50)), [], "one at a time");
    names(table.on_probed(key(1), well, at(ms + 100)).as_slice())
}

#[test]
fn the_first_success_is_reported_and_failures_in_a_row_end_the_attempt() {
    let mut table = with_health(2, 0);
    assert_eq!(look(&mut table, 0, false).len(), 0);
    assert_eq!((look(&mut table, 1_100, true).len(), table.next_time()), (0, Some(at(2_200))));
    assert_eq!(look(&mut table, 2_200, true).len(), 0);
    let told: Vec<Happening> = sent(&mut table).into_iter().map(|report| report.what).collect();
    assert_eq!(told, [Happening::Started, Happening::Healthy]);
    assert_eq!(look(&mut table, 3_300, false).len(), 0);
    assert_eq!(look(&mut table, 4_400, true).len(), 0, "not in a row");
    assert_eq!(look(&mut table, 5_500, false).len(), 0);
    assert_eq!(look(&mut table, 6_600, false), ["terminate 1 700"]);
    assert_eq!(table.on_time(at(60_000)), [], "what ends is not asked");
    exit(&mut table, 1, Status::Signalled(15), true);
    assert_eq!(sent(&mut table), [finished(1, Ending::Unhealthy(2), 20)]);
    assert_eq!((table.on_probed(key(1), true, at(7_000)), table.next_time()), (None, None));
}

#[test]
fn what_starts_or_stands_still_may_fail() {
    let mut table = with_health(1, 2_500);
    assert_eq!(look(&mut table, 0, false).len(), 0);
    assert_eq!(look(&mut table, 1_100, false).len(), 0);
    let motion = |motion| Work { motion: vec![(key(1), motion)], ..Work::default() };
    table.on_changed(LogIndex(2), motion(Motion::Frozen), at(1_500));
    assert_eq!(table.on_time(at(9_000)), []);
    table.on_changed(LogIndex(3), motion(Motion::Going), at(9_500));
    assert_eq!(table.next_time(), Some(at(10_200)), "as much later as it stood still");
    assert_eq!(look(&mut table, 10_200, false).len(), 0, "some of the time for its start is left");
    assert_eq!(look(&mut table, 11_300, false), ["terminate 1 700"]);
}

/// What the replica was told since.
fn told(table: &mut Table) -> Vec<Happening> {
    sent(table).into_iter().map(|report| report.what).collect()
}

#[test]
fn it_counts_as_well_when_it_has_been_so_for_long_enough() {
    let command = Some(vec!["ok".to_owned()]);
    let mut table = watched(Health { command, min_healthy: Span(2_500), ..health() });
    assert_eq!(look(&mut table, 0, true).len(), 0);
    assert_eq!(look(&mut table, 1_100, false).len(), 0);
    assert_eq!(look(&mut table, 2_200, true).len(), 0);
    assert_eq!(look(&mut table, 3_300, true).len(), 0);
    assert_eq!(look(&mut table, 4_400, true).len(), 0);
    assert_eq!(told(&mut table), [Happening::Started], "well since 2,300, after a failure");
    assert_eq!(table.next_time(), Some(at(4_800)), "it is asked when that is long enough");
    assert_eq!(look(&mut table, 4_800, true).len(), 0);
    assert_eq!(told(&mut table), [Happening::Healthy]);
    assert_eq!(table.next_time(), Some(at(5_900)));
}

#[test]
fn without_a_command_time_alone_tells() {
    let mut table = watched(Health { min_healthy: Span(2_500), ..health() });
    assert_eq!((table.on_time(at(100)), told(&mut table)), (vec![], vec![Happening::Started]));
    let motion = |motion| Work { motion: vec![(key(1), motion)], ..Work::default() };
    table.on_changed(LogIndex(2), motion(Motion::Frozen), at(100));
    assert_eq!((table.on_time(at(8_000)), told(&mut table)), (vec![], vec![]), "it stands still");
    table.on_changed(LogIndex(3), motion(Motion::Going), at(9_000));
    assert_eq!((table.on_time(at(11_399)), told(&mut table)), (vec![], vec![]), "a millisecond is left");
    assert_eq!((table.on_time(at(11_400)), told(&mut table)), (vec![], vec![Happening::Healthy]));
    assert_eq!(table.next_time(), None);
    let mut short = watched(Health { min_healthy: Span(2_500), ..health() });
    exit(&mut short, 1, Status::Exited(1), false);
    assert_eq!(short.on_time(at(9_000)), []);
    assert!(!told(&mut short).contains(&Happening::Healthy));
}
