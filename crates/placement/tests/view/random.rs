//! Workers and jobs at random, with every kind of constraint.

use proptest::prelude::*;
use quorate_state::State;
use quorate_state::queue::Queued;
use quorate_types::Epoch;

const CONDITIONS: &[&str] = &["zone=eu", "zone!=eu", "!ssd", "ssd", "mem>=32", "zone in (eu,us)", "worker!=w1"];

pub fn of(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(words, 0..=most)
}

fn list(words: &[&str]) -> String {
    serde_json::to_string(words).unwrap()
}

/// A job of one task, with the constraints of both as JSON's fields.
#[derive(Clone, Debug)]
pub struct Choosy {
    job: String,
    task: String,
    count: u32,
}

impl Choosy {
    /// Its JSON, with more fields.
    pub fn job(&self, job: &str, task: &str) -> String {
        format!(
            r#"{{{job}{}"tasks":[{{"name":"a","command":["x"],"count":{},{task}{}}}]}}"#,
            self.job, self.count, self.task
        )
    }
}

pub fn choosy() -> impl Strategy<Value = Choosy> {
    let words = (of(CONDITIONS, 2), of(CONDITIONS, 3), of(&["t=1", "u", "t"], 2));
    let social = (prop::option::of(1..4u32), prop::bool::weighted(0.3), 1..6u32);
    let label = of(&["app", "db"], 1);
    (words, social, label).prop_map(|((requires, prefers, tolerations), (spread, apart, count), label)| {
        let spread = spread.map_or("[]".into(), |max| format!(r#"[{{"label":"zone","max":{max}}}]"#));
        let apart = match (apart, count) {
            (true, 1) => r#"["a"]"#,
            (true, 2) => r#"[{"label":"x=app"},"a"]"#,
            (true, _) => r#"[{"label":"x=app"}]"#,
            (false, _) => "[]",
        };
        let task = format!(
            r#""requires":{},"prefers":{},"tolerations":{},"spread":{spread},"anti_affinity":{apart}"#,
            list(&requires),
            list(&prefers),
            list(&tolerations)
        );
        let job = label.first().map_or(String::new(), |value| format!(r#""labels":{{"x":"{value}"}},"#));
        Choosy { job, task, count }
    })
}

/// Labels, taints and cores.
pub type Machine = (Vec<&'static str>, Vec<&'static str>, u32);

pub fn machine() -> impl Strategy<Value = Machine> {
    let zone = of(&["zone=eu", "zone=us", "zone=ap"], 1);
    let rest = (of(&["ssd=1"], 1), of(&["mem=64", "mem=16"], 1));
    let labels = (zone, rest).prop_map(|(zone, (disk, memory))| [zone, disk, memory].concat());
    (labels, of(TAINTS, 1), 1..4u32)
}

pub const TAINTS: &[&str] = &["t=1", "t=2", "u"];

/// A worker that has room for an element of the task, and meets all that it asks for.
pub fn suited(state: &State, queued: Queued) -> Option<Epoch> {
    let job = state.job(queued.job)?;
    let spec = job.task_spec(queued.task)?;
    let suited = state.workers().find(|worker| {
        worker.is_alive()
            && !worker.draining
            && spec.resources.fits(&worker.free())
            && spec.suits(worker.labels(), worker.taints())
            && spec.spread.iter().all(|spread| {
                let value = worker.labels().get(&spread.label);
                value.is_some_and(|value| state.crowd(queued.job, queued.task, &spread.label, value) < spread.max)
            })
            && job.apart(queued.task).all(|other| !worker.runs(queued.job, other))
            && state.stranger_on(job, queued.task, worker).is_none()
    });
    suited.map(|worker| worker.epoch)
}
