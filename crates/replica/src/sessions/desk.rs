//! What a worker is told, decided from versions of the state and notices. Sans-IO.
//!
//! The first message of a session, and one after a gap, is the whole truth at an index; between them go
//! differences, in log order. A difference at or below the last whole truth says nothing new.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_consensus::Version;
use quorate_state::job::Job;
use quorate_state::outcome::NoticeKind;
use quorate_types::job::{Driver, TaskSpec};
use quorate_types::limits::INPUTS_BYTES_MAX;
use quorate_types::session::{AttemptKey, Definition, Motion, Order, ToWorker, Work};
use quorate_types::{Epoch, JobId, LogIndex};

use super::inputs;
use super::registry::Inbox;

/// Orders in one message, and bytes of definitions and inputs after which a message is closed. One definition with
/// its inputs is at most about two megabytes, so that a frame stays far below its bound of 16 MiB.
const ORDERS_PER_FRAME: usize = 1_024;
const DEFINITION_BYTES_PER_FRAME: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Desk {
    epoch: Epoch,
    /// The index of the last whole truth.
    whole_at: LogIndex,
}

/// The registration is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fenced;

impl Desk {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, whole_at: LogIndex(0) }
    }

    /// Everything that is this worker's now.
    pub(crate) fn whole(&mut self, version: &Arc<Version>) -> Result<Pieces, Fenced> {
        let worker = version.state.worker_of(self.epoch).ok_or(Fenced)?;
        self.whole_at = version.index;
        let attempts = version.state.attempts_of(worker);
        let all = attempts.iter().map(|(key, _)| *key).collect();
        // What stands still comes with the first message: a worker takes all the rest to go on.
        let stands = |key: &AttemptKey| version.state.job(key.job).is_some_and(|job| job.header.frozen);
        let frozen = attempts.iter().filter(|(key, stopping)| !stopping && stands(key));
        let mut steps: Vec<_> = frozen.map(|(key, _)| Step::Move(*key, Motion::Frozen)).collect();
        steps.extend(attempts.into_iter().flat_map(|(key, stopping)| {
            [Some(Step::Start(key)), stopping.then_some(Step::Stop(key))].into_iter().flatten()
        }));
        let steps = steps.into_iter();
        Ok(Pieces { version: Arc::clone(version), index: version.index, all: Some(all), steps })
    }

    /// What changed since the last message; several messages if it is much.
    pub(crate) fn changes(&mut self, version: &Arc<Version>, inbox: &Inbox) -> Result<Pieces, Fenced> {
        if inbox.resync {
            return self.whole(version);
        }
        let mut index = self.whole_at;
        let mut steps = Vec::new();
        for (at, what) in inbox.notices.iter().filter(|(at, _)| *at > self.whole_at) {
            index = index.max(*at);
            match what {
                NoticeKind::Start(key) => steps.push(Step::Start(*key)),
                NoticeKind::Stop(key) => steps.push(Step::Stop(*key)),
                NoticeKind::Move(key, motion) => steps.push(Step::Move(*key, *motion)),
                NoticeKind::Fenced => return Err(Fenced),
            }
        }
        // All pieces carry the last index: a piece with an earlier one could be taken for an old message.
        Ok(Pieces { version: Arc::clone(version), index, all: None, steps: steps.into_iter() })
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(AttemptKey),
    Stop(AttemptKey),
    Move(AttemptKey, Motion),
}

/// What the worker is told, in messages that fit into frames. Each is made when it is asked for: with what their
/// tasks get to read, all of them together may be large.
#[derive(Debug)]
pub(crate) struct Pieces {
    version: Arc<Version>,
    index: LogIndex,
    /// The whole truth, which the first message tells.
    all: Option<Vec<AttemptKey>>,
    steps: std::vec::IntoIter<Step>,
}

impl Iterator for Pieces {
    type Item = ToWorker;

    fn next(&mut self) -> Option<ToWorker> {
        let mut writer = WorkWriter::new(&self.version);
        while let Some(step) = self.steps.as_slice().first() {
            match step {
                Step::Start(key) if writer.is_full_for(key) => break,
                Step::Start(key) => writer.start(key),
                Step::Stop(key) => writer.work.stop.push(*key),
                Step::Move(key, motion) => writer.work.motion.push((*key, *motion)),
            }
            self.steps.next();
        }
        let (index, work) = (self.index, writer.work);
        match self.all.take() {
            Some(all) => Some(ToWorker::Assigned { index, all, work }),
            None => (work != Work::default()).then_some(ToWorker::Changed { index, work }),
        }
    }
}

