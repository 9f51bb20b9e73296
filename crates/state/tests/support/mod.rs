//! A state with a log, for tests: proposes, applies, and checks every invariant after each entry.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::State;
use quorate_state::archive::{self, JobRecord, Recalled};
use quorate_state::command::{Assignment, Command, Entry, Origin, Proposal, Registration};
use quorate_state::outcome::{Applied, ArchiveKey, ArchiveOp, Outcome};
use quorate_types::job::JobRequest;
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{
    AttemptNumber, Epoch, Fence, JobId, JobSpec, LogIndex, Name, ReplicaId, Resources, Span, TaskIndex, Timestamp,
};

pub struct Cluster {
    pub state: State,
    pub log: Vec<(LogIndex, Entry)>,
    pub now: Timestamp,
    pub last: Applied,
    /// What the archive has.
    pub archive: BTreeMap<ArchiveKey, Arc<[u8]>>,
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn spec(json: &str) -> Arc<JobSpec> {
    Arc::new(serde_json::from_str::<JobRequest>(json).unwrap().validate().unwrap())
}

pub fn key(job: u64, task: u32, index: u32, attempt: u32, fence: u64) -> AttemptKey {
    AttemptKey { job: JobId(job), task, index: TaskIndex(index), attempt: AttemptNumber(attempt), fence: Fence(fence) }
}

pub fn finished(ending: Ending) -> Finished {
    Finished { ending, ran: Span(10), result: None, extension: None, stdout_tail: vec![], stderr_tail: vec![] }
}

impl Default for Cluster {
    fn default() -> Self {
        let now = Timestamp(1_700_000_000_000);
        Self { state: State::default(), log: vec![], now, last: Applied::default(), archive: BTreeMap::new() }
    }
}

impl Cluster {
    pub fn apply(&mut self, command: Command) -> Outcome {
        self.apply_from(None, command)
    }

    pub fn apply_from(&mut self, origin: Option<Origin>, command: Command) -> Outcome {
        let entry = Entry { time: self.now, proposals: vec![Proposal { origin, command }] };
        self.apply_entry(entry)
    }

    pub fn apply_entry(&mut self, entry: Entry) -> Outcome {
        let index = LogIndex(self.state.index().0 + 1);
        self.last = self.state.apply(index, &entry);
        self.log.push((index, entry));
        for op in &self.last.archive {
            match op {
                ArchiveOp::Put { key, value } => drop(self.archive.insert(*key, value.clone())),
                ArchiveOp::Drop(job) => self.archive.retain(|key, _| key.job() != *job),
            }
        }
        self.state.check().unwrap_or_else(|violation| panic!("after {index}: {violation}\n{:#?}", self.log.last()));
        self.last.outcomes.last().cloned().unwrap_or(Outcome::Done)
    }

    /// All that the archive has of a job.
    pub fn recalled(&self, job: JobId) -> Box<Recalled> {
        let value = self.archive[&ArchiveKey::Job(job)].to_vec();
        let record: JobRecord = archive::decode(&value).unwrap();
        let blocks = record.blocks().map(|key| self.archive[&key].to_vec()).collect();
        Box::new(Recalled { job: value, blocks })
    }

    pub fn submit(&mut self, json: &str) -> JobId {
        match self.apply(Command::Submit(spec(json))) {
            Outcome::Submitted { job, .. } => job,
            other => panic!("{json} gave {other:?}"),
        }
    }

    pub fn worker(&mut self, worker: &str, cpu: u64, instance: u64, replaces: Option<u64>) -> Outcome {
        self.apply(Command::Register(Box::new(Registration {
            name: name(worker),
            labels: Default::default(),
            taints: Vec::new(),
            host: "h".into(),
            capacity: Resources::new(cpu * 1000, 1 << 30),
            instance,
            replaces,
            replica: ReplicaId(1),
            lease_ttl: quorate_types::Span(10_000),
        })))
    }

    pub fn ready_worker(&mut self, worker: &str, cpu: u64) -> Epoch {
        match self.worker(worker, cpu, 1, None) {
            Outcome::Registered { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }

    /// Assigns the next attempt of an element; gives its key if that was accepted.
    pub fn assign(&mut self, job: JobId, task: u32, index: u32, epoch: Epoch) -> Option<AttemptKey> {
        let found = self.state.job(job)?.task(task)?;
        let attempt = found.element(TaskIndex(index)).map_or(AttemptNumber(1), |e| e.next_attempt());
        let item = Assignment { job, task, index: TaskIndex(index), attempt, epoch, behind: None };
        match self.apply(Command::Assign { items: vec![item] }) {
            Outcome::Assigned { accepted: 1, stale: 0 } => {
                Some(key(job.0, task, index, attempt.0, self.state.index().0))
            }
            Outcome::Assigned { accepted: 0, stale: 1 } => None,
            other => panic!("{other:?}"),
        }
    }

    pub fn report(&mut self, worker: &str, epoch: Epoch, key: AttemptKey, what: Happening) -> Outcome {
        let reports = vec![Report { key, what }];
        self.apply(Command::Report { worker: name(worker), epoch, reports })
    }

    pub fn finish(&mut self, worker: &str, epoch: Epoch, key: AttemptKey, ending: Ending) -> Outcome {
        self.report(worker, epoch, key, Happening::Finished(Box::new(finished(ending))))
    }

    pub fn task_state(&self, job: JobId, task: u32, index: u32) -> TaskState {
        self.state.job(job).unwrap().task(task).unwrap().state_of(TaskIndex(index)).unwrap()
    }

    pub fn pass(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.apply(Command::Advance);
    }

    pub fn event_types(&self) -> Vec<&'static str> {
        self.last.events.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The same log on a fresh state.
    pub fn replay(&self) -> State {
        let mut state = State::default();
        for (index, entry) in &self.log {
            state.apply(*index, entry);
        }
        state
    }
}
