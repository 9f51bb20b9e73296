//! What a worker is told, decided from versions of the state and notices. Sans-IO.
//!
//! The first message of a session, and one after a gap, is the whole truth at an index; between them go
//! differences, in log order. A difference at or below the last whole truth says nothing new.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_consensus::Version;
use quorate_state::outcome::NoticeKind;
use quorate_types::session::{AttemptKey, Definition, Order, ToWorker, Work};
use quorate_types::{Epoch, JobId, LogIndex};

use super::registry::Inbox;

/// Orders in one message: with large specifications a frame must stay within its bound.
const ORDERS_PER_FRAME: usize = 512;

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
    pub(crate) fn whole(&mut self, version: &Version) -> Result<Vec<ToWorker>, Fenced> {
        let worker = version.state.worker_of(self.epoch).ok_or(Fenced)?;
        self.whole_at = version.index;
        let index = version.index;
        let mut writer = WorkWriter::new(version);
        for (key, stopping) in version.state.attempts_of(worker) {
            writer.start(&key);
            if stopping {
                writer.stop(&key);
            }
        }
        Ok(vec![ToWorker::Assigned { index, work: writer.work }])
    }

    /// What changed since the last message; several messages if it is much.
    pub(crate) fn changes(&mut self, version: &Version, inbox: &Inbox) -> Result<Vec<ToWorker>, Fenced> {
        if inbox.notices.iter().any(|(_, what)| *what == NoticeKind::Fenced) {
            return Err(Fenced);
        }
        if inbox.resync {
            return self.whole(version);
        }
        let fresh: Vec<_> = inbox.notices.iter().filter(|(index, _)| *index > self.whole_at).collect();
        let chunks = fresh.chunks(ORDERS_PER_FRAME);
        Ok(chunks.map(|chunk| changed(version, chunk)).collect())
    }
}

fn changed(version: &Version, notices: &[&(LogIndex, NoticeKind)]) -> ToWorker {
    let mut writer = WorkWriter::new(version);
    let mut index = LogIndex(0);
    for (at, what) in notices {
        index = index.max(*at);
        match what {
            NoticeKind::Start(key) => writer.start(key),
            NoticeKind::Stop(key) => writer.stop(key),
            NoticeKind::Fenced => {}
        }
    }
    ToWorker::Changed { index, work: writer.work }
}

/// Collects orders; siblings of an array share a definition.
struct WorkWriter<'a> {
    version: &'a Version,
    work: Work,
    positions: HashMap<(JobId, u32), u32>,
}

impl<'a> WorkWriter<'a> {
    fn new(version: &'a Version) -> Self {
        Self { version, work: Work::default(), positions: HashMap::new() }
    }

    fn start(&mut self, key: &AttemptKey) {
        // A job that is gone by now has no live attempts: there is nothing to start.
        let Some(job) = self.version.state.job(key.job) else { return };
        let Some(spec) = job.task_spec(key.task) else { return };
        let definitions = &mut self.work.definitions;
        let definition = *self.positions.entry((key.job, key.task)).or_insert_with(|| {
            let namespace = job.spec.namespace.clone();
            definitions.push(Definition { job: key.job, namespace, spec: Arc::new(spec.clone()) });
            (definitions.len() - 1) as u32
        });
        self.work.start.push(Order { key: *key, definition });
    }

    fn stop(&mut self, key: &AttemptKey) {
        self.work.stop.push(*key);
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::State;
    use quorate_state::command::{Assignment, Command, Entry, Proposal, Registration};
    use quorate_types::job::JobRequest;
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
        };
        apply(version, Command::Assign { items: indexes.map(item).collect() })
    }

    fn version() -> Version {
        let mut version = Version { index: LogIndex(0), state: State::default() };
        let registration = Registration {
            name: Name::new("w").unwrap(),
            labels: Default::default(),
            capacity: Resources::new(9_000_000, 0),
            instance: 1,
            replaces: None,
            replica: ReplicaId(1),
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
        let whole = desk.whole(&version).unwrap();
        let [ToWorker::Assigned { index, work }] = whole.as_slice() else { panic!("{whole:?}") };
        assert_eq!((*index, work.start.len(), work.definitions.len()), (version.index, 3, 1));
        assert_eq!(desk.changes(&version, &old).unwrap(), [], "said already");

        let new = assign(&mut version, 3..5);
        let changes = desk.changes(&version, &new).unwrap();
        let [ToWorker::Changed { index, work }] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((*index, work.start.len()), (version.index, 2));
    }

    #[test]
    fn a_gap_brings_the_whole_truth_with_what_is_stopping() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        desk.whole(&version).unwrap();
        assign(&mut version, 0..2);
        apply(&mut version, Command::Cancel { job: JobId(1) });
        let changes = desk.changes(&version, &Inbox { resync: true, ..Inbox::default() }).unwrap();
        let [ToWorker::Assigned { work, .. }] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((work.start.len(), work.stop.len()), (2, 2));
    }

    #[test]
    fn an_ended_registration_is_fenced() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        desk.whole(&version).unwrap();
        let inbox = apply(&mut version, Command::Expire { worker: Name::new("w").unwrap(), epoch: Epoch(1) });
        assert_eq!(desk.changes(&version, &inbox), Err(Fenced));
        assert_eq!(desk.whole(&version), Err(Fenced));
    }

    #[test]
    fn much_work_goes_in_several_messages() {
        let (mut version, mut desk) = (version(), Desk::new(Epoch(1)));
        desk.whole(&version).unwrap();
        let inbox = assign(&mut version, 0..1200);
        assert_eq!(desk.changes(&version, &inbox).unwrap().len(), 3);
    }
}