/// Collects orders; siblings of an array share a definition.
struct WorkWriter<'a> {
    version: &'a Version,
    work: Work,
    /// About how many bytes the definitions and inputs take.
    bytes: usize,
    /// By task, and whether inputs come with it.
    definitions: HashMap<(JobId, u32, bool), Shared>,
    /// A definition gets what archived jobs left besides, and no other one comes after it.
    last: Option<(JobId, u32)>,
}

/// What siblings share.
#[derive(Clone, Copy)]
struct Shared {
    position: u32,
    /// What is left for the inputs of single elements.
    room: usize,
}

impl<'a> WorkWriter<'a> {
    fn new(version: &'a Version) -> Self {
        Self { version, work: Work::default(), bytes: 0, definitions: HashMap::new(), last: None }
    }

    fn is_full_for(&self, key: &AttemptKey) -> bool {
        self.work.start.len() >= ORDERS_PER_FRAME
            || self.bytes >= DEFINITION_BYTES_PER_FRAME
            || self.last.is_some_and(|last| last != (key.job, key.task))
    }

    fn start(&mut self, key: &AttemptKey) {
        // A job that is gone by now has no live attempts: there is nothing to start.
        let Some(job) = self.version.state.job(key.job) else { return };
        let Some(spec) = job.task_spec(key.task) else { return };
        // Nothing is executed that could read them, or it has them since it started.
        let reads = spec.driver == Driver::Process && !job.has_started(key);
        let shared = match self.definitions.get(&(key.job, key.task, reads)) {
            Some(shared) => *shared,
            None => self.define(job, key.task, spec, reads),
        };
        let inputs = reads.then(|| job.inputs_of_element(key.task, key.index, shared.room)).flatten();
        self.bytes += inputs.as_ref().map_or(0, |inputs| inputs.weight());
        let inputs = inputs.map(Box::new);
        self.work.start.push(Order { key: *key, definition: shared.position, behind: job.behind(key), inputs });
    }

