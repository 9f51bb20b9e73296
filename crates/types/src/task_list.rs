//! The tasks of a job by position: those that were submitted, and those that it has gained since.
//!
//! A job may gain tasks often, and each version of it is a value of its own. So the submitted tasks are shared by all
//! versions, and the others stand in blocks: one more task copies the pointers of one block, and one pointer for each
//! of the others.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::job::{Object, TaskRequest, TaskSpec};
use crate::limits::TASKS_PER_JOB_MAX;
use crate::name::Name;
use crate::need::Need;

/// Tasks in one block of those that a job has gained: about the root of the most that there may be, so that blocks
/// and the list of them stay equally short.
const BLOCK: usize = 256;
/// Tasks for which room is made before they have been read, whatever a length says.
const ROOM_MAX: usize = 1_024;

#[derive(Clone)]
pub struct TaskList {
    submitted: Arc<[TaskSpec]>,
    /// What most jobs have nothing of.
    gained: Option<Box<Gained>>,
}

#[derive(Clone, Default)]
struct Gained {
    /// All but the last one are full.
    blocks: Vec<Arc<Vec<Arc<TaskSpec>>>>,
    /// Tasks that need more than they did when they came.
    changed: BTreeMap<usize, Arc<TaskSpec>>,
}

impl Gained {
    fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    fn get(&self, at: usize) -> Option<&TaskSpec> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK).map(Arc::as_ref)
    }

    fn push(&mut self, task: Arc<TaskSpec>) {
        match self.blocks.last_mut().filter(|last| last.len() < BLOCK) {
            Some(last) => Arc::make_mut(last).push(task),
            None => self.blocks.push(Arc::new(vec![task])),
        }
    }
}

impl TaskList {
    pub fn len(&self) -> usize {
        self.submitted.len() + self.gained.as_ref().map_or(0, |gained| gained.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, at: usize) -> Option<&TaskSpec> {
        let Some(gained) = &self.gained else { return self.submitted.get(at) };
        if let Some(changed) = gained.changed.get(&at) {
            return Some(changed);
        }
        match at.checked_sub(self.submitted.len()) {
            None => self.submitted.get(at),
            Some(at) => gained.get(at),
        }
    }

    pub fn first(&self) -> Option<&TaskSpec> {
        self.get(0)
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { list: self, next: 0, end: self.len() }
    }

    /// All that the tasks need.
    pub fn edges(&self) -> usize {
        self.iter().map(|task| task.needs.len()).sum()
    }

    /// The tasks as they were submitted.
    pub fn submitted(&self) -> Self {
        Self { submitted: self.submitted.clone(), gained: None }
    }

    /// One task more.
    pub fn push(&mut self, task: Arc<TaskSpec>) {
        self.gained.get_or_insert_default().push(task);
    }

    /// One need more of the task at `at`, which must be there.
    pub fn add_need(&mut self, at: usize, need: Need) {
        let is_changed = self.gained.as_ref().is_some_and(|gained| gained.changed.contains_key(&at));
        let first = (!is_changed).then(|| Arc::new(self[at].clone()));
        let changed = &mut self.gained.get_or_insert_default().changed;
        changed.extend(first.map(|task| (at, task)));
        if let Some(task) = changed.get_mut(&at) {
            Arc::make_mut(task).needs.push(need);
        }
    }
}

impl Index<usize> for TaskList {
    type Output = TaskSpec;

    fn index(&self, at: usize) -> &TaskSpec {
        self.get(at).unwrap_or_else(|| panic!("task {at} of {}", self.len()))
    }
}

#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a TaskList,
    next: usize,
    end: usize,
}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a TaskSpec;

    fn next(&mut self) -> Option<&'a TaskSpec> {
        let task = (self.next < self.end).then(|| &self.list[self.next])?;
        self.next += 1;
        Some(task)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }

    fn nth(&mut self, n: usize) -> Option<&'a TaskSpec> {
        self.next = self.next.saturating_add(n).min(self.end);
        self.next()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a TaskList {
    type Item = &'a TaskSpec;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl From<Vec<TaskSpec>> for TaskList {
    fn from(tasks: Vec<TaskSpec>) -> Self {
        Self { submitted: tasks.into(), gained: None }
    }
}

impl PartialEq for TaskList {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl Eq for TaskList {}

impl fmt::Debug for TaskList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for TaskList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for TaskList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tasks = deserializer.deserialize_seq(Sharing::<TaskSpec> { most: usize::MAX, tasks: PhantomData })?;
        Ok(tasks.into())
    }
}

