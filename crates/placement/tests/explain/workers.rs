//! Why not this worker.

use quorate_state::command::Command;
use quorate_types::Name;
use quorate_types::explain::{ObstacleKind, StartBasis};

use super::world::{World, same, tells};

fn named(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn too_little_is_free() {
    let mut world = World::new();
    world.worker("large", r#"{"cpu":4,"memory":"4GiB"}"#);
    world.worker("small", r#"{"cpu":1,"memory":"1GiB"}"#);
    world.task(r#""resources":{"cpu":3,"memory":"3GiB"}"#);
    world.round();
    let job = world.task(r#""resources":{"cpu":3,"memory":"2GiB"}"#);
    same(
        &world.says(job, "main", 0),
        "Task main of job 2 is pending.
         It is the 1st of 1 task in the queue.
         The policy priority goes by priority, 50, and when it was submitted, 2026-01-01T00:00:00.000Z (now): ten minutes of waiting are worth a point.
         large is kept for it: nothing behind it in the queue goes there. When it has room nobody knows.
         None of the 2 workers can take it now.
         large has 1 of its 4 cores free, and the task asks for 3: 2 cores too little; it has 1GiB of its 4GiB of memory free, and the task asks for 2GiB: 1GiB of memory too little.
         small has 1 core as a whole, and the task asks for 3 cores; it has 1GiB of memory as a whole, and the task asks for 2GiB of memory.
         > large has 2 cores and 1GiB of memory more free",
    );
}

#[test]
fn a_mistyped_resource() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4,"gpu":2}"#);
    let job = world.task(r#""resources":{"cpu":1,"gpuu":1}"#);
    let explanation = world.explain(job, "main", 0);
    let survey = explanation.workers.unwrap();
    assert_eq!((survey.able, survey.open, survey.lacking), (0, 0, vec![named("gpuu")]));
    same(
        &world.says(job, "main", 0),
        "Task main of job 1 is pending.
         It is the 1st of 1 task in the queue.
         The policy priority goes by priority, 50, and when it was submitted, 2026-01-01T00:00:00.000Z (now): ten minutes of waiting are worth a point.
         No worker has the resource gpuu; they have cpu, memory and gpu. Is gpu meant?
         The only worker can't take it now.
         w has no gpuu.
         > a worker registers that has 1 core and 1 gpuu",
    );
    let large = world.task(r#""resources":{"cpu":64}"#);
    let said = world.says(large, "main", 0);
    assert!(said.contains("No worker is large enough, even if it ran nothing else."), "{said}");
}

#[test]
fn workers_that_take_nothing() {
    let mut world = World::new();
    let job = world.task(r#""resources":{"cpu":2}"#);
    assert!(world.says(job, "main", 0).contains("There is no worker."));
    for name in ["drained", "lost"] {
        world.worker(name, r#"{"cpu":4}"#);
    }
    world.apply(Command::Drain { worker: named("drained") });
    let epoch = world.state.worker("lost").unwrap().epoch;
    world.apply(Command::Expire { worker: named("lost"), epoch });
    let said = world.says(job, "main", 0);
    let expected = "None of the 2 workers can take it now.\n\
                    drained takes no new tasks: it is draining.\n\
                    lost is lost.\n\
                    > drained is undrained";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn kept_for_another_taken_by_others_and_full() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    world.task(r#""resources":{"cpu":2}"#);
    world.round();
    world.job(r#"{"priority":60,"tasks":[{"name":"wide","command":["x"],"resources":{"cpu":4}}]}"#);
    let small = world.task(r#""resources":{"cpu":1}"#);
    let said = world.says(small, "main", 0);
    let expected = "The only worker can't take it now.\n\
                    w is kept for task wide of job 2, which waits as well.\n\
                    > task wide of job 2 has started";
    assert!(said.ends_with(expected), "{said}");
    let wide = world.explain(2, "wide", 0).start.unwrap();
    assert_eq!((wide.basis, wide.worker, wide.at), (StartBasis::Hold, named("w"), None));

    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let first = world.task(r#""count":4"#);
    let last = world.task(r#""resources":{"cpu":1}"#);
    assert_eq!(world.explain(first, "main", 3).start.unwrap().basis, StartBasis::Now);
    let said = world.says(last, "main", 0);
    assert!(said.contains("w is kept") || said.contains("w has room, but tasks ahead in the queue take it."), "{said}");

    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let idle = world.task(r#""count":4097,"resources":{"cpu":0}"#);
    world.round();
    let said = world.says(idle, "main", 4096);
    assert!(said.contains("w runs 4096 attempts, as many as a worker may."), "{said}");
    assert!(said.contains("> an attempt on w ends"), "{said}");
}

/// What starts anyway needs nothing, whatever the other workers lack.
#[test]
fn nothing_is_wanting_where_it_starts() {
    let mut world = World::new();
    world.worker("a", r#"{"cpu":2}"#);
    world.worker("b", r#"{"cpu":4}"#);
    world.task(r#""resources":{"cpu":1}"#);
    world.round();
    let job = world.task(r#""resources":{"cpu":2}"#);
    let explanation = world.explain(job, "main", 0);
    assert_eq!((explanation.unblock, explanation.start.unwrap().worker), (vec![], named("b")));
    assert_eq!(explanation.workers.unwrap().open, 1);
}

#[test]
fn of_many_workers_the_nearest_are_listed_and_all_are_counted() {
    let mut world = World::new();
    (0..150).for_each(|n| world.worker(&format!("w{n:03}"), &format!(r#"{{"cpu":{}}}"#, 1 + n % 3)));
    (0..5).for_each(|n| drop(world.apply(Command::Drain { worker: named(&format!("w{n:03}")) })));
    let job = world.task(r#""resources":{"cpu":4}"#);
    let survey = world.explain(job, "main", 0).workers.unwrap();
    assert_eq!((survey.total, survey.listed.len(), survey.unlisted), (150, 100, 50));
    assert_eq!(survey.listed[0].worker.as_str(), "w005", "the largest that is ready");
    let counts: Vec<(ObstacleKind, u64)> = survey.counts.iter().map(|count| (count.kind, count.workers)).collect();
    assert_eq!(counts, [(ObstacleKind::Short, 150), (ObstacleKind::NotReady, 5)]);
    assert!(world.says(job, "main", 0).contains("Of all 150 workers 150 are short of cpu and 5 are not ready."));
}

#[test]
fn constraints_say_what_is_in_the_way() {
    let mut world = World::new();
    world.labelled("eu1", r#"{"cpu":4}"#, &["zone=eu"], &[]);
    world.labelled("us1", r#"{"cpu":4}"#, &["zone=us"], &["spot"]);
    world.labelled("none", r#"{"cpu":4}"#, &[], &[]);
    let picky = world.task(r#""requires":["zone=us"]"#);
    let said = world.says(picky, "main", 0);
    tells(
        &said,
        &[
            "No worker is what the task requires, without a taint that it does not tolerate, and large enough, even if it \
         ran nothing else.",
            "eu1 is not what the task requires: zone=us.",
            "us1 has the taint spot, which the task does not tolerate.",
            "> us1 loses its taint spot",
            "> a worker registers that has 1 core and meets zone=us",
        ],
    );
    world.task(r#""count":2,"spread":[{"label":"zone","max":1}],"tolerations":["spot"]"#);
    world.round();
    let crowded = world.task(r#""count":3,"spread":[{"label":"zone","max":1}],"tolerations":["spot"]"#);
    world.round();
    let said = world.says(crowded, "main", 2);
    tells(
        &said,
        &[
            "eu1 is one of those with zone=eu, where 1 of its elements are, as many as may be.",
            "none has no label zone, over which the task is spread.",
            "> one of its elements on workers with zone=eu ends",
        ],
    );
    let job = world.job(
        r#"{"tasks":[{"name":"a","command":["x"],"requires":["worker=eu1"]},{"name":"b","command":["x"],"anti_affinity":["a"],
            "requires":["worker=eu1"]}]}"#,
    );
    world.round();
    let state = world.explain(job, "b", 0).state;
    assert_eq!(state, quorate_types::status::TaskState::Pending);
    let said = world.says(job, "b", 0);
    assert!(said.contains("runs task a, from which it must be apart"), "{said}");
    let shunned =
        world.job(r#"{"labels":{"app":"web"},"tasks":[{"name":"a","command":["x"],"requires":["worker=eu1"]}]}"#);
    world.round();
    let picky = world.task(r#""requires":["worker=eu1"],"anti_affinity":[{"label":"app=web"}]"#);
    world.round();
    let said = world.says(picky, "main", 0);
    let sentence = format!("runs job {shunned}, from which it must be apart (app=web)");
    assert!(said.contains(&sentence) && said.contains(&format!("job {shunned} ends on eu1")), "{said}");
}

/// Of its task one starts now, which leaves the rest no place: nothing was missed.
#[test]
fn what_starts_now_counts_for_who_comes_after_it() {
    for apart in [r#""spread":[{"label":"zone","max":1}]"#, r#""anti_affinity":["main"]"#] {
        let mut world = World::new();
        world.labelled("a", r#"{"cpu":4}"#, &["zone=eu"], &[]);
        let job = world.task(&format!(r#""count":3,{apart}"#));
        assert!(world.says(job, "main", 0).contains("The next round starts it on a."));
        assert!(world.says(job, "main", 0).contains("the placement best-fit chooses"));
        let says = world.says(job, "main", 2);
        assert!(!says.contains("round ends"), "{says}");
        let way = if apart.contains("spread") { "zone=eu ends" } else { "task main ends on a" };
        assert!(says.contains(way), "{says}");
    }
}

#[test]
fn the_same_way_out_is_told_once() {
    let mut world = World::new();
    for worker in ["a", "b"] {
        world.labelled(worker, r#"{"cpu":4}"#, &["zone=eu"], &[]);
    }
    let job = world.task(r#""count":3,"spread":[{"label":"zone","max":1}]"#);
    let unblock = world.explain(job, "main", 1).unblock;
    assert_eq!(unblock, ["one of its elements on workers with zone=eu ends"]);
}

#[test]
fn nobody_has_the_label_that_it_is_spread_over() {
    let mut world = World::new();
    world.worker("a", r#"{"cpu":4}"#);
    let job = world.task(r#""spread":[{"label":"rack","max":1}]"#);
    world.round();
    let said = world.says(job, "main", 0);
    assert!(said.contains("> a worker registers that has 1 core and a label rack"), "{said}");
}

/// A worker counts once in what is said of all, and those that are nearest to what a task requires come first.
#[test]
fn the_worker_that_matters_is_named() {
    let mut world = World::new();
    for name in ["a1", "a2", "a3", "a4", "a5", "a6"] {
        world.worker(name, r#"{"cpu":4}"#);
    }
    world.labelled("t1", r#"{"cpu":4}"#, &[], &["dedicated=ml"]);
    let job = world.task(r#""requires":["worker=t1"],"tolerations":["dedicated=x"]"#);
    let said = world.says(job, "main", 0);
    assert!(said.contains("t1 has the taint dedicated=ml, which the task does not tolerate."), "{said}");
    let job = world.task(r#""requires":["p","q","r"]"#);
    let said = world.says(job, "main", 0);
    assert!(said.contains("Of all 7 workers 7 are not what the task requires and 1 is tainted."), "{said}");
}
