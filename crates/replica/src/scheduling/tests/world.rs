//! Histories of a state, step by step.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_state::State;
use quorate_state::command::{Assignment, Command, Entry, Proposal, Registration, RetryScope};
use quorate_state::element::Element;
use quorate_types::job::JobRequest;
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::{Ending, JobState};
use quorate_types::{Epoch, JobId, LogIndex, Name, ReplicaId, Resources, Span, Timestamp};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit {
        namespace: u8,
        count: u32,
        cpu: u64,
        gpu: u64,
    },
    Worker {
        nth: u8,
        cpu: u64,
        gpu: u64,
    },
    Expire {
        nth: u8,
    },
    Assign {
        nth: u8,
        worker: u8,
    },
    Start {
        nth: u8,
    },
    End {
        nth: u8,
        code: i32,
        ran: u64,
    },
    Cancel {
        nth: u8,
    },
    Pause {
        nth: u8,
    },
    Resume {
        nth: u8,
    },
    Retry {
        nth: u8,
    },
    Pass {
        ms: u64,
    },
    /// For a meter that does not look at every version.
    Look,
}

pub(super) fn steps(pass_ms_max: u64) -> impl Strategy<Value = Vec<Step>> {
    let nth = || any::<u8>();
    let step = prop_oneof![
        3 => (0..2_u8, 1..5_u32, 1..4_u64, 0..2_u64).prop_map(|(namespace, count, cpu, gpu)| Step::Submit { namespace, count, cpu, gpu }),
        2 => (0..4_u8, 1..9_u64, 0..3_u64).prop_map(|(nth, cpu, gpu)| Step::Worker { nth, cpu, gpu }),
        1 => (0..4_u8).prop_map(|nth| Step::Expire { nth }),
        8 => (nth(), 0..4_u8).prop_map(|(nth, worker)| Step::Assign { nth, worker }),
        3 => nth().prop_map(|nth| Step::Start { nth }),
        6 => (nth(), 0..2, 0..5_000_u64).prop_map(|(nth, code, ran)| Step::End { nth, code, ran }),
        1 => nth().prop_map(|nth| Step::Cancel { nth }),
        1 => nth().prop_map(|nth| Step::Pause { nth }),
        1 => nth().prop_map(|nth| Step::Resume { nth }),
        1 => nth().prop_map(|nth| Step::Retry { nth }),
        6 => (1..pass_ms_max).prop_map(|ms| Step::Pass { ms }),
        4 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..100)
}

pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Timestamp,
    instances: u64,
}

impl Default for World {
    fn default() -> Self {
        Self { state: State::default(), now: Timestamp(1_700_000_000_000), instances: 0 }
    }
}

