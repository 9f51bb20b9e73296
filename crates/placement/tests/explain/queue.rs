//! The place in the queue, the policy's reason, and reservations.

use quorate_types::Span;
use quorate_types::explain::{ExpectedSource, StartBasis};
use quorate_types::policy::QueueOrder;
use quorate_types::status::Ending;

use super::world::{MIDNIGHT, World};

/// A cluster that is full, with three jobs that wait: the one in the middle is asked about.
fn crowd(policy: &str) -> World {
    let mut world = World::under(policy);
    world.worker("w", r#"{"cpu":4}"#);
    world.job(
        r#"{"namespace":"used","tasks":[{"name":"long","command":["x"],"resources":{"cpu":4},"expected":"10m"}]}"#,
    );
    world.round();
    world.pass(Span::from_secs(60));
    let job = |namespace, priority, expected, deadline| {
        format!(
            r#"{{"namespace":"{namespace}","priority":{priority},"deadline":"{deadline}","tasks":[
                {{"name":"main","command":["x"],"expected":"{expected}"}},{{"name":"after","command":["x"],"needs":["main"]}}]}}"#
        )
    };
    world.job(&job("used", 40, "50s", "2h"));
    world.job(&job("used", 50, "30s", "1h"));
    world.job(&job("idle", 60, "20s", "3h"));
    world
}

