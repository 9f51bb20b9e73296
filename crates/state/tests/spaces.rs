//! Namespaces: limits are looked at again when a decision is applied, and what they hold is known at any time.

use crate::support::{Cluster, name, spec};
use quorate_state::State;
use quorate_state::command::{Command, Grounds, Preemption};
use quorate_state::limits::NAMESPACES_MAX;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::session::AttemptKey;
use quorate_types::status::Ending;
use quorate_types::{Epoch, JobId};

fn entitle(cluster: &mut Cluster, namespace: &str, json: &str) -> Outcome {
    let rules = Box::new(serde_json::from_str(json).unwrap());
    cluster.apply(Command::SetNamespace { namespace: name(namespace), rules })
}

fn array(cluster: &mut Cluster, namespace: &str) -> JobId {
    cluster.submit(&format!(r#"{{"namespace":"{namespace}","tasks":[{{"name":"a","command":["x"],"count":9}}]}}"#))
}

fn held(cluster: &Cluster, namespace: &str) -> u64 {
    cluster.state.space(&name(namespace)).map_or(0, |space| space.held.cpu_millis)
}

fn preemption(key: AttemptKey, epoch: Epoch, by: JobId, grounds: Grounds) -> Preemption {
    Preemption { job: key.job, task: key.task, index: key.index, attempt: key.attempt, epoch, by, grounds }
}

#[test]
fn a_limit_holds_whatever_the_leader_thought() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 8);
    entitle(&mut cluster, "web", r#"{"limit":{"cpu":2}}"#);
    let (web, other) = (array(&mut cluster, "web"), array(&mut cluster, "other"));
    let first = cluster.assign(web, 0, 0, epoch).unwrap();
    cluster.assign(web, 0, 1, epoch).unwrap();
    assert_eq!(cluster.assign(web, 0, 2, epoch), None, "a third core");
    assert_eq!(held(&cluster, "web"), 2_000);
    assert!(cluster.assign(other, 0, 0, epoch).is_some(), "another namespace has no part in it");

    // What the limit does not name is free, also when what it names is used up.
    let light =
        cluster.submit(r#"{"namespace":"web","tasks":[{"command":["x"],"resources":{"cpu":0,"memory":"1MiB"}}]}"#);
    assert!(cluster.assign(light, 0, 0, epoch).is_some());

    // An attempt that was told to stop holds on until it has.
    cluster.apply(Command::Reassign { job: web, task: name("a"), index: first.index });
    assert_eq!(cluster.state.space(&name("web")).unwrap().ending.cpu_millis, 1_000);
    assert_eq!(cluster.assign(web, 0, 2, epoch), None);
    cluster.finish("w", epoch, first, Ending::Signalled(15));
    assert_eq!((held(&cluster, "web"), cluster.state.space(&name("web")).unwrap().ending.cpu_millis), (1_000, 0));
    assert!(cluster.assign(web, 0, 2, epoch).is_some());

    // A lower limit ends nothing, and nothing starts until it is kept.
    entitle(&mut cluster, "web", r#"{"limit":{"cpu":1}}"#);
    assert_eq!(held(&cluster, "web"), 2_000);
    assert_eq!(cluster.assign(web, 0, 3, epoch), None);
    cluster.apply(Command::ResetNamespace { namespace: name("web") });
    assert!(cluster.assign(web, 0, 3, epoch).is_some());

    // With the worker everything that was held there is gone.
    cluster.apply(Command::Expire { worker: name("w"), epoch });
    assert_eq!((held(&cluster, "web"), held(&cluster, "other")), (0, 0));
}

#[test]
fn what_is_borrowed_is_taken_back_and_nothing_else() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 8);
    entitle(&mut cluster, "lab", r#"{"quota":{"cpu":4}}"#);
    entitle(&mut cluster, "web", r#"{"quota":{"cpu":1}}"#);
    let (lab, web, none) = (array(&mut cluster, "lab"), array(&mut cluster, "web"), array(&mut cluster, "none"));
    let webs: Vec<AttemptKey> = (0..2).map(|at| cluster.assign(web, 0, at, epoch).unwrap()).collect();
    let nones: Vec<AttemptKey> = (0..2).map(|at| cluster.assign(none, 0, at, epoch).unwrap()).collect();
    let take = |cluster: &mut Cluster, key: AttemptKey, by: JobId| match cluster
        .apply(Command::Preempt { items: vec![preemption(key, epoch, by, Grounds::Borrowed)] })
    {
        Outcome::Preempted { stopped, .. } => stopped,
        other => panic!("{other:?}"),
    };
    assert_eq!(take(&mut cluster, nones[0], web), 0, "web has its quota, and is no owner of more");
    assert_eq!(take(&mut cluster, webs[0], web), 0, "nobody takes from itself");
    assert_eq!(take(&mut cluster, webs[0], none), 0, "who has no quota has nothing to take back");
    assert_eq!(take(&mut cluster, webs[0], lab), 1, "one of the two is borrowed");
    assert!(cluster.last.events[0].reason.as_deref().unwrap().contains("lent"), "{:?}", cluster.last.events);
    assert_eq!(take(&mut cluster, webs[1], lab), 0, "with that one web has its quota");
    assert_eq!(take(&mut cluster, nones[0], lab), 1, "without a quota all is borrowed");

    entitle(&mut cluster, "lab", r#"{"quota":{"cpu":4},"reclaim":"never"}"#);
    assert_eq!(take(&mut cluster, nones[1], lab), 0);
    entitle(&mut cluster, "lab", r#"{"quota":{"cpu":4}}"#);
    assert!((0..4).all(|at| cluster.assign(lab, 0, at, epoch).is_some()));
    assert_eq!(take(&mut cluster, nones[1], lab), 0, "lab has all of its quota");
}

#[test]
fn what_is_within_a_quota_is_ended_for_no_other_namespace() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 8);
    entitle(&mut cluster, "web", r#"{"quota":{"cpu":1}}"#);
    let web = array(&mut cluster, "web");
    let urgent = |namespace: &str| format!(r#"{{"namespace":"{namespace}","priority":90,"command":["x"]}}"#);
    let (own, other) = (cluster.submit(&urgent("web")), cluster.submit(&urgent("other")));
    let key = cluster.assign(web, 0, 0, epoch).unwrap();
    for (by, grounds, stopped) in
        [(other, Grounds::LowerPriority, 0), (other, Grounds::LongerToGo, 0), (own, Grounds::LowerPriority, 1)]
    {
        let outcome = cluster.apply(Command::Preempt { items: vec![preemption(key, epoch, by, grounds)] });
        assert_eq!(outcome, Outcome::Preempted { stopped, stale: 1 - stopped }, "{by} by {grounds:?}");
    }
}

#[test]
fn a_namespace_may_have_so_many_unfinished_tasks() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 8);
    entitle(&mut cluster, "web", r#"{"max_unfinished":10}"#);
    let job = array(&mut cluster, "web");
    let two = r#"{"namespace":"web","command":["x"],"then":[{"job":{"command":["y"]}}]}"#;
    let full = Outcome::Rejected(Rejection::NamespaceFull(name("web"), 9));
    assert_eq!(cluster.apply(Command::Submit(spec(two))), full, "what follows counts");
    array(&mut cluster, "other");
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, key, Ending::Exited(0));
    let twice = cluster.submit(two);
    cluster.apply(Command::Cancel { job });
    cluster.apply(Command::Cancel { job: twice });
    assert_eq!(cluster.state.space(&name("web")).unwrap().unfinished, 0);
    entitle(&mut cluster, "web", r#"{"max_unfinished":8}"#);
    let again = Command::Retry { job, scope: quorate_state::command::RetryScope::All };
    let too_small = Outcome::Rejected(Rejection::NamespaceTooSmall { namespace: name("web"), most: 8 });
    assert_eq!(cluster.apply(again), too_small, "that will not change by itself");
}

#[test]
fn records_are_bounded_and_survive_a_snapshot() {
    let mut cluster = Cluster::default();
    for n in 0..NAMESPACES_MAX {
        assert_eq!(entitle(&mut cluster, &format!("n{n}"), "{}"), Outcome::Done);
    }
    let full = Outcome::Rejected(Rejection::TooManyNamespaces(NAMESPACES_MAX as u64));
    assert_eq!(entitle(&mut cluster, "more", "{}"), full);
    assert_eq!(entitle(&mut cluster, "n0", r#"{"weight":7}"#), Outcome::Done, "a change takes no room");
    cluster.apply(Command::ResetNamespace { namespace: name("n1") });
    assert_eq!(entitle(&mut cluster, "more", r#"{"weight":2}"#), Outcome::Done);
    let restored = State::from_records(cluster.state.snapshot_records()).unwrap();
    assert_eq!(restored.rules(), cluster.state.rules());
    assert_eq!(restored.digest(), cluster.state.digest());
}
