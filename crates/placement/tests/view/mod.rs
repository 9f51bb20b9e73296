//! A cluster's state, and what a planner makes of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::fmt::Write;
use std::sync::Arc;

use quorate_placement::{Bounds, Plan, Planner};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal, Registration};
use quorate_state::outcome::Outcome;
use quorate_types::job::JobRequest;
use quorate_types::policy::{PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::{LogIndex, Name, ReplicaId, Span, Timestamp};

pub mod led;
pub mod random;

pub struct View(pub State);

/// Of a worker with labels such as `zone=eu`, and taints.
pub fn registration(name: &str, capacity: &str, labels: &[&str], taints: &[&str]) -> Registration {
    let label = |label: &&str| {
        let (key, value) = label.split_once('=').unwrap();
        (Name::new(key).unwrap(), value.to_owned())
    };
    Registration {
        name: Name::new(name).unwrap(),
        labels: labels.iter().map(label).collect(),
        taints: taints.iter().map(|taint| taint.parse().unwrap()).collect(),
        host: "h".into(),
        capacity: serde_json::from_str(capacity).unwrap(),
        instance: 1,
        replaces: None,
        replica: ReplicaId(1),
        lease_ttl: Span(10_000),
    }
}

/// Workers of three sizes.
pub fn three(placement: PlacementOrder) -> View {
    View::new(QueueOrder::Fifo, placement)
        .worker("big", r#"{"cpu":8}"#)
        .worker("mid", r#"{"cpu":4}"#)
        .worker("small", r#"{"cpu":2}"#)
}

impl View {
    pub fn new(queue: QueueOrder, placement: PlacementOrder) -> Self {
        let mut view = Self(State::default());
        let change = PolicyChange { queue: Some(queue), placement: Some(placement), ..PolicyChange::default() };
        view.apply(Command::ChangePolicy(change));
        view
    }

    pub fn apply(&mut self, command: Command) {
        self.outcome_at(Timestamp(0), command);
    }

    pub fn outcome_at(&mut self, time: Timestamp, command: Command) -> Outcome {
        let index = LogIndex(self.0.index().0 + 1);
        let proposals = vec![Proposal { origin: None, command }];
        self.0.apply(index, &Entry { time, proposals }).outcomes.remove(0)
    }

    pub fn worker(self, name: &str, capacity: &str) -> Self {
        self.labelled(name, capacity, &[], &[])
    }

    /// A worker with labels such as `zone=eu`, and taints.
    pub fn labelled(mut self, name: &str, capacity: &str, labels: &[&str], taints: &[&str]) -> Self {
        self.apply(Command::Register(Box::new(registration(name, capacity, labels, taints))));
        self
    }

    pub fn job(self, json: &str) -> Self {
        self.job_at(Timestamp(0), json)
    }

    pub fn job_at(mut self, time: Timestamp, json: &str) -> Self {
        let request: JobRequest = serde_json::from_str(json).unwrap();
        self.outcome_at(time, Command::Submit(Arc::new(request.validate().unwrap())));
        self
    }

    pub fn round(&self, bounds: Bounds) -> Plan {
        Planner::new(7).round(&self.0, Timestamp(0), bounds)
    }

    /// One that has seen this version: only a round looks at everything.
    pub fn planner(&self) -> Planner {
        let mut planner = Planner::new(7);
        planner.round(&self.0, Timestamp(0), Bounds { assignments_max: 0, ..Bounds::default() });
        planner
    }

    pub fn plan(&self) -> String {
        let mut text = String::new();
        for item in self.round(Bounds::default()).assignments {
            let worker = &self.0.worker_of(item.epoch).unwrap().name;
            write!(text, "{}/{}[{}]>{worker} ", item.job, item.task, item.index).unwrap();
        }
        text.trim_end().to_owned()
    }

    /// Applies the plan too: all of it must be accepted.
    pub fn apply_plan(&mut self) {
        let items = self.round(Bounds::default()).assignments;
        let index = LogIndex(self.0.index().0 + 1);
        let expected = items.len() as u32;
        let proposals = vec![Proposal { origin: None, command: Command::Assign { items } }];
        let applied = self.0.apply(index, &Entry { time: Timestamp(0), proposals });
        let outcome = quorate_state::outcome::Outcome::Assigned { accepted: expected, stale: 0 };
        assert_eq!(applied.outcomes, [outcome]);
        self.0.check().unwrap();
    }
}
