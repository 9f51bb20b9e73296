//! What really runs, on all workers, and what really came of it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::session::AttemptKey;
use quorate_types::{JobId, Name, TaskIndex};
use serde_json::json;

use crate::applied::Attempt;
use crate::history::Violation;

/// The task of every service. Its versions are tasks of its job, of which an element runs one at a time.
pub(crate) const KEPT: &str = "kept";

/// One element of a task: what may run only once at a time.
type Element = (JobId, u32, TaskIndex);

/// The counted resource of the simulated cluster, and how many there are of it.
pub(crate) const RESOURCE: &str = "m";
pub(crate) const RESOURCE_TOTAL: u32 = 3;
/// How the names of tasks begin that make up the gang of their job. What starts at once is never beside what started
/// before.
pub(crate) const GANG: &str = "gang-";

/// How the names of tasks begin that require a zone; it follows.
pub(crate) const ONLY: &str = "only-";
/// The zones, of the workers with an even number and of those with an odd one.
pub(crate) const ZONES: [&str; 2] = ["z0", "z1"];

/// The task of jobs with the key of which so many may run at a time.
pub(crate) const KEYED: &str = "keyed";
pub(crate) const KEY_LIMIT: usize = 2;
/// The task of processes that take a lock.
pub(crate) const LOCKER: &str = "locker";
/// Not so many elements, but the one of the same number.
pub(crate) const EACH: u32 = 0;

/// What a simulated process is told: `run MILLISECONDS EXIT_CODE TASK NEED:COUNT,... HOLDS ADDED`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) millis: u64,
    pub(crate) code: i32,
    pub(crate) task: String,
    /// Tasks of which so many elements must have succeeded before, or [`EACH`].
    pub(crate) needs: Vec<(String, u32)>,
    /// How much of the cluster's resource it holds.
    pub(crate) holds: u32,
    /// How many elements of a task called [`ADDED`] it adds to its job, before the one called [`GATHER`].
    pub(crate) adds: u32,
}

/// A task whose elements are over at once, but for every sixteenth, which is not. Each holds one of the resource.
pub(crate) const SHORT: &str = "short";
const SHORT_BUT_LONG_MILLIS: u64 = 400;
pub(crate) const ADDED: &str = "added";
pub(crate) const GATHER: &str = "gather";
/// How long an added task runs.
const ADDED_MILLIS: u64 = 300;

impl Program {
    pub(crate) fn to_argv(&self) -> Vec<String> {
        let needs: Vec<String> = self.needs.iter().map(|(task, count)| format!("{task}:{count}")).collect();
        let (millis, code) = (self.millis.to_string(), self.code.to_string());
        let (holds, adds) = (self.holds.to_string(), self.adds.to_string());
        vec!["run".into(), millis, code, self.task.clone(), needs.join(","), holds, adds]
    }

    /// How long this element of its task runs.
    pub(crate) fn millis_of(&self, index: TaskIndex) -> u64 {
        if self.task == SHORT && index.0 % 16 == 15 { SHORT_BUT_LONG_MILLIS } else { self.millis }
    }

    /// The text in which it adds tasks to its job.
    pub(crate) fn extension(&self) -> Option<String> {
        let added = Self { millis: ADDED_MILLIS, task: ADDED.into(), ..Self::default() };
        let task = json!({"name": ADDED, "count": self.adds, "command": added.to_argv(), "before": [GATHER]});
        (self.adds > 0).then(|| task.to_string())
    }

    pub(crate) fn of(argv: &[String]) -> Self {
        let text = |at: usize| argv.get(at).map(String::as_str).unwrap_or_default();
        let need = |text: &str| {
            let (task, count) = text.split_once(':')?;
            Some((task.to_owned(), count.parse().ok()?))
        };
        Self {
            millis: text(1).parse().unwrap_or_default(),
            code: text(2).parse().unwrap_or_default(),
            task: text(3).to_owned(),
            needs: text(4).split(',').filter_map(need).collect(),
            holds: text(5).parse().unwrap_or_default(),
            adds: text(6).parse().unwrap_or_default(),
        }
    }
}

#[derive(Debug)]
struct Process {
    worker: String,
    key: AttemptKey,
    holds: u32,
    in_gang: bool,
    has_key: bool,
    takes_lock: bool,
}

