//! A cluster in a few words.

use std::sync::Arc;

use quorate_placement::{Bounds, Planner, explain};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal, Registration};
use quorate_state::outcome::Outcome;
use quorate_types::explain::Explanation;
use quorate_types::job::JobRequest;
use quorate_types::policy::PolicyChange;
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{JobId, LogIndex, Name, Span, TaskIndex, Timestamp};

use crate::view::registration;

/// 2026-01-01, midnight.
pub(crate) const MIDNIGHT: Timestamp = Timestamp(1_767_225_600_000);

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { state: State::default(), now: MIDNIGHT }
    }

    /// With a policy such as `{"queue":"sjf"}`.
    pub(crate) fn under(policy: &str) -> Self {
        let mut world = Self::new();
        let change: PolicyChange = serde_json::from_str(policy).unwrap();
        world.apply(Command::ChangePolicy(change));
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        let index = LogIndex(self.state.index().0 + 1);
        let entry = Entry { time: self.now, proposals: vec![Proposal { origin: None, command }] };
        let outcome = self.state.apply(index, &entry).outcomes.remove(0);
        self.state.check().unwrap();
        outcome
    }

    pub(crate) fn entitle(&mut self, namespace: &str, rules: &str) {
        let rules = Box::new(serde_json::from_str(rules).unwrap());
        self.apply(Command::SetNamespace { namespace: Name::new(namespace).unwrap(), rules });
    }

    pub(crate) fn worker(&mut self, name: &str, capacity: &str) {
        self.labelled(name, capacity, &[], &[]);
    }

    /// A worker with labels such as `zone=eu`, and taints.
    pub(crate) fn labelled(&mut self, name: &str, capacity: &str, labels: &[&str], taints: &[&str]) {
        let instance = self.state.index().0;
        let registration = Registration { instance, ..registration(name, capacity, labels, taints) };
        self.apply(Command::Register(Box::new(registration)));
    }

    pub(crate) fn job(&mut self, json: &str) -> u64 {
        let request: JobRequest = serde_json::from_str(json).unwrap();
        match self.apply(Command::Submit(Arc::new(request.validate().unwrap()))) {
            Outcome::Submitted { job, .. } => job.0,
            other => panic!("{other:?}"),
        }
    }

    /// One task called `main` with these fields.
    pub(crate) fn task(&mut self, fields: &str) -> u64 {
        self.job(&format!(r#"{{"tasks":[{{"name":"main","command":["x"],{fields}}}]}}"#))
    }

    pub(crate) fn pass(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.apply(Command::Advance);
    }

    /// A round of a leader that begins now.
    pub(crate) fn round(&mut self) {
        let plan = Planner::new(1).round(&self.state, self.now, Bounds::default());
        if !plan.assignments.is_empty() {
            self.apply(Command::Assign { items: plan.assignments });
        }
        if !plan.preemptions.is_empty() {
            self.apply(Command::Preempt { items: plan.preemptions });
        }
    }

    /// The workers say that all they have runs.
    pub(crate) fn start(&mut self) {
        self.report(|_| Some(Happening::Started));
    }

    /// The live attempts of a job end.
    pub(crate) fn finish(&mut self, job: u64, ending: &Ending) {
        self.report(|key| {
            let finished = Finished {
                ending: ending.clone(),
                ran: Span(10),
                result: None,
                extension: None,
                stdout_tail: vec![],
                stderr_tail: vec![],
            };
            (key.job == JobId(job)).then(|| Happening::Finished(Box::new(finished)))
        });
    }

    fn report(&mut self, what: impl Fn(AttemptKey) -> Option<Happening>) {
        let workers: Vec<_> = self.state.workers().filter(|worker| worker.is_alive()).cloned().collect();
        for worker in workers {
            let key = |(key, live): (&quorate_state::job::ElementKey, &quorate_state::worker::LiveAttempt)| {
                AttemptKey { job: key.job, task: key.task, index: key.index, attempt: live.number, fence: live.fence }
            };
            let keys = worker.attempts.iter().map(key);
            let reports = keys.filter_map(|key| Some(Report { key, what: what(key)? })).collect();
            let (epoch, worker) = (worker.epoch, worker.name.clone());
            self.apply(Command::Report { worker, epoch, reports });
        }
    }

    pub(crate) fn explain(&self, job: u64, task: &str, index: u32) -> Explanation {
        let at = self.state.job(JobId(job)).unwrap().spec.position(task).unwrap();
        explain::element(&self.state, self.now, JobId(job), at, TaskIndex(index)).unwrap()
    }

    /// The sentences, and behind `>` what would unblock it.
    pub(crate) fn says(&self, job: u64, task: &str, index: u32) -> String {
        let explanation = self.explain(job, task, index);
        let ways = explanation.unblock.iter().map(|way| format!("> {way}"));
        explanation.sentences.iter().cloned().chain(ways).collect::<Vec<_>>().join("\n")
    }
}

/// Compares line by line; the expected text is indented as the test is.
#[track_caller]
pub(crate) fn same(said: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "\n{said}\n");
}

/// Each of these sentences is among what is said.
#[track_caller]
pub(crate) fn tells(said: &str, sentences: &[&str]) {
    let missing: Vec<&&str> = sentences.iter().filter(|sentence| !said.contains(**sentence)).collect();
    assert!(missing.is_empty(), "{missing:#?} is not in\n{said}\n");
}
