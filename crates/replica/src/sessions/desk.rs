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

/// Orders in one message, and bytes of definitions after which a message is closed. One definition is at
/// most about a megabyte, so that a frame stays far below its bound of 16 MiB.
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
    pub(crate) fn whole(&mut self, version: &Version) -> Result<Vec<ToWorker>, Fenced> {
        let worker = version.state.worker_of(self.epoch).ok_or(Fenced)?;
        self.whole_at = version.index;
        let index = version.index;
        let attempts = version.state.attempts_of(worker);
        let all = attempts.iter().map(|(key, _)| *key).collect();
        let mut writer = WorkWriter::new(version);
        for (key, stopping) in &attempts {
            writer.start(key);
            if *stopping {
                writer.stop(key);
            }
        }
        let mut works = writer.finish().into_iter();
        let first = ToWorker::Assigned { index, all, work: works.next().unwrap_or_default() };
        Ok(std::iter::once(first).chain(works.map(|work| ToWorker::Changed { index, work })).collect())
    }

    /// What changed since the last message; several messages if it is much.
    pub(crate) fn changes(&mut self, version: &Version, inbox: &Inbox) -> Result<Vec<ToWorker>, Fenced> {
        if inbox.resync {
            return self.whole(version);
        }
        let mut index = self.whole_at;
        let mut writer = WorkWriter::new(version);
        for (at, what) in inbox.notices.iter().filter(|(at, _)| *at > self.whole_at) {
            index = index.max(*at);
            match what {
                NoticeKind::Start(key) => writer.start(key),
                NoticeKind::Stop(key) => writer.stop(key),
                NoticeKind::Fenced => return Err(Fenced),
            }
        }
        // All pieces carry the last index: a piece with an earlier one could be taken for an old message.
        Ok(writer.finish().into_iter().map(|work| ToWorker::Changed { index, work }).collect())
    }
}

/// Collects orders into pieces that fit into frames; siblings of an array share a definition.
struct WorkWriter<'a> {
    version: &'a Version,
    done: Vec<Work>,
    work: Work,
    /// About how many bytes the definitions of the present piece take.
    bytes: usize,
    positions: HashMap<(JobId, u32), u32>,
}

impl<'a> WorkWriter<'a> {
    fn new(version: &'a Version) -> Self {
        Self { version, done: Vec::new(), work: Work::default(), bytes: 0, positions: HashMap::new() }
    }

    fn start(&mut self, key: &AttemptKey) {
        // A job that is gone by now has no live attempts: there is nothing to start.
        let Some(job) = self.version.state.job(key.job) else { return };
        let Some(spec) = job.task_spec(key.task) else { return };
        if self.work.start.len() >= ORDERS_PER_FRAME || self.bytes >= DEFINITION_BYTES_PER_FRAME {
            self.cut();
        }
        let definition = *self.positions.entry((key.job, key.task)).or_insert_with(|| {
            self.bytes += spec.weight();
            let namespace = job.spec.namespace.clone();
            self.work.definitions.push(Definition { job: key.job, namespace, spec: Arc::new(spec.clone()) });
            (self.work.definitions.len() - 1) as u32
        });
        self.work.start.push(Order { key: *key, definition });
    }

    fn stop(&mut self, key: &AttemptKey) {
        self.work.stop.push(*key);
    }

    fn cut(&mut self) {
        self.done.push(std::mem::take(&mut self.work));
        self.bytes = 0;
        self.positions.clear();
    }

    fn finish(mut self) -> Vec<Work> {
        if self.work != Work::default() {
            self.cut();
        }
        self.done
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
        let whole = desk.whole(&version).unwrap();
        let [ToWorker::Assigned { index, all, work }] = whole.as_slice() else { panic!("{whole:?}") };
        assert_eq!((*index, all.len(), work.start.len(), work.definitions.len()), (version.index, 3, 3, 1));
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
        let changes = desk.changes(&version, &inbox).unwrap();
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|m| matches!(m, ToWorker::Changed { index, .. } if *index == version.index)));
        let whole = Desk::new(Epoch(1)).whole(&version).unwrap();
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
        let item =
            |task| Assignment { job: JobId(2), task, index: TaskIndex(0), attempt: AttemptNumber(1), epoch: Epoch(1) };
        apply(&mut version, Command::Assign { items: (0..16).map(item).collect() });
        let whole = desk.whole(&version).unwrap();
        assert!(whole.len() >= 3, "{} frames", whole.len());
        assert!(whole.iter().all(|message| crate::calls::encode(message).len() < 2 << 20));
    }
}