fn nth_of<T>(nth: u8, items: Vec<T>) -> Option<T> {
    let len = items.len();
    items.into_iter().nth(if len == 0 { 0 } else { usize::from(nth) % len })
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        let command = match *step {
            Step::Submit { namespace, count, cpu, gpu } => {
                return self.submit(["a", "b"][usize::from(namespace)], count, cpu, gpu);
            }
            Step::Worker { nth, cpu, gpu } => Some(self.registration(nth, cpu, gpu)),
            Step::Expire { nth } => {
                let worker = name(&format!("w{nth}"));
                let epoch = self.state.worker(worker.as_str()).map(|found| found.epoch);
                epoch.map(|epoch| Command::Expire { worker, epoch })
            }
            Step::Assign { nth, worker } => self.assignment(nth, worker),
            Step::Start { nth } => self.report(nth, Happening::Started),
            Step::End { nth, code, ran } => {
                let finished = Finished {
                    ending: Ending::Exited(code),
                    ran: Span(ran),
                    result: None,
                    extension: None,
                    stdout_tail: vec![],
                    stderr_tail: vec![],
                };
                self.report(nth, Happening::Finished(Box::new(finished)))
            }
            Step::Cancel { nth } => nth_of(nth, self.jobs()).map(|job| Command::Cancel { job }),
            Step::Pause { nth } => nth_of(nth, self.jobs()).map(|job| Command::Pause { job }),
            Step::Resume { nth } => nth_of(nth, self.jobs()).map(|job| Command::Resume { job }),
            Step::Retry { nth } => {
                let finished = self.state.jobs().filter(|job| job.header.state == JobState::Failed);
                let finished: Vec<JobId> = finished.map(|job| job.id()).collect();
                nth_of(nth, finished).map(|job| Command::Retry { job, scope: RetryScope::NotSucceeded })
            }
            Step::Pass { ms } => return self.pass(ms),
            Step::Look => None,
        };
        if let Some(command) = command {
            self.apply(command);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = Timestamp(self.now.0 + ms);
        self.apply(Command::Advance);
    }

    pub(super) fn submit(&mut self, namespace: &str, count: u32, cpu: u64, gpu: u64) {
        let resources = format!(r#"{{"cpu": {cpu}, "memory": "64MiB", "gpu": {gpu}}}"#);
        let task = format!(r#"{{"command": ["true"], "count": {count}, "retries": 1, "resources": {resources}}}"#);
        let json = format!(r#"{{"namespace": "{namespace}", "on_failure": "continue", "tasks": [{task}]}}"#);
        let spec = serde_json::from_str::<JobRequest>(&json).unwrap().validate().unwrap();
        self.apply(Command::Submit(Arc::new(spec)));
    }

    fn apply(&mut self, command: Command) {
        let index = LogIndex(self.state.index().0 + 1);
        let entry = Entry { time: self.now, proposals: vec![Proposal { origin: None, command }] };
        self.state.apply(index, &entry);
        self.state.check().unwrap();
    }

    fn jobs(&self) -> Vec<JobId> {
        self.state.jobs().map(|job| job.id()).collect()
    }

    fn registration(&mut self, nth: u8, cpu: u64, gpu: u64) -> Command {
        self.instances += 1;
        let mut capacity = Resources::new(cpu * 1000, 1 << 30);
        if gpu > 0 {
            capacity.other_millis.insert(name("gpu"), gpu * 1000);
        }
        Command::Register(Box::new(Registration {
            name: name(&format!("w{nth}")),
            labels: Default::default(),
            taints: Vec::new(),
            host: "h".into(),
            capacity,
            instance: self.instances,
            replaces: None,
            replica: ReplicaId(1),
            lease_ttl: Span(10_000),
        }))
    }

    fn assignment(&self, nth: u8, worker: u8) -> Option<Command> {
        let epoch: Epoch = nth_of(worker, self.state.registrations().keys().copied().collect())?;
        let queued = nth_of(nth, self.state.queue().iter().collect())?;
        let (index, attempt) = self.state.job(queued.job)?.task(queued.task)?.pending().next()?;
        let item = Assignment { job: queued.job, task: queued.task, index, attempt, epoch, behind: None };
        Some(Command::Assign { items: vec![item] })
    }

    /// Of one of the live attempts.
    fn report(&self, nth: u8, what: Happening) -> Option<Command> {
        let live = self.state.workers().flat_map(|worker| {
            worker.attempts.iter().map(|(key, live)| (worker.name.clone(), worker.epoch, *key, *live))
        });
        let (worker, epoch, at, live) = nth_of(nth, live.collect())?;
        let key = AttemptKey { job: at.job, task: at.task, index: at.index, attempt: live.number, fence: live.fence };
        Some(Command::Report { worker, epoch, reports: vec![Report { key, what }] })
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Every element with a record, with its job.
pub(super) fn elements(state: &State) -> impl Iterator<Item = (&quorate_state::job::Job, &Element)> {
    let tasks = state.jobs().flat_map(|job| job.tasks().map(move |(_, task, _)| (job, task)));
    tasks.flat_map(|(job, task)| task.elements().map(move |(_, element)| (job.as_ref(), element)))
}
