//! Attempts that wait for others.

use super::*;

/// Element `n` of job 1; all of them were assigned with one entry.
fn element(n: u32) -> AttemptKey {
    AttemptKey { index: TaskIndex(n), ..key(1) }
}

fn order(n: u32, behind: Option<u32>) -> Order {
    Order { key: element(n), definition: 0, behind: behind.map(TaskIndex), inputs: None }
}

/// A line of so many processes, pushed at index 10.
fn line(driver: Driver, len: u32) -> (Table, Vec<Action>) {
    let mut table = table();
    let start = (0..len).map(|n| order(n, (n > 0).then_some(0))).collect();
    let work = Work { start, ..work_of(definition(driver, Some(5_000)), &[], &[]) };
    let actions = table.on_changed(LogIndex(10), work, at(0));
    (table, actions)
}

fn indexes(actions: &[Action]) -> Vec<u32> {
    let index = |action: &Action| match action {
        Action::Prepare { key, .. } => key.index.0,
        other => panic!("{other:?}"),
    };
    actions.iter().map(index).collect()
}

/// Starts an element and ends it.
fn run(table: &mut Table, n: u32) {
    assert_eq!(table.on_prepared(element(n), Ok(())), Some(Action::Spawn { key: element(n) }));
    table.on_spawned(element(n), at(0));
    assert_eq!(table.on_exited(element(n), Status::Exited(0), false, Span(1)), Action::Collect { key: element(n) });
    assert_eq!(table.on_time(at(0)), [], "what it left is still being read");
    table.on_collected(element(n), Leftover::default());
}

fn ends(table: &mut Table) -> Vec<(u32, Ending)> {
    let end = |report: Report| match report.what {
        Happening::Finished(finished) => Some((report.key.index.0, finished.ending)),
        Happening::Started | Happening::Progress { .. } | Happening::Healthy => None,
    };
    sent(table).into_iter().filter_map(end).collect()
}

#[test]
fn one_starts_when_the_one_before_has_ended() {
    let (mut table, actions) = line(Driver::Process, 3);
    assert_eq!(indexes(&actions), [0]);
    for n in 0..3 {
        run(&mut table, n);
        let next = indexes(&table.on_time(at(0)));
        assert_eq!(next, if n < 2 { vec![n + 1] } else { vec![] });
    }
    assert_eq!(ends(&mut table), [0, 1, 2].map(|n| (n, Ending::Exited(0))));
    assert!(table.is_idle() && table.timers.is_empty());
}

#[test]
fn noops_pass_through_their_line() {
    let (mut table, actions) = line(Driver::Noop, 4);
    assert_eq!(actions, []);
    assert_eq!(table.on_time(at(0)), []);
    assert_eq!(ends(&mut table), [0, 1, 2, 3].map(|n| (n, Ending::Exited(0))));
}

#[test]
fn what_waits_too_long_is_given_back() {
    let (mut table, _) = line(Driver::Process, 4);
    run(&mut table, 0);
    assert_eq!(indexes(&table.on_time(at(90))), [1]);
    table.on_prepared(element(1), Ok(()));
    table.on_spawned(element(1), at(90));
    assert_eq!((table.on_time(at(99)), ends(&mut table).len()), (vec![], 1));
    assert_eq!(table.on_time(at(100)), [], "the line has its time, however many turns have passed");
    assert_eq!(ends(&mut table), [2, 3].map(|n| (n, Ending::Stopped)));
    // The one whose turn it is goes on, for as long as it may.
    assert_eq!(table.running().collect::<Vec<_>>(), [element(1)]);
    assert_eq!(names(&table.on_time(at(5_090))), ["terminate 1 700"]);
}

#[test]
fn who_is_stopped_in_line_starts_never() {
    let (mut table, _) = line(Driver::Process, 3);
    let stop = Work { stop: vec![element(1)], ..Work::default() };
    assert_eq!(table.on_changed(LogIndex(11), stop, at(0)), []);
    assert_eq!(ends(&mut table), [(1, Ending::Stopped)]);
    assert_eq!(table.on_time(at(0)), [], "the first one still runs");
    run(&mut table, 0);
    assert_eq!(indexes(&table.on_time(at(0))), [2]);
    // The whole line is stopped.
    let stop = Work { stop: vec![element(2)], ..Work::default() };
    table.on_changed(LogIndex(12), stop, at(0));
    assert_eq!(table.on_prepared(element(2), Ok(())), Some(Action::Discard { key: element(2) }));
    assert!(table.is_idle());
}

#[test]
fn a_line_that_is_told_again_is_the_same() {
    let (mut table, _) = line(Driver::Process, 3);
    let all: Vec<_> = (0..3).map(element).collect();
    let again = |from: u32| {
        let start = (from..3).map(|n| order(n, (n > 0).then_some(0))).collect();
        Work { start, ..work_of(definition(Driver::Process, None), &[], &[]) }
    };
    assert_eq!(table.on_assigned(LogIndex(11), &all, again(0), at(0)), []);
    run(&mut table, 0);
    assert_eq!(indexes(&table.on_time(at(0))), [1]);
    // The end of the first is committed, and of the second nobody has heard yet.
    assert_eq!(table.on_assigned(LogIndex(12), &all[1..], again(1), at(0)), []);
    run(&mut table, 1);
    assert_eq!(indexes(&table.on_time(at(0))), [2]);
    assert_eq!(table.on_assigned(LogIndex(13), &[], Work::default(), at(0)), []);
    assert!(table.timers.is_empty());
}

/// A session that begins with what is left of a line: the first of those holds what its task asks for.
#[test]
fn the_rest_of_a_line_begins_with_its_first() {
    let mut table = table();
    let start = vec![order(3, Some(0)), order(5, Some(0))];
    let work = Work { start, ..work_of(definition(Driver::Process, None), &[], &[]) };
    assert_eq!(indexes(&table.on_assigned(LogIndex(10), &[element(3), element(5)], work, at(0))), [3]);
    run(&mut table, 3);
    assert_eq!(indexes(&table.on_time(at(0))), [5]);
}

/// One that the cluster holds no more is killed, and the next one waits until it is dead.
#[test]
fn nobody_starts_beside_a_process_that_is_being_killed() {
    let (mut table, _) = line(Driver::Process, 2);
    table.on_prepared(element(0), Ok(()));
    table.on_spawned(element(0), at(0));
    let start = vec![order(1, Some(0))];
    let work = Work { start, ..work_of(definition(Driver::Process, None), &[], &[]) };
    assert_eq!(names(&table.on_assigned(LogIndex(11), &[element(1)], work, at(0))), ["kill 1"]);
    assert_eq!(table.on_time(at(0)), []);
    table.on_exited(element(0), Status::Signalled(9), true, Span(1));
    assert_eq!(indexes(&table.on_time(at(0))), [1]);
}

#[test]
fn closing_gives_back_what_waits() {
    let (mut table, _) = line(Driver::Process, 3);
    table.on_prepared(element(0), Ok(()));
    table.on_spawned(element(0), at(0));
    assert_eq!(names(&table.close(Duration::from_secs(9))), ["terminate 1 700"]);
    assert_eq!(ends(&mut table), [1, 2].map(|n| (n, Ending::Stopped)));
    table.on_exited(element(0), Status::Signalled(15), true, Span(1));
    table.on_collected(element(0), Leftover::default());
    assert_eq!((table.on_time(at(0)), table.is_idle()), (vec![], true));
}
