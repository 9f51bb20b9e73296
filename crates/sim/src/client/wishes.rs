//! What clients submit, and the policies that they choose.

use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::physical::{ADDED, GATHER, Program};

pub(super) fn policy(chance: &mut Chance) -> PolicyChange {
    PolicyChange {
        queue: chance.pick(QueueOrder::ALL).copied(),
        backfill: chance.pick(Backfill::ALL).copied(),
        placement: chance.pick(PlacementOrder::ALL).copied(),
    }
}

/// A job of a chosen shape; what it runs are [`Program`]s.
pub(super) fn job(chance: &mut Chance, name: &str) -> String {
    let command = |chance: &mut Chance, task: &str, needs: &[&str]| {
        let fails = chance.permille(60);
        // Some outlast a lease.
        let millis = if chance.permille(120) { 3_000 + chance.below(6_000) } else { 1 + chance.below(1_200) };
        let needs = needs.iter().map(|need| ((*need).to_owned(), 1)).collect();
        Program { millis: millis as u64, code: i32::from(fails), task: task.to_owned(), needs, adds: 0 }.to_argv()
    };
    let retries = chance.below(3);
    let resources = json!({"cpu": 0.1 + chance.below(20) as f64 / 10.0});
    let job = match chance.below(5) {
        0 => json!({"name": name, "tasks": [
            {"name": "a", "command": command(chance, "a", &[]), "retries": retries, "resources": resources}]}),
        1 => {
            let preempt = if chance.permille(300) { "lower" } else { "never" };
            let (spread, apart, prefers) = where_to(chance);
            json!({"name": name, "priority": chance.below(100), "preempt": preempt, "tasks": [
                {"name": "many", "command": command(chance, "many", &[]), "count": chance.below(12) + 2,
                 "spread": spread, "anti_affinity": apart, "prefers": prefers, "resources": resources}]})
        }
        2 => json!({"name": name, "on_failure": "continue", "tasks": [
            {"name": "first", "command": command(chance, "first", &[])},
            {"name": "left", "command": command(chance, "left", &["first"]), "needs": ["first"], "retries": retries},
            {"name": "right", "command": command(chance, "right", &["first"]), "needs": ["first"],
             "resources": resources},
            {"name": "last", "command": command(chance, "last", &["left", "right"]), "needs": ["left", "right"]}]}),
        // Never before all that was added has succeeded, which is as much as a single success of `fan` brought.
        3 => {
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
        _ => json!({"name": name, "tasks": [
            {"name": "slow", "command": command(chance, "slow", &[]), "timeout": "2s", "grace": "100ms",
             "retries": retries},
            {"name": "after", "command": command(chance, "after", &["slow"]), "needs": ["slow"], "count": 2}]}),
    };
    job.to_string()
}

/// Constraints that leave every element a place in the end, whoever is lost.
fn where_to(chance: &mut Chance) -> (Value, Value, Value) {
    let spread = if chance.permille(300) { json!([{"label": "zone", "max": 1 + chance.below(3)}]) } else { json!([]) };
    let apart = if chance.permille(200) { json!(["many"]) } else { json!([]) };
    let prefers = if chance.permille(300) { json!(["zone=z1", "worker=w2"]) } else { json!([]) };
    (spread, apart, prefers)
}
