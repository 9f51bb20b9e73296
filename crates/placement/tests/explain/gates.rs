//! Resources of the cluster, rates and locks.

use quorate_state::command::Command;
use quorate_types::gate::Claimant;
use quorate_types::{Fence, JobId, Name, Span, TaskIndex};

use super::world::{World, same};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn who_holds_what_is_asked_for() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":9}"#);
    world.apply(Command::SetResource { name: name("matlab"), total: 2 });
    let asks = r#""cluster_resources":{"matlab":1},"count":2"#;
    let first = world.task(asks);
    let second = world.task(asks);
    same(
        &world.says(second, "main", 0),
        "Element 0 of task main of job 2 is pending.
         It needs 1 of the 2 matlab of the cluster: 0 are held, and what comes before it takes the rest.
         It is the 2nd of 2 tasks in the queue.
         The policy priority goes by priority, 50, and when it was submitted, 2026-01-01T00:00:00.000Z (now): ten minutes of waiting are worth a point.
         The only worker has room for it now.
         > 1 matlab comes free",
    );
    world.round();
    let said = world.says(second, "main", 1);
    assert!(
        said.contains(
            "It needs 1 of the 2 matlab of the cluster: 2 are held by task main[0] of job 1 and task main[1] of job 1."
        ),
        "{said}"
    );
    assert!(said.contains("> 1 matlab comes free"), "{said}");
    world.apply(Command::SetResource { name: name("matlab"), total: 0 });
    assert!(world.says(second, "main", 0).contains("> the cluster has 1 matlab or more"));
    world.finish(first, &quorate_types::status::Ending::Exited(0));
    world.apply(Command::RemoveResource { name: name("matlab") });
    assert!(world.says(second, "main", 0).contains("It needs 1 of matlab, of which the cluster has none."));
}

#[test]
fn when_a_rate_lets_the_next_one_start() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":9}"#);
    let job = world.task(r#""rate":{"key":"api","limit":1,"per":"1m"},"count":3"#);
    world.round();
    world.pass(Span::from_secs(20));
    let said = world.says(job, "main", 1);
    assert!(said.contains("The rate api lets 1 attempt start in any 1m: 1 has started."), "{said}");
    assert!(said.contains("> the rate api lets the next one start at 2026-01-01T00:01:00.000Z (in 40s)"), "{said}");
}

#[test]
fn who_holds_the_lock_that_a_running_task_waits_for() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":9}"#);
    let job = world.task(r#""count":2"#);
    world.round();
    let fence = Fence(world.state.index().0);
    world.start();
    for index in [0, 1] {
        let by = Claimant { job: JobId(job), task: name("main"), index: TaskIndex(index), fence };
        world.apply(Command::AcquireLock { lock: name("db"), by, wait: Span::from_secs(60) });
    }
    same(
        &world.says(job, "main", 1),
        "Element 1 of task main of job 1 is running.
         It waits for the lock db, which task main[0] of job 1 holds. It is the 1st in line.
         Attempt 1 runs on w since 2026-01-01T00:00:00.000Z (now).
         > task main[0] of job 1 gives back the lock db, or ends",
    );
}