    fn define(&mut self, job: &Job, task: u32, spec: &TaskSpec, reads: bool) -> Shared {
        let inputs = reads.then(|| self.version.state.inputs_of(job, task)).flatten();
        let (own, all) = inputs.as_ref().map_or((0, 0), |inputs| (inputs.own_weight(), inputs.weight()));
        if inputs.as_ref().is_some_and(inputs::waits) {
            self.last = Some((job.id(), task));
        }
        let gang = self.version.state.muster(job, task).map(Box::new);
        self.bytes += spec.weight() + all + gang.as_ref().map_or(0, |gang| gang.weight());
        let shared =
            Shared { position: self.work.definitions.len() as u32, room: INPUTS_BYTES_MAX.saturating_sub(own) };
        let health = job.spec.health_of(task).cloned().map(Box::new);
        self.bytes += health.as_ref().map_or(0, |health| health.weight());
        let (namespace, spec, inputs) = (job.spec.namespace.clone(), Arc::new(spec.clone()), inputs.map(Box::new));
        self.work.definitions.push(Definition { job: job.id(), namespace, spec, inputs, gang, health });
        self.definitions.insert((job.id(), task, reads), shared);
        shared
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::State;
    use quorate_state::command::{Assignment, Command, Entry, Proposal, Registration};
    use quorate_types::inputs::Inputs;
    use quorate_types::job::JobRequest;
    use quorate_types::session::{Finished, Happening, Report};
    use quorate_types::{AttemptNumber, Name, ReplicaId, Resources, TaskIndex, Timestamp};

    use super::*;

    fn apply(version: &mut Version, command: Command) -> Inbox {
        let index = LogIndex(version.index.0 + 1);
        let entry = Entry { time: Timestamp(0), proposals: vec![Proposal { origin: None, command }] };
        let applied = version.state.apply(index, &entry);
        version.index = index;
        let notices = applied.notices.into_iter().map(|notice| (index, notice.what)).collect();
        Inbox { notices, ..Inbox::default() }
    }

    fn assign(version: &mut Version, indexes: std::ops::Range<u32>) -> Inbox {
        let item = |index| Assignment {
            job: JobId(1),
            task: 0,
            index: TaskIndex(index),
            attempt: AttemptNumber(1),
            epoch: Epoch(1),
            behind: None,
        };
        apply(version, Command::Assign { items: indexes.map(item).collect() })
    }

    fn whole(desk: &mut Desk, version: &Version) -> Result<Vec<ToWorker>, Fenced> {
        Ok(desk.whole(&Arc::new(version.clone()))?.collect())
    }

    fn changes(desk: &mut Desk, version: &Version, inbox: &Inbox) -> Result<Vec<ToWorker>, Fenced> {
        Ok(desk.changes(&Arc::new(version.clone()), inbox)?.collect())
    }

    fn version() -> Version {
        let mut version = Version { index: LogIndex(0), state: State::default() };
        let registration = Registration {
            name: Name::new("w").unwrap(),
            labels: Default::default(),
            taints: Vec::new(),
            host: "h".into(),
            capacity: Resources::new(9_000_000, 0),
            instance: 1,
            replaces: None,
            replica: ReplicaId(1),
            lease_ttl: quorate_types::Span(10_000),
        };
        apply(&mut version, Command::Register(Box::new(registration)));
        let json = r#"{"tasks":[{"name":"a","command":["x"],"count":2000}]}"#;
        let spec = serde_json::from_str::<JobRequest>(json).unwrap().validate().unwrap();
        apply(&mut version, Command::Submit(Arc::new(spec)));
        version
    }

    #[test]
    fn differences_follow_the_whole_truth() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        let old = assign(&mut version, 0..3);
        let whole = whole(&mut desk, &version).unwrap();
        let [ToWorker::Assigned { index, all, work }] = whole.as_slice() else { panic!("{whole:?}") };
        assert_eq!((*index, all.len(), work.start.len(), work.definitions.len()), (version.index, 3, 3, 1));
        assert_eq!(changes(&mut desk, &version, &old).unwrap(), [], "said already");

        let new = assign(&mut version, 3..5);
        let changes = changes(&mut desk, &version, &new).unwrap();
        let [ToWorker::Changed { index, work }] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((*index, work.start.len()), (version.index, 2));
    }

