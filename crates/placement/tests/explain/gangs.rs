//! Gangs.

use super::world::{World, same, tells};

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

#[test]
fn a_gang_that_has_no_room_says_so() {
    let mut world = World::new();
    world.worker("a", r#"{"cpu":4}"#);
    world.worker("b", r#"{"cpu":4}"#);
    let job = world.job(r#"{"tasks":[{"name":"m","command":["x"],"gang":"g","count":3,"resources":{"cpu":3}}]}"#);
    world.round();
    let said = world.says(job, "m", 0);
    tells(
        &said,
        &[
            "2 of them would fit now.",
            "a has room, but there is none for all of gang g at once.",
            "> there is room for all 3 elements of gang g at once, and not for 2 only",
        ],
    );
    assert!(!said.contains("ahead in the queue"), "{said}");
    world.worker("c", r#"{"cpu":4}"#);
    world.round();
    assert!(world.says(job, "m", 0).contains("is assigned"));
}

/// As a whole.
#[test]
fn the_limit_of_its_namespace_is_one_for_all_of_it() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":16}"#);
    world.entitle("lim", r#"{"limit":{"cpu":8}}"#);
    let job = world.job(
        r#"{"namespace":"lim","tasks":[{"name":"m","command":["x"],"gang":"g","count":3,"resources":{"cpu":4}}]}"#,
    );
    world.round();
    let said = world.says(job, "m", 1);
    tells(
        &said,
        &[
            "Its gang asks for 12 cores, and namespace lim may hold 8 cores in all: it never starts.",
            "> the limit of namespace lim is raised to 12 cores",
        ],
    );
    world.entitle("lim", r#"{"limit":{"cpu":12}}"#);
    world.round();
    assert!(world.says(job, "m", 1).contains("is assigned"));
}
