//! The event stream and what must hold about it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One event as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// The log index and the position there.
    pub(crate) at: (u64, u64),
    pub(crate) kind: String,
    pub(crate) job: Option<u64>,
    pub(crate) task: Option<String>,
    pub(crate) index: Option<u64>,
    pub(crate) fence: Option<u64>,
    pub(crate) worker: Option<String>,
    /// All of it, for comparing replicas.
    pub(crate) raw: Value,
}

impl Event {
    pub(crate) fn parse(line: &str) -> Self {
        let raw: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("no event ({e}): {line:?}"));
        let cursor = raw["cursor"].as_str().unwrap_or_else(|| panic!("no cursor: {line}"));
        let (index, nth) = cursor.split_once('.').unwrap();
        let text = |key: &str| raw[key].as_str().map(str::to_owned);
        Self {
            at: (index.parse().unwrap(), nth.parse().unwrap()),
            kind: text("type").unwrap(),
            job: raw["job"].as_u64(),
            task: text("task"),
            index: raw["index"].as_u64(),
            fence: raw["fence"].as_u64(),
            worker: text("worker"),
            raw,
        }
    }

    fn element(&self) -> (String, u64) {
        (self.task.clone().unwrap_or_default(), self.index.unwrap_or_default())
    }
}

/// Checks each replica's stream (with the index of its "now"), and that they are one stream. Returns the part that all
/// of them have.
pub(crate) fn agree(streams: &BTreeMap<u64, (Vec<Event>, u64)>) -> Vec<Event> {
    let until = streams.values().map(|(_, now)| *now).min().unwrap();
    let mut agreed: Option<(u64, Vec<Event>)> = None;
    for (replica, (events, now)) in streams {
        check_order(*replica, events, *now);
        let common: Vec<Event> = events.iter().filter(|event| event.at.0 <= until).cloned().collect();
        match &agreed {
            None => agreed = Some((*replica, common)),
            Some((other, expected)) => {
                for (ours, theirs) in common.iter().zip(expected) {
                    assert_eq!(ours.raw, theirs.raw, "replicas {replica} and {other} tell different things");
                }
                assert_eq!(common.len(), expected.len(), "replicas {replica} and {other} tell more and less");
            }
        }
    }
    agreed.unwrap().1
}

/// Ordered, unique and, within an entry, without gaps; time never runs backwards.
pub(crate) fn check_order(replica: u64, events: &[Event], now: u64) {
    let mut before: Option<&Event> = None;
    for event in events {
        let expected = match before {
            Some(last) if last.at.0 == event.at.0 => last.at.1 + 1,
            Some(_) | None => 0,
        };
        assert_eq!(event.at.1, expected, "replica {replica}: a gap before {}", event.raw);
        assert!(before.is_none_or(|last| last.at < event.at), "replica {replica}: out of order at {}", event.raw);
        let in_time = |last: &&Event| last.raw["time"].as_str() <= event.raw["time"].as_str();
        assert!(before.as_ref().is_none_or(in_time), "replica {replica}: time runs backwards at {}", event.raw);
        assert!(event.at.0 <= now, "replica {replica}: an event after its now, {now}: {}", event.raw);
        before = Some(event);
    }
}

/// What must hold about the events of a job that succeeded: each element succeeded exactly once, after all
/// that it needs, and by the attempt that was assigned last.
pub(crate) fn check_job(events: &[Event], job: u64, spec: &Value) {
    let mut succeeded: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut fences: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.job == Some(job)) {
        let element = event.element();
        match event.kind.as_str() {
            "task.assigned" => {
                let needs = task_of(spec, &element.0)["needs"].as_array().cloned().unwrap_or_default();
                for need in needs.iter().filter_map(Value::as_str) {
                    for index in 0..task_of(spec, need)["count"].as_u64().unwrap() {
                        let done = succeeded.contains(&(need.to_owned(), index));
                        assert!(done, "{element:?} was assigned before {need}[{index}] succeeded: {}", event.raw);
                    }
                }
                assert!(!succeeded.contains(&element), "assigned after it succeeded: {}", event.raw);
                let fence = event.fence.unwrap_or_else(|| panic!("no fence: {}", event.raw));
                let earlier = fences.insert(element, fence);
                assert!(earlier.is_none_or(|earlier| earlier < fence), "the fence does not grow: {}", event.raw);
            }
            "task.running" | "task.succeeded" => {
                assert_eq!(event.fence, fences.get(&element).copied(), "not the newest attempt: {}", event.raw);
                if event.kind == "task.succeeded" {
                    assert!(succeeded.insert(element), "a second result: {}", event.raw);
                }
            }
            _ => {}
        }
    }
    let tasks = spec["tasks"].as_array().unwrap();
    let elements: u64 = tasks.iter().map(|task| task["count"].as_u64().unwrap()).sum();
    assert_eq!(succeeded.len() as u64, elements, "job {job}: not every task has one task.succeeded");
}

fn task_of<'a>(spec: &'a Value, name: &str) -> &'a Value {
    let tasks = spec["tasks"].as_array().unwrap();
    tasks.iter().find(|task| task["name"] == name).unwrap_or_else(|| panic!("no task {name} in {spec}"))
}