/// The tasks of a request; no more of them than show that there are too many.
pub(crate) fn of_request<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Object<TaskRequest>>>, D::Error> {
    struct Optional;

    impl<'de> de::Visitor<'de> for Optional {
        type Value = Option<Vec<Object<TaskRequest>>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tasks")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            let reader = Sharing { most: TASKS_PER_JOB_MAX + 1, tasks: PhantomData };
            deserializer.deserialize_seq(reader).map(Some)
        }
    }

    deserializer.deserialize_option(Optional)
}

/// What says which tasks it needs.
trait Needing {
    fn needs_mut(&mut self) -> &mut [Need];
}

impl Needing for TaskSpec {
    fn needs_mut(&mut self) -> &mut [Need] {
        &mut self.needs
    }
}

impl Needing for Object<TaskRequest> {
    fn needs_mut(&mut self) -> &mut [Need] {
        self.0.needs.as_deref_mut().unwrap_or_default()
    }
}

/// Reads tasks of which many need the same one: its name is in memory once, not once for each of a million needs.
struct Sharing<T> {
    /// What comes after so many is read, and dropped.
    most: usize,
    tasks: PhantomData<T>,
}

impl<'de, T: Needing + Deserialize<'de>> de::Visitor<'de> for Sharing<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tasks")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut tasks = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(ROOM_MAX));
        let mut names: HashSet<Name> = HashSet::new();
        while let Some(mut task) = seq.next_element::<T>()? {
            if tasks.len() >= self.most {
                continue;
            }
            for need in task.needs_mut() {
                let Some(name) = need.task_mut() else { continue };
                match names.get(name) {
                    Some(known) => name.clone_from(known),
                    None => drop(names.insert(name.clone())),
                }
            }
            tasks.push(task);
        }
        Ok(tasks)
    }
}

/// A list of which no more is kept than shows that it is too long: what is dropped takes no memory, and the complaint
/// about the length comes from where the others come from.
pub(crate) fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Option::<AtMost<T, N>>::deserialize(deserializer).map(|list| list.map(|AtMost(items)| items))
}

struct AtMost<T, const N: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> de::Visitor<'de> for Reader<T, N> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() <= N {
                        items.push(item);
                    }
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(Reader::<T, N>(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobRequest;

    fn tasks(count: usize) -> TaskList {
        let tasks: Vec<String> = (0..count).map(|at| format!(r#"{{"name":"t{at}","command":["x"]}}"#)).collect();
        let job: JobRequest = serde_json::from_str(&format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))).unwrap();
        job.validate().unwrap().tasks
    }

    fn names(list: &TaskList) -> Vec<&str> {
        list.iter().map(|task| task.name.as_str()).collect()
    }

    #[test]
    fn what_is_gained_comes_after_what_was_submitted_and_leaves_earlier_versions_alone() {
        let more = tasks(3 * BLOCK + 7);
        let mut list = tasks(2);
        let mut versions = vec![list.clone()];
        for task in &more {
            list.push(Arc::new(task.clone()));
            versions.push(list.clone());
        }
        for (gained, version) in versions.iter().enumerate() {
            assert_eq!(version.len(), 2 + gained);
            assert_eq!(names(version)[2..], names(&more)[..gained]);
        }
        assert_eq!(names(&list.submitted()), ["t0", "t1"]);
        assert_eq!(list.iter().nth(2 + BLOCK).map(|task| task.name.as_str()), Some("t256"));
    }

    #[test]
    fn a_task_that_needs_more_is_the_same_task() {
        let (mut list, need) = (tasks(2), Need::from(Name::new("n").unwrap()));
        let before = list.clone();
        list.add_need(1, need.clone());
        assert_eq!((&list[1].needs[..], list[1].name.as_str()), (&[need][..], "t1"));
        assert!(before[1].needs.is_empty() && list.submitted() == before && list != before);
    }

    #[test]
    fn names_are_shared_and_what_is_too_much_is_dropped() {
        let text = r#"[{"name":"a","needs":["z"]},{"name":"b","needs":["z"]},{"name":"c"}]"#;
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_seq(Sharing::<Object<TaskRequest>> { most: 2, tasks: PhantomData }).unwrap();
        assert_eq!(read.len(), 2);
        let shared: Vec<_> =
            read.iter().map(|task| task.0.needs.as_ref().unwrap()[0].task().unwrap().as_ptr()).collect();
        assert_eq!(shared[0], shared[1]);
        assert_eq!(serde_json::from_str::<AtMost<u8, 2>>("[1,2,3,4,5]").unwrap().0, [1, 2, 3]);
    }
}
