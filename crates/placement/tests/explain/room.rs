//! What ends so that others have room, what does not, and what is said of it on both sides.

use quorate_state::command::Command;
use quorate_types::Name;
use quorate_types::status::Ending;

use super::world::{World, tells};

#[test]
fn room_is_made_for_somebody() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":2}"#);
    let low = world.job(r#"{"priority":10,"tasks":[{"name":"low","command":["x"],"count":2}]}"#);
    world.round();
    world.start();
    let high = world.job(r#"{"priority":90,"preempt":"lower","tasks":[{"name":"high","command":["x"]}]}"#);
    let other = world.job(r#"{"priority":90,"tasks":[{"name":"other","command":["x"]}]}"#);
    assert!(!world.says(high, "high", 0).contains("Room"));
    world.round();
    let victim = (0..2).find(|index| world.says(low, "low", *index).contains("was told to stop")).unwrap();
    let said = world.says(low, "low", victim);
    let why = format!("(preempted by job {high}, which has a higher priority); then the task is placed again.");
    assert!(said.contains(&why), "{said}");
    let made =
        format!("Room is being made for its job: told to stop was element {victim} of task low of job {low} on w.");
    let said = world.says(high, "high", 0);
    assert!(said.contains(&made), "{said}");
    assert!(!world.says(other, "other", 0).contains("Room"));
}

/// What was ended for somebody else waits again, and its explanation still says for whom.
#[test]
fn who_waits_again_knows_for_whom() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":1}"#);
    let low = world.job(r#"{"priority":10,"tasks":[{"name":"main","command":["x"]}]}"#);
    world.round();
    world.start();
    let high = world.job(r#"{"priority":60,"preempt":"lower","tasks":[{"name":"main","command":["x"]}]}"#);
    world.round();
    world.finish(low, &Ending::Stopped);
    let reason = format!("stopped: preempted by job {high}, which has a higher priority");
    tells(&world.says(low, "main", 0), &[&format!("Attempt 1 on w ended: {reason}.")]);
    assert_eq!(world.explain(low, "main", 0).previous.unwrap().reason, reason);
    world.round();
    assert_eq!(world.explain(high, "main", 0).previous, None);
}

/// What is within its quota is not ended, which is why who might end it waits.
#[test]
fn quotas_protect_what_could_be_ended() {
    for (policy, theirs, own) in [
        ("{}", r#""priority":10"#, r#""priority":60,"preempt":"lower""#),
        (r#"{"queue":"srtf"}"#, r#""priority":50"#, r#""priority":50"#),
    ] {
        for (quota, protected) in [(2, true), (1, false)] {
            let mut world = World::under(policy);
            world.worker("w", r#"{"cpu":2}"#);
            world.entitle("theirs", &format!(r#"{{"quota":{{"cpu":{quota}}}}}"#));
            let job = |namespace: &str, fields: &str, expected: &str, cpu: u32| {
                format!(
                    r#"{{"namespace":"{namespace}",{fields},"tasks":[
                        {{"name":"main","command":["x"],"expected":"{expected}","resources":{{"cpu":{cpu}}}}}]}}"#
                )
            };
            world.job(&job("theirs", theirs, "1h", 2));
            world.round();
            world.start();
            let waits = world.job(&job("own", own, "1m", 2));
            assert_eq!(!world.explain(waits, "main", 0).protected.is_empty(), protected, "{policy} {quota}");
            world.round();
            let explanation = world.explain(waits, "main", 0);
            assert_eq!(!explanation.protected.is_empty(), protected, "{policy} {quota}");
            assert_eq!(explanation.room.is_empty(), protected, "{policy} {quota}");
            if protected {
                let sentence = "It may end others, but not what runs in theirs, which is within its quota.";
                tells(&world.says(waits, "main", 0), &[sentence]);
            }
        }
    }
}

#[test]
fn whom_chance_or_turns_choose_nobody_else_knows() {
    for (placement, says) in [
        ("random", "by chance: it may be another one."),
        ("power-of-two", "by chance: it may be another one."),
        ("round-robin", "in turn: it may be another one."),
        ("spread", "going on from its last round: it may be another one."),
        ("best-fit", "the placement best-fit chooses."),
    ] {
        let mut world = World::under(&format!(r#"{{"placement":"{placement}"}}"#));
        world.worker("a", r#"{"cpu":1}"#);
        let job = world.task(r#""requires":["worker=a"]"#);
        tells(&world.says(job, "main", 0), &["chooses."]);
        world.worker("b", r#"{"cpu":1}"#);
        let job = world.task(r#""resources":{"cpu":0.5}"#);
        tells(&world.says(job, "main", 0), &[says]);
    }
}

/// Neither where its worker is about to leave, nor where all of it would not be enough, nor of a gang by time.
#[test]
fn quotas_are_not_blamed_for_what_would_not_help() {
    let theirs = r#"{"namespace":"theirs","priority":10,"tasks":[{"name":"main","command":["x"],"expected":"1h"}]}"#;
    let protects = |policy: &str, own: &str, drains: bool| {
        let mut world = World::under(policy);
        world.worker("w", r#"{"cpu":1}"#);
        world.entitle("theirs", r#"{"quota":{"cpu":4}}"#);
        world.job(theirs);
        world.round();
        world.start();
        if drains {
            world.apply(Command::Drain { worker: Name::new("w").unwrap() });
        }
        let own = world.job(own);
        !world.explain(own, "main", 0).protected.is_empty()
    };
    let lower = |task: &str| {
        format!(
            r#"{{"namespace":"own","priority":60,"preempt":"lower","tasks":[{{"name":"main","command":["x"]{task}}}]}}"#
        )
    };
    let gang = r#"{"namespace":"own","tasks":[{"name":"main","command":["x"],"expected":"1m","gang":"g"}]}"#;
    assert!(protects("{}", &lower(""), false));
    assert!(!protects("{}", &lower(""), true), "the worker drains");
    assert!(!protects("{}", &lower(r#","resources":{"cpu":2}"#), false), "there is not so much on the worker");
    let srtf = r#"{"queue":"srtf"}"#;
    assert!(protects(srtf, &gang.replace(r#","gang":"g""#, ""), false));
    assert!(!protects(srtf, gang, false), "gangs don't go by time");
}
