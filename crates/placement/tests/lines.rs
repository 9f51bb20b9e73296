//! Elements of short tasks that are assigned behind others.

use crate::view::View;
use quorate_placement::Bounds;
use quorate_state::command::{Assignment, Command};
use quorate_types::policy::{PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{Fence, JobId, Name, Span, Timestamp};

fn view() -> View {
    View::new(QueueOrder::Fifo, PlacementOrder::BestFit)
}

/// Starts what has room, and ends it after so long.
fn run(view: &mut View, ran: Span) {
    let items = view.round(Bounds::default()).assignments;
    view.apply(Command::Assign { items: items.clone() });
    let fence = Fence(view.0.index().0);
    for Assignment { job, task, index, attempt, epoch, .. } in items {
        let (ending, stdout_tail, stderr_tail) = (Ending::Exited(0), vec![], vec![]);
        let end = Finished { ending, ran, result: None, extension: None, stdout_tail, stderr_tail };
        let key = AttemptKey { job, task, index, attempt, fence };
        let reports = vec![Report { key, what: Happening::Finished(Box::new(end)) }];
        let worker = view.0.worker_of(epoch).unwrap().name.clone();
        view.apply(Command::Report { worker, epoch, reports });
    }
}

/// The lines of a round: each as its indexes, the first of whom starts.
fn lines(view: &View, bounds: Bounds) -> Vec<Vec<u32>> {
    let items = view.round(bounds).assignments;
    let heads = items.iter().filter(|item| item.behind.is_none());
    let line = |head: &Assignment| {
        let behind = items.iter().filter(|item| item.behind == Some(head.index) && item.job == head.job);
        std::iter::once(head).chain(behind).map(|item| item.index.0).collect()
    };
    heads.map(line).collect()
}

fn array(count: u32, more: &str) -> String {
    format!(r#"{{"tasks":[{{"name":"a","command":["x"],"count":{count}{more}}}]}}"#)
}

#[test]
fn a_line_is_ten_milliseconds_of_work() {
    let process = [(Span(0), 10), (Span(1), 10), (Span(4), 2), (Span(6), 1), (Span(11), 1), (Span(60_000), 1)];
    let process = process.map(|(ran, len)| (array(1_000, ""), ran, len));
    let noop = array(1_000, "").replace(r#""command":["x"]"#, r#""driver":"noop""#);
    for (array, ran, len) in process.into_iter().chain([(noop, Span(0), 100)]) {
        let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array);
        assert!(lines(&view, Bounds::default()).iter().all(|line| line.len() == 1), "nobody knows how long they run");
        run(&mut view, ran);
        let lines = lines(&view, Bounds::default());
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [len, len], "{ran:?}");
        assert_eq!((lines[0][0], lines[1][0]), (2, 3));
        view.apply_plan();
    }
}

#[test]
fn what_is_left_is_divided() {
    let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(10, ""));
    run(&mut view, Span(0));
    assert_eq!(lines(&view, Bounds::default()), [[2, 4, 5, 6], [3, 7, 8, 9]]);
    view.apply_plan();
}

#[test]
fn nobody_is_put_in_line_who_has_room() {
    let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(10, ""));
    run(&mut view, Span(0));
    let view = view.worker("v", r#"{"cpu":9}"#);
    assert!(lines(&view, Bounds::default()).iter().all(|line| line.len() == 1));
}

#[test]
fn a_plan_keeps_its_bounds() {
    let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(1_000, ""));
    run(&mut view, Span(0));
    let lines = lines(&view, Bounds { assignments_max: 12, ..Bounds::default() });
    assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
}

/// Rates and bounds on how many may live count starts; a gang goes together; turns are counted in attempts.
#[test]
fn what_is_counted_goes_alone() {
    for more in [r#","max_parallel":5"#, r#","rate":{"key":"r","limit":500,"per":"1m"}"#] {
        let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(1_000, more));
        run(&mut view, Span(0));
        assert!(lines(&view, Bounds::default()).iter().all(|line| line.len() == 1), "{more}");
    }
    let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(1_000, ""));
    run(&mut view, Span(0));
    view.apply(Command::ChangePolicy(PolicyChange { queue: Some(QueueOrder::RoundRobin), ..PolicyChange::default() }));
    assert!(lines(&view, Bounds::default()).iter().all(|line| line.len() == 1));
}

/// It may be what its worker died of.
#[test]
fn who_was_lost_goes_alone() {
    let mut view = view().worker("w", r#"{"cpu":2}"#).job(&array(1_000, ""));
    run(&mut view, Span(0));
    view.apply_plan();
    let (worker, epoch) = (Name::new("w").unwrap(), view.0.worker("w").unwrap().epoch);
    view.outcome_at(Timestamp(0), Command::Expire { worker, epoch });
    let view = view.worker("v", r#"{"cpu":3}"#);
    let pending = view.0.job(JobId(1)).unwrap().task(0).unwrap().pending();
    assert_eq!(pending.filter(|(_, attempt)| attempt.0 == 2).count(), 20);
    assert_eq!(lines(&view, Bounds::default()), [[2], [3], [4]]);
}
