//! What clients submit, and the policies that they choose.

use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder, Rebalance};
use quorate_types::{Allowance, Name, NamespaceRules, Reclaim, Span};
use serde_json::{Value, json};

use crate::applied::{RATE_LIMIT, RATE_PER, RATED};
use crate::chance::Chance;
use crate::physical::{ADDED, GANG, GATHER, Program, RESOURCE, SHORT};

pub(super) fn policy(chance: &mut Chance) -> PolicyChange {
    PolicyChange {
        queue: chance.pick(QueueOrder::ALL).copied(),
        backfill: chance.pick(Backfill::ALL).copied(),
        placement: chance.pick(PlacementOrder::ALL).copied(),
        quantum: Span::from_secs(1 + chance.below(5) as u64).try_into().ok(),
        rebalance: chance.pick(Rebalance::ALL).copied(),
        rebalance_share: (1 + chance.below(1_000) as u16).try_into().ok(),
        spread_label: None,
    }
}

/// A namespace and what it is entitled to; everything that anybody asks for has room below every limit.
pub(super) fn rules(chance: &mut Chance) -> (&'static str, NamespaceRules) {
    let namespace = chance.pick(NAMESPACES).copied().unwrap_or("default");
    let cpu = |millis: usize| Name::new("cpu").map(|cpu| (cpu, millis as u64)).into_iter().collect();
    let rules = NamespaceRules {
        weight: 1 + chance.below(4) as u32,
        quota: if chance.permille(500) { cpu(chance.below(5) * 500) } else { Allowance::default() },
        limit: if chance.permille(600) { cpu(3_000 + chance.below(5) * 500) } else { Allowance::default() },
        reclaim: if chance.permille(800) { Reclaim::Borrowed } else { Reclaim::Never },
        max_unfinished: None,
    };
    (namespace, rules)
}

const NAMESPACES: &[&str] = &["default", "lab", "web"];

/// The shape of jobs with a rate.
const RATED_SHAPE: usize = 3;

/// A job of a chosen shape; what it runs are [`Program`]s.
pub(super) fn job(chance: &mut Chance, name: &str) -> String {
    let holding = |chance: &mut Chance, task: &str, needs: &[&str], holds: u32| {
        let fails = chance.permille(60);
        // Some outlast a lease.
        let millis = if chance.permille(120) { 3_000 + chance.below(6_000) } else { 1 + chance.below(1_200) };
        let needs = needs.iter().map(|need| ((*need).to_owned(), 1)).collect();
        Program { millis: millis as u64, code: i32::from(fails), task: task.to_owned(), needs, holds, adds: 0 }
            .to_argv()
    };
    let command = |chance: &mut Chance, task: &str, needs: &[&str]| holding(chance, task, needs, 0);
    let retries = chance.below(3);
    let resources = json!({"cpu": 0.1 + chance.below(20) as f64 / 10.0});
    let shape = chance.below(8);
    let mut job = match shape {
        0 => json!({"name": name, "tasks": [
            {"name": "a", "command": command(chance, "a", &[]), "retries": retries, "resources": resources}]}),
        1 => {
            let preempt = if chance.permille(300) { "lower" } else { "never" };
            let (spread, apart, prefers) = where_to(chance);
            let labels = if chance.permille(300) { json!({"app": "web"}) } else { json!({}) };
            json!({"name": name, "priority": chance.below(100), "preempt": preempt, "labels": labels, "tasks": [
                {"name": "many", "movable": chance.permille(500), "command": command(chance, "many", &[]), "count": chance.below(12) + 2,
                 "spread": spread, "anti_affinity": apart, "prefers": prefers, "resources": resources}]})
        }
        2 => json!({"name": name, "on_failure": "continue", "tasks": [
            {"name": "first", "command": command(chance, "first", &[])},
            {"name": "left", "command": command(chance, "left", &["first"]), "needs": ["first"], "retries": retries},
            {"name": "right", "command": command(chance, "right", &["first"]), "needs": ["first"],
             "resources": resources},
            {"name": "last", "command": command(chance, "last", &["left", "right"]), "needs": ["left", "right"]}]}),
        RATED_SHAPE => {
            let holds = 1 + chance.below(2) as u32;
            json!({"name": name, "on_failure": "continue", "tasks": [
                {"name": "licensed", "command": holding(chance, "licensed", &[], holds), "count": 1 + chance.below(4),
                 "cluster_resources": {RESOURCE: holds}, "retries": retries, "resources": resources},
                {"name": RATED, "command": command(chance, RATED, &[]), "count": 1 + chance.below(4),
                 "rate": {"key": "r", "limit": RATE_LIMIT, "per": RATE_PER.to_string()}, "resources": resources}]})
        }
        4 => {
            let (lead, rest) = (format!("{GANG}lead"), format!("{GANG}rest"));
            json!({"name": name, "tasks": [
                {"name": lead, "command": command(chance, &lead, &[]), "gang": "g", "retries": retries},
                {"name": rest, "command": command(chance, &rest, &[]), "gang": "g", "count": 2, "retries": retries,
                 "resources": {"cpu": 1}},
                {"name": "after", "command": command(chance, "after", &[&lead, &rest]), "needs": [lead, rest]}]})
        }
        // Never before all that was added has succeeded, which is as much as a single success of `fan` brought.
        5 => {
            let adds = 1 + chance.below(4) as u32;
            let fan = Program {
                millis: 700,
                code: i32::from(chance.permille(60)),
                task: "fan".into(),
                adds,
                ..Program::default()
            };
            let gather =
                Program { millis: 50, task: GATHER.into(), needs: vec![(ADDED.into(), adds)], ..Program::default() };
            json!({"name": name, "tasks": [
                {"name": "fan", "command": fan.to_argv(), "retries": retries, "resources": resources},
                {"name": GATHER, "command": gather.to_argv(), "needs": ["fan"]}]})
        }
        6 => short(chance, name, retries),
        _ => json!({"name": name, "tasks": [
            {"name": "slow", "command": command(chance, "slow", &[]), "timeout": "2s", "grace": "100ms",
             "retries": retries},
            {"name": "after", "command": command(chance, "after", &["slow"]), "needs": ["slow"], "count": 2}]}),
    };
    // A rate is that of its namespace: who checks it looks at one.
    if shape != RATED_SHAPE {
        job["namespace"] = json!(chance.pick(NAMESPACES));
    }
    job.to_string()
}

/// Elements that are assigned a line at a time.
fn short(chance: &mut Chance, name: &str, retries: usize) -> Value {
    let code = i32::from(chance.permille(60));
    let short = Program { millis: chance.below(4) as u64, code, task: SHORT.into(), holds: 1, ..Program::default() };
    json!({"name": name, "on_failure": "continue", "tasks": [
        {"name": SHORT, "command": short.to_argv(), "count": 20 + chance.below(100), "retries": retries,
         "cluster_resources": {RESOURCE: 1}, "resources": {"cpu": 0.5}}]})
}

/// Constraints that leave every element a place in the end, whoever is lost.
fn where_to(chance: &mut Chance) -> (Value, Value, Value) {
    let spread = if chance.permille(300) { json!([{"label": "zone", "max": 1 + chance.below(3)}]) } else { json!([]) };
    let apart = match chance.below(10) {
        0..=1 => json!(["many"]),
        2 => json!([{"label": "app=web"}]),
        _ => json!([]),
    };
    let prefers = if chance.permille(300) { json!(["zone=z1", "worker=w2"]) } else { json!([]) };
    (spread, apart, prefers)
}