/// Who was told last that it has a lock, and believes it still.
#[derive(Debug)]
struct Holder {
    token: u64,
    key: AttemptKey,
    believes: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Physical {
    running: BTreeMap<Element, Process>,
    services: BTreeSet<JobId>,
    locks: BTreeMap<&'static str, Holder>,
    pub(crate) started: u64,
    /// Processes that exited with 0, by themselves.
    succeeded: BTreeSet<Attempt>,
    /// Which elements of which tasks have succeeded at least once.
    done: BTreeMap<(JobId, String), BTreeSet<TaskIndex>>,
}

/// The zone of a worker, which has a number at the end of its name.
pub(crate) fn zone_of(worker: &str) -> &'static str {
    let is_odd = worker.as_bytes().last().is_some_and(|digit| digit % 2 == 1);
    ZONES[usize::from(is_odd)]
}

impl Physical {
    pub(crate) fn start(&mut self, worker: &str, key: AttemptKey, program: &Program) -> Result<(), Violation> {
        self.started += 1;
        for (need, count) in &program.needs {
            let done = self.done.get(&(key.job, need.clone()));
            if *count == EACH && !done.is_some_and(|done| done.contains(&key.index)) {
                return Err(format!("{key:?} starts on {worker} although {need}[{}] has not succeeded", key.index));
            }
            let done = done.map_or(0, BTreeSet::len);
            if done < *count as usize {
                return Err(format!(
                    "{key:?}, of task {}, starts on {worker} although only {done} of {count} of what it needs, {need}, \
                     have succeeded",
                    program.task
                ));
            }
        }
        if program.task.strip_prefix(ONLY).is_some_and(|zone| zone != zone_of(worker)) {
            return Err(format!("{key:?}, of task {}, starts on {worker}, in {}", program.task, zone_of(worker)));
        }
        if program.task == KEPT {
            self.services.insert(key.job);
        }
        let in_gang = program.task.starts_with(GANG);
        let mut others = self.running.values().filter(|other| other.in_gang && other.key.job == key.job);
        if in_gang && let Some(Process { key: other, .. }) = others.find(|other| other.key.fence != key.fence) {
            return Err(format!("{key:?} starts on {worker} while {other:?} of an earlier start of its gang runs"));
        }
        let has_key = program.task == KEYED;
        let takes_lock = program.task == LOCKER;
        let process = Process { worker: worker.to_owned(), key, holds: program.holds, in_gang, has_key, takes_lock };
        if let Some(Process { worker: other, key: before, .. }) = self.running.insert(self.element(&key), process) {
            return Err(format!("{key:?} starts on {worker} while {before:?} runs on {other}"));
        }
        let held: u32 = self.running.values().map(|process| process.holds).sum();
        if held > RESOURCE_TOTAL {
            return Err(format!("{key:?} starts on {worker}, and {held} of {RESOURCE_TOTAL} {RESOURCE} are held"));
        }
        let with_key: BTreeSet<JobId> =
            self.running.values().filter(|process| process.has_key).map(|process| process.key.job).collect();
        if has_key && with_key.len() > KEY_LIMIT {
            return Err(format!("{key:?} starts on {worker}, and {with_key:?} have a key of {KEY_LIMIT}"));
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, key: &AttemptKey) {
        let element = self.element(key);
        self.running.remove(&element);
        self.locks.keys().copied().collect::<Vec<_>>().into_iter().for_each(|lock| self.let_go(lock, key));
    }

    /// The processes that run and have to do with a lock.
    pub(crate) fn lockers(&self) -> Vec<AttemptKey> {
        self.running.values().filter(|process| process.takes_lock).map(|process| process.key).collect()
    }

    /// A process is told that it has the lock. Those that run can't be two, and tokens only grow.
    pub(crate) fn hold(&mut self, lock: &'static str, token: u64, key: &AttemptKey) -> Result<(), Violation> {
        if self.running.get(&self.element(key)).is_none_or(|process| process.key != *key) {
            return Ok(());
        }
        if let Some(last) = self.locks.get(lock).filter(|last| last.key != *key)
            && (last.believes || token <= last.token)
        {
            return Err(format!("{key:?} has the lock {lock} with the token {token}, and there is {last:?}"));
        }
        self.locks.insert(lock, Holder { token, key: *key, believes: true });
        Ok(())
    }

    /// A process gives the lock back, or has ended.
    pub(crate) fn let_go(&mut self, lock: &'static str, key: &AttemptKey) {
        let holder = self.locks.get_mut(lock).filter(|holder| holder.key == *key);
        holder.into_iter().for_each(|holder| holder.believes = false);
    }

    fn element(&self, key: &AttemptKey) -> Element {
        (key.job, if self.services.contains(&key.job) { 0 } else { key.task }, key.index)
    }

    /// A process exited with 0.
    pub(crate) fn succeed(&mut self, key: &AttemptKey, task: &str) {
        self.done.entry((key.job, task.to_owned())).or_default().insert(key.index);
        self.succeeded.extend(attempt(key, task));
    }

    /// An accepted success must be of a process that exited with 0.
    pub(crate) fn check(&self, accepted: &Attempt) -> Result<(), Violation> {
        if self.succeeded.contains(accepted) {
            return Ok(());
        }
        Err(format!("{accepted:?} counts as a success, and no such process has exited with 0"))
    }
}

fn attempt(key: &AttemptKey, task: &str) -> Option<Attempt> {
    Some(Attempt { job: key.job, task: Name::new(task).ok()?, index: key.index, number: key.attempt })
}

#[cfg(test)]
mod tests {
    use quorate_types::{AttemptNumber, Fence};