#[test]
fn every_order_tells_its_reason() {
    let submitted = "2026-01-01T00:01:00.000Z (now)";
    for (queue, place, of, reason) in [
        ("fifo", 2, 3, format!("when it was submitted, {submitted}")),
        ("priority", 2, 3, format!("priority, 50, and when it was submitted, {submitted}: ten minutes of waiting are worth a point")),
        ("sjf", 2, 3, "how long it is expected to run: 30s (from its specification)".to_owned()),
        ("srtf", 2, 3, "how long it is expected to run: 30s (from its specification)".to_owned()),
        ("aged-sjf", 2, 3, format!("how long it is expected to run, 30s (from its specification); priority, 50; and when it was submitted, {submitted}")),
        ("least-work", 2, 3, "how long it is expected to run, 30s (from its specification), and a second for each task that waits for it: 1".to_owned()),
        ("deadline", 1, 3, "the deadline of its job, 2026-01-01T01:01:00.000Z (in 1h)".to_owned()),
        ("critical-path", 2, 3, "the longest chain behind it: 31s".to_owned()),
        ("fair-share", 2, 2, format!("what namespaces use: used has a share of 101.1 % by what it runs and what it used before; 1 of the 2 namespaces that wait have less; then by when it was submitted, {submitted}")),
        ("round-robin", 2, 3, format!("turns; it has been in line since {submitted}")),
        ("multifactor", 2, 3, format!("age, size, priority and fair share: when it was submitted, {submitted}; priority 50; used has a share of 101.1 % by what it runs and what it used before; 1 of the 2 namespaces that wait have less")),
    ] {
        let world = crowd(&format!(r#"{{"queue":"{queue}"}}"#));
        let explanation = world.explain(3, "main", 0);
        let found = explanation.queue.unwrap();
        assert_eq!((found.place, found.of), (place, of), "{queue}");
        let sentence = format!("The policy {queue} goes by {reason}.");
        assert!(explanation.sentences.contains(&sentence), "{:#?}", explanation.sentences);
    }
    assert_eq!(QueueOrder::ALL.len(), 11, "a new order has its reason here");
}

#[test]
fn what_is_expected_says_from_where() {
    let mut world = World::under(r#"{"queue":"sjf"}"#);
    let task = |fields: &str| format!(r#"{{"name":"render","tasks":[{{"name":"t","command":["x"]{fields}}}]}}"#);
    let limited = world.job(&task(r#","timeout":"5m""#));
    let expected = |world: &World, job| world.explain(job, "t", 0).queue.unwrap().expected;
    assert_eq!(expected(&world, limited).unwrap().source, ExpectedSource::Timeout);
    let unknown = world.job(r#"{"name":"new","tasks":[{"name":"t","command":["x"]}]}"#);
    assert_eq!(expected(&world, unknown), None);
    assert!(world.says(unknown, "t", 0).contains("nobody knows how long, which comes last"));
    world.worker("w", r#"{"cpu":1}"#);
    world.round();
    world.start();
    world.pass(Span::from_secs(7));
    world.finish(limited, &Ending::Exited(0));
    let next = world.job(&task(""));
    let learned = expected(&world, next).unwrap();
    assert_eq!((learned.span, learned.source), (Span::from_secs(7), ExpectedSource::Learned));
}

/// A namespace that has used much stands behind one that has not, also when it submitted first and counts for more.
#[test]
fn what_namespaces_used_moves_their_tasks() {
    for (queue, places) in [("priority", [1, 2]), ("multifactor", [2, 1])] {
        let mut world = World::under(&format!(r#"{{"queue":"{queue}"}}"#));
        world.worker("w", r#"{"cpu":4}"#);
        world.job(r#"{"namespace":"used","tasks":[{"name":"long","command":["x"],"resources":{"cpu":4}}]}"#);
        world.round();
        let job =
            |namespace, priority| format!(r#"{{"namespace":"{namespace}","priority":{priority},"command":["x"]}}"#);
        let jobs = [world.job(&job("used", 50)), world.job(&job("idle", 30))];
        assert_eq!(jobs.map(|job| world.explain(job, "main", 0).queue.unwrap().place), places, "{queue}");
    }
}

#[test]
fn elements_have_their_order() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let job = world.task(r#""count":10"#);
    let explanation = world.explain(job, "main", 6);
    assert_eq!(explanation.queue.unwrap().elements_before, 6);
    assert!(explanation.sentences.contains(&"6 elements of its task come before it.".to_owned()));
    assert_eq!(world.explain(job, "main", 3).start.unwrap().basis, StartBasis::Now);
}

#[test]
fn reservations_say_when() {
    for backfill in ["easy", "easy-sjbf", "conservative"] {
        let world = crowd(&format!(r#"{{"queue":"fifo","backfill":"{backfill}"}}"#));
        let start = world.explain(2, "main", 0).start.unwrap();
        assert_eq!(start.basis, StartBasis::Reservation, "{backfill}");
        assert_eq!(start.at, Some(MIDNIGHT.plus(Span::from_secs(600))), "{backfill}");
        let said = world.says(2, "main", 0);
        let sentence =
            "It is to start at 2026-01-01T00:10:00.000Z (in 9m) on w, if what runs there ends when it is expected to.";
        assert!(said.contains(sentence), "{said}");
        let third = world.explain(3, "main", 0).start;
        assert_eq!(third.is_some(), backfill == "conservative", "easy reserves for the first only");
        // What is kept for those behind is in nobody's way.
        assert!(!said.contains("is kept for task"), "{said}");
        let behind = world.says(3, "main", 0);
        assert!(behind.contains("is kept for task main of job 2"), "{behind}");
    }
}

#[test]
fn quotas_and_what_would_be_borrowed() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":3}"#);
    world.job(r#"{"namespace":"web","priority":9,"command":["x"]}"#);
    world.round();
    world.entitle("web", r#"{"quota":{"cpu":2,"memory":"1GiB"}}"#);
    let array = r#""tasks":[{"name":"a","command":["x"],"count":9}]"#;
    let none = world.job(&format!(r#"{{"priority":90,{array}}}"#));
    let web = world.job(&format!(r#"{{"namespace":"web",{array}}}"#));
    let says = world.says(web, "a", 0);
    let within = "Namespace web holds 1 of 2 cores of its quota: with this it is within that, and comes before what would be borrowed.";
    assert!(says.contains(within), "{says}");
    assert!(
        says.contains("It is the 1st of 2 tasks in the queue.") && says.contains("The next round starts it"),
        "{says}"
    );
    let says = world.says(none, "a", 0);
    assert!(says.contains("It is the 2nd of 2 tasks in the queue."), "{says}");
    assert!(
        says.contains("Namespace default has no quota of it: it would borrow, after what is within a quota."),
        "{says}"
    );
    assert!(says.contains("The next round starts it on w."), "there is a core to lend: {says}");
    world.round();
    let says = world.says(web, "a", 1);
    let borrows = "Namespace web holds 2 of 2 cores of its quota: it would borrow, after what is within a quota.";
    assert!(says.contains(borrows), "{says}");
}