    #[test]
    fn a_gap_brings_the_whole_truth_with_what_is_stopping() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        whole(&mut desk, &version).unwrap();
        assign(&mut version, 0..2);
        apply(&mut version, Command::Cancel { job: JobId(1) });
        let changes = changes(&mut desk, &version, &Inbox { resync: true, ..Inbox::default() }).unwrap();
        let [ToWorker::Assigned { work, .. }] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((work.start.len(), work.stop.len()), (2, 2));
    }

    #[test]
    fn an_ended_registration_is_fenced() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        whole(&mut desk, &version).unwrap();
        let inbox = apply(&mut version, Command::Expire { worker: Name::new("w").unwrap(), epoch: Epoch(1) });
        assert_eq!(changes(&mut desk, &version, &inbox), Err(Fenced));
        assert_eq!(whole(&mut desk, &version), Err(Fenced));
    }

    #[test]
    fn much_work_goes_in_several_messages() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        whole(&mut desk, &version).unwrap();
        let inbox = assign(&mut version, 0..1200);
        let changes = changes(&mut desk, &version, &inbox).unwrap();
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|m| matches!(m, ToWorker::Changed { index, .. } if *index == version.index)));
        let whole = whole(&mut Desk::new(Epoch(1)), &version).unwrap();
        let [ToWorker::Assigned { all, .. }, ToWorker::Changed { .. }] = whole.as_slice() else { panic!("{whole:?}") };
        assert_eq!(all.len(), 1200, "the first piece names everything that is the worker's");
    }

    #[test]
    fn large_definitions_are_spread_over_frames() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        let task = |n| format!(r#"{{"name":"t{n}","command":["x"],"stdin":"{}"}}"#, "s".repeat(250_000));
        let json = format!(r#"{{"tasks":[{}]}}"#, (0..16).map(task).collect::<Vec<_>>().join(","));
        let spec = serde_json::from_str::<JobRequest>(&json).unwrap().validate().unwrap();
        apply(&mut version, Command::Submit(Arc::new(spec)));
        let item = |task| Assignment {
            job: JobId(2),
            task,
            index: TaskIndex(0),
            attempt: AttemptNumber(1),
            epoch: Epoch(1),
            behind: None,
        };
        apply(&mut version, Command::Assign { items: (0..16).map(item).collect() });
        let whole = whole(&mut desk, &version).unwrap();
        assert!(whole.len() >= 3, "{} frames", whole.len());
        assert!(whole.iter().all(|message| crate::calls::encode(message).len() < 2 << 20));
    }

    /// A version in which 20 elements ran and left so much each, and those of two tasks that need them are assigned.
    fn with_results(bytes: usize) -> Version {
        let mut version = version();
        let json = r#"{"tasks":[{"name":"a","command":["x"],"count":20},
            {"name":"pairs","command":["x"],"count":20,"needs":[{"task":"a","each":true}]},
            {"name":"all","command":["x"],"count":20,"needs":["a"]},
            {"name":"noop","driver":"noop","needs":["a"]}]}"#;
        let spec = serde_json::from_str::<JobRequest>(json).unwrap().validate().unwrap();
        apply(&mut version, Command::Submit(Arc::new(spec)));
        let item = |task, index| Assignment {
            job: JobId(2),
            task,
            index: TaskIndex(index),
            attempt: AttemptNumber(1),
            epoch: Epoch(1),
            behind: None,
        };
        let started = apply(&mut version, Command::Assign { items: (0..20).map(|at| item(0, at)).collect() });
        let reports = started.notices.into_iter().map(|(_, what)| {
            let NoticeKind::Start(key) = what else { panic!("{what:?}") };
            let result = Some(key.index.to_string().repeat(bytes));
            let ending = quorate_types::status::Ending::Exited(0);
            let ran = quorate_types::Span(1);
            let end = Finished { ending, ran, result, extension: None, stdout_tail: vec![], stderr_tail: vec![] };
            Report { key, what: Happening::Finished(Box::new(end)) }
        });
        let reports = reports.collect();
        apply(&mut version, Command::Report { worker: Name::new("w").unwrap(), epoch: Epoch(1), reports });
        let later = (0..20).flat_map(|at| [item(1, at), item(2, at)]).chain([item(3, 0)]);
        apply(&mut version, Command::Assign { items: later.collect() });
        version
    }

    #[test]
    fn orders_bring_what_their_tasks_need() {
        let version = with_results(1);
        let told = whole(&mut Desk::new(Epoch(1)), &version).unwrap();
        let [ToWorker::Assigned { work, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((work.start.len(), work.definitions.len()), (41, 3));
        for order in &work.start {
            let definition = &work.definitions[order.definition as usize];
            let a = |inputs: &Option<Box<Inputs>>| inputs.as_ref().map(|inputs| inputs.needs.get("a").cloned());
            match (order.key.task, a(&definition.inputs), a(&order.inputs)) {
                (1, Some(None), Some(Some(own))) => {
                    assert_eq!((own.len(), own[0].index), (1, order.key.index));
                    assert_eq!(own[0].result.as_deref(), Some(&*order.key.index.to_string()));
                }
                (2, Some(Some(all)), None) => assert_eq!(all.len(), 20),
                (3, None, None) => {}
                other => panic!("{other:?}"),
            }
        }
        let again = whole(&mut Desk::new(Epoch(1)), &version).unwrap();
        assert_eq!(again, told, "a session that begins anew says the same");
    }

    #[test]
    fn large_inputs_are_spread_over_frames() {
        let version = with_results(32_000);
        let told = whole(&mut Desk::new(Epoch(1)), &version).unwrap();
        let [ToWorker::Assigned { work: first, .. }, ToWorker::Changed { work: second, .. }] = told.as_slice() else {
            panic!("{} messages", told.len())
        };
        assert_eq!(first.start.len() + second.start.len(), 41);
        for work in [first, second] {
            let all = work.definitions.iter().find(|definition| definition.spec.name.as_str() == "all").unwrap();
            assert_eq!(all.inputs.as_ref().unwrap().needs["a"].len(), 20);
        }
        assert!(told.iter().all(|message| crate::calls::encode(message).len() < 3 << 20));
    }
}
