//! Gangs.

use crate::world::{World, same};

#[test]
fn what_a_gang_needs_at_once() {
    let mut world = World::new();
    world.worker("a", r#"{"cpu":2,"memory":"4GiB"}"#);
    world.worker("b", r#"{"cpu":2,"memory":"4GiB"}"#);
    let before = world.job(r#"{"tasks":[{"name":"t","command":["x"]}]}"#);
    world.round();
    let job = world.job(
        r#"{"tasks":[{"name":"ps","command":["x"],"gang":"train","resources":{"cpu":1,"memory":"2GiB"}},
            {"name":"w","command":["x"],"gang":"train","count":3}]}"#,
    );
    let said = world.says(job, "w", 2);
    assert!(
        said.contains(
            "Its gang train starts all of its 4 elements at once: 1 × (1 cpu, 2GiB) for ps and 3 × (1 cpu) for w. \
             3 of them would fit now."
        ),
        "{said}"
    );
    assert!(said.contains("is kept for it"), "{said}");
    world.finish(before, &quorate_types::status::Ending::Exited(0));
    let said = world.says(job, "w", 2);
    assert!(said.contains("4 of them would fit now.") || said.contains("The next round starts it on"), "{said}");
    world.round();
    world.start();
    same(world.says(job, "ps", 0).lines().next().unwrap(), "Task ps of job 2 is running.");
}
