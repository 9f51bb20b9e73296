//! Constraints are looked at again when a decision is applied, whatever the leader thought.

use crate::support::{Cluster, name};
use quorate_state::command::{Command, Registration};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::status::Ending;
use quorate_types::{Epoch, ReplicaId, Resources};

fn join(cluster: &mut Cluster, worker: &str, instance: u64, zone: &str, taints: &[&str]) -> Epoch {
    let outcome = cluster.apply(Command::Register(Box::new(Registration {
        name: name(worker),
        labels: [(name("zone"), zone.to_owned())].into(),
        taints: taints.iter().map(|taint| taint.parse().unwrap()).collect(),
        host: "h".into(),
        capacity: Resources::new(8_000, 0),
        instance,
        replaces: (instance > 1).then_some(instance - 1),
        replica: ReplicaId(1),
        lease_ttl: quorate_types::Span(10_000),
    })));
    match outcome {
        Outcome::Registered { epoch } => epoch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn labels_and_taints() {
    let mut cluster = Cluster::default();
    let (eu, us) = (join(&mut cluster, "eu", 1, "eu", &[]), join(&mut cluster, "us", 1, "us", &["spot"]));
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":9,"requires":["zone=eu"]}]}"#);
    assert_eq!(cluster.assign(job, 0, 0, us), None, "another zone");
    assert!(cluster.assign(job, 0, 0, eu).is_some());
    let any = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":9}]}"#);
    assert_eq!(cluster.assign(any, 0, 0, us), None, "it is tainted");
    let tolerant = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"tolerations":["spot"]}]}"#);
    assert!(cluster.assign(tolerant, 0, 0, us).is_some());

    // What an operator gives comes besides, and outlives the registration.
    let taint = |text: &str| Command::Taint { worker: name("eu"), taints: vec![text.parse().unwrap()] };
    assert_eq!(cluster.apply(taint("repair")), Outcome::Done);
    assert_eq!(cluster.assign(any, 0, 0, eu), None);
    let eu = join(&mut cluster, "eu", 2, "eu", &["spot"]);
    let taints: Vec<String> = cluster.state.worker("eu").unwrap().taints().map(ToString::to_string).collect();
    assert_eq!(taints, ["spot", "repair"]);
    assert_eq!(cluster.assign(any, 0, 0, eu), None);
    cluster.apply(Command::Taint { worker: name("eu"), taints: vec!["spot".parse().unwrap()] });
    assert_eq!(cluster.state.worker("eu").unwrap().taints().count(), 1, "its own are not named twice");
    let nobody = Command::Taint { worker: name("nobody"), taints: vec![] };
    assert_eq!(cluster.apply(nobody), Outcome::Rejected(Rejection::NoSuchWorker(name("nobody"))));
}

#[test]
fn crowds_are_counted_and_dissolve() {
    let mut cluster = Cluster::default();
    let workers = [("a1", "a"), ("a2", "a"), ("b1", "b")];
    let [a1, a2, b1] = workers.map(|(worker, zone)| join(&mut cluster, worker, 1, zone, &[]));
    let job = cluster.submit(
        r#"{"tasks":[{"name":"t","command":["x"],"count":9,"spread":[{"label":"zone","max":2}]},
            {"name":"u","command":["x"],"count":9,"anti_affinity":["u","t"]}]}"#,
    );
    let first = cluster.assign(job, 0, 0, a1).unwrap();
    assert!(cluster.assign(job, 0, 1, a2).is_some());
    assert_eq!(cluster.assign(job, 0, 2, a2), None, "two are in zone a");
    assert!(cluster.assign(job, 1, 0, b1).is_some());
    assert_eq!(cluster.assign(job, 0, 2, b1), None, "u is there, and says that t must not be");
    assert_eq!(cluster.assign(job, 1, 1, b1), None, "u is there itself");
    assert_eq!(cluster.assign(job, 1, 1, a1), None, "t is there");
    cluster.finish("a1", a1, first, Ending::Exited(0));
    assert!(cluster.assign(job, 1, 1, a1).is_some(), "t has gone from there");
    assert!(cluster.assign(job, 0, 2, a2).is_some(), "and from the zone");
    assert_eq!(cluster.assign(job, 0, 3, a2), None);
    let replaced = join(&mut cluster, "a2", 2, "a", &[]);
    let retried = cluster.assign(job, 0, 1, replaced);
    assert!(retried.is_some(), "a lost worker's elements count no more");
}