    use super::*;

    fn key(task: u32, index: u32) -> AttemptKey {
        AttemptKey { job: JobId(3), task, index: TaskIndex(index), attempt: AttemptNumber(1), fence: Fence(9) }
    }

    #[test]
    fn a_program_survives_its_argv() {
        let needs = vec![("a".to_owned(), 2), ("b".to_owned(), 1)];
        let program = Program { millis: 12, code: 1, task: "c".into(), needs, holds: 2, adds: 3 };
        assert_eq!(Program::of(&program.to_argv()), program);
    }

    #[test]
    fn nothing_starts_before_what_it_needs() {
        let mut physical = Physical::default();
        let after = Program { task: "after".into(), needs: vec![("first".into(), 2)], ..Program::default() };
        physical.start("w", key(1, 0), &after).unwrap_err();
        physical.succeed(&key(0, 0), "first");
        physical.succeed(&key(0, 0), "first");
        physical.start("w", key(1, 0), &after).unwrap_err();
        physical.succeed(&key(0, 1), "first");
        physical.start("w", key(1, 0), &after).unwrap();
        physical.start("v", key(1, 0), &after).unwrap_err();
    }

    #[test]
    fn no_more_is_held_than_there_is() {
        let mut physical = Physical::default();
        let holds = |holds| Program { holds, ..Program::default() };
        physical.start("w", key(0, 0), &holds(2)).unwrap();
        physical.start("w", key(0, 1), &holds(RESOURCE_TOTAL - 1)).unwrap_err();
        physical.end(&key(0, 0));
        physical.start("w", key(0, 2), &holds(1)).unwrap();
    }

    #[test]
    fn an_element_waits_for_the_one_of_its_number() {
        let mut physical = Physical::default();
        let two = Program { task: "two".into(), needs: vec![("one".into(), EACH)], ..Program::default() };
        physical.succeed(&key(0, 1), "one");
        physical.start("w", key(1, 0), &two).unwrap_err();
        physical.start("w", key(1, 1), &two).unwrap();
    }

    #[test]
    fn no_more_jobs_have_a_key_than_may() {
        let mut physical = Physical::default();
        let keyed = Program { task: KEYED.into(), ..Program::default() };
        let of = |job| AttemptKey { job: JobId(job), ..key(0, 0) };
        physical.start("w", of(1), &keyed).unwrap();
        physical.start("w", of(2), &keyed).unwrap();
        physical.start("v", of(3), &keyed).unwrap_err();
        physical.end(&of(1));
        physical.end(&of(3));
        physical.start("v", of(3), &keyed).unwrap();
    }

    #[test]
    fn a_lock_has_one_holder_and_tokens_grow() {
        let mut physical = Physical::default();
        let locker = Program { task: LOCKER.into(), ..Program::default() };
        let of = |job| AttemptKey { job: JobId(job), ..key(0, 0) };
        (1..=3).for_each(|job| physical.start("w", of(job), &locker).unwrap());
        assert_eq!(physical.lockers().len(), 3);
        physical.hold("x", 1, &of(1)).unwrap();
        physical.hold("y", 1, &of(2)).unwrap();
        physical.hold("x", 2, &of(2)).unwrap_err();
        physical.end(&of(1));
        physical.hold("x", 1, &of(2)).unwrap_err();
        physical.hold("x", 2, &of(2)).unwrap();
        physical.let_go("x", &of(2));
        physical.hold("x", 3, &of(3)).unwrap();
        physical.hold("x", 3, &of(1)).unwrap();
    }

    #[test]
    fn a_success_is_of_a_process_that_succeeded() {
        let mut physical = Physical::default();
        let accepted = attempt(&key(0, 0), "first").unwrap();
        physical.check(&accepted).unwrap_err();
        physical.succeed(&key(0, 0), "first");
        physical.check(&accepted).unwrap();
    }
}