/// A task that says nothing stays apart from one that does.
#[test]
fn apart_holds_for_the_side_that_does_not_say_so() {
    let mut cluster = Cluster::default();
    let worker = join(&mut cluster, "w", 1, "a", &[]);
    let job = cluster.submit(
        r#"{"tasks":[{"name":"plain","command":["x"]},{"name":"picky","command":["x"],"anti_affinity":["plain"]}]}"#,
    );
    assert!(cluster.assign(job, 1, 0, worker).is_some());
    assert_eq!(cluster.assign(job, 0, 0, worker), None);
}

/// Jobs are kept apart by the label that one has and the other shuns, whichever of them came first, within a namespace.
#[test]
fn other_jobs_are_kept_off_by_their_labels() {
    let job = |namespace: &str, label: &str, shuns: &str| {
        format!(
            r#"{{"namespace":"{namespace}","labels":{{{label}}},
                "tasks":[{{"name":"a","command":["x"],"count":3,"anti_affinity":[{shuns}]}}]}}"#
        )
    };
    let (web, shuns_web) = (r#""app":"web""#, r#"{"label":"app=web"}"#);
    let mut cluster = Cluster::default();
    let [a, b] = ["a", "b"].map(|worker| join(&mut cluster, worker, 1, "z", &[]));
    let bearer = cluster.submit(&job("n", web, ""));
    let other = cluster.submit(&job("n", r#""app":"db""#, ""));
    let picky = cluster.submit(&job("n", "", shuns_web));
    let foreign = cluster.submit(&job("m", "", shuns_web));
    let first = cluster.assign(bearer, 0, 0, a).unwrap();
    let second = cluster.assign(bearer, 0, 1, a).unwrap();
    assert_eq!(cluster.assign(picky, 0, 0, a), None, "app=web is there");
    assert!(cluster.assign(foreign, 0, 0, a).is_some(), "not of its namespace");
    assert!(cluster.assign(other, 0, 0, a).is_some(), "another label minds nobody");
    let held = cluster.assign(picky, 0, 0, b).unwrap();
    assert_eq!(cluster.assign(bearer, 0, 2, b), None, "it is shunned there");
    assert!(cluster.assign(picky, 0, 1, b).is_some(), "not by its own job");
    let (found, worker) = (cluster.state.job(picky).unwrap(), cluster.state.worker("a").unwrap());
    let (in_the_way, sign) = cluster.state.stranger_on(found, 0, worker).unwrap();
    assert_eq!((in_the_way, sign.label()), (bearer, "app=web"));
    cluster.finish("a", a, first, Ending::Exited(0));
    assert_eq!(cluster.assign(picky, 0, 2, a), None, "one of two is still there");
    cluster.finish("a", a, second, Ending::Exited(0));
    assert!(cluster.assign(picky, 0, 2, a).is_some());
    cluster.finish("b", b, held, Ending::Exited(0));
    assert_eq!(cluster.assign(bearer, 0, 2, b), None);
    // A job may shun its own label: then no two such jobs share a worker, and its elements may.
    let both = [1, 2].map(|_| cluster.submit(&job("o", web, shuns_web)));
    assert!(cluster.assign(both[0], 0, 0, a).is_some() && cluster.assign(both[0], 0, 1, a).is_some());
    assert_eq!(cluster.assign(both[1], 0, 0, a), None);
    assert!(cluster.assign(both[1], 0, 0, b).is_some());
}
