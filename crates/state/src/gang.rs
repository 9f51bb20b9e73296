//! Gangs: tasks of a job whose elements run all at once, or not at all.
//!
//! All attempts of a gang begin with one entry of the log, and so share its fence. The gang rests, waiting or pending
//! as a whole, or is live; while it is live, a member that has ended is `waiting` until the others have. What counts
//! for the gang as one (failures, lost workers, the wait before a retry) is in the record of its first element.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::gang::Muster;
use quorate_types::status::TaskState;
use quorate_types::{JobSpec, TaskIndex};

use crate::job::{ElementKey, Job};
use crate::state::State;

/// The tasks of one gang, in the job's order, which is that of the ranks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gang {
    /// Position and number of elements of each.
    pub tasks: Vec<(u32, u32)>,
}

impl Gang {
    /// The gangs of a job, by each of their tasks.
    pub(crate) fn all_of(spec: &JobSpec) -> BTreeMap<u32, Arc<Self>> {
        let mut by_name: BTreeMap<&str, Self> = BTreeMap::new();
        for (at, task) in (0u32..).zip(&spec.tasks) {
            if let Some(name) = &task.gang {
                by_name.entry(name).or_default().tasks.push((at, task.count));
            }
        }
        let shared = by_name.into_values().map(Arc::new);
        shared.flat_map(|gang| gang.tasks.clone().into_iter().map(move |(at, _)| (at, gang.clone()))).collect()
    }

    /// The task that stands in the queue for all of them.
    pub fn first_task(&self) -> u32 {
        self.tasks.first().map_or(0, |(task, _)| *task)
    }

    /// How many elements it has.
    pub fn size(&self) -> u32 {
        self.tasks.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn has(&self, task: u32) -> bool {
        self.tasks.iter().any(|(at, _)| *at == task)
    }

    /// The rank of the task's element 0.
    pub fn rank_of(&self, task: u32) -> u32 {
        self.tasks.iter().take_while(|(at, _)| *at != task).map(|(_, count)| count).sum()
    }

    /// Its elements by rank.
    pub fn elements(&self) -> impl Iterator<Item = (u32, TaskIndex)> {
        self.tasks.iter().flat_map(|(task, count)| (0..*count).map(|index| (*task, TaskIndex(index))))
    }
}

impl Job {
    /// The gang that the task belongs to.
    pub fn gang(&self, task: u32) -> Option<&Arc<Gang>> {
        self.plan.gang(task)
    }

    /// The task that stands in the queue for this one: that of its gang, or itself.
    pub fn queued_as(&self, task: u32) -> u32 {
        self.gang(task).map_or(task, |gang| gang.first_task())
    }

    /// Whether elements of the task could be placed now: of a gang, all of them.
    pub fn has_pending(&self, task: u32) -> bool {
        match self.gang(task) {
            None => self.task(task).is_some_and(|found| found.has_pending()),
            Some(gang) => {
                let is_whole = |(at, count): &(u32, u32)| {
                    self.task(*at).is_some_and(|found| found.pending_len() == u64::from(*count))
                };
                task == gang.first_task() && gang.tasks.iter().all(is_whole)
            }
        }
    }

    /// How many elements of what stands in the queue as this task could be placed now.
    pub fn pending_len(&self, task: u32) -> u64 {
        match self.gang(task) {
            None => self.task(task).map_or(0, |found| found.pending_len()),
            Some(gang) if self.has_pending(task) => u64::from(gang.size()),
            Some(_) => 0,
        }
    }

    /// How many members hold resources.
    pub fn live_members(&self, gang: &Gang) -> u32 {
        gang.tasks.iter().filter_map(|(at, _)| self.task(*at)).map(|task| task.head.live).sum()
    }

    /// Where the tally of an element's failures and losses is: that of a gang is kept with its first element.
    pub fn tally_of(&self, at: &ElementKey) -> ElementKey {
        match self.gang(at.task) {
            None => *at,
            Some(gang) => ElementKey { task: gang.first_task(), index: TaskIndex(0), ..*at },
        }
    }

    /// What must hold of a gang at any time.
    pub(crate) fn check_gang(&self, gang: &Gang) -> Result<(), String> {
        let mut states = Vec::new();
        let mut fences = Vec::new();
        for (task, index) in gang.elements() {
            let Some(found) = self.task(task) else { continue };
            states.extend(found.state_of(index));
            let live = found.element(index).filter(|element| element.state.is_live());
            fences.extend(live.and_then(|element| element.current()).map(|attempt| attempt.fence));
        }
        let has = |wanted: TaskState| states.contains(&wanted);
        let all = |wanted: TaskState| states.iter().all(|state| *state == wanted);
        let together = fences.windows(2).all(|pair| pair[0] == pair[1]);
        // One that will never run again ends the others.
        let over = has(TaskState::Failed) || has(TaskState::Cancelled);
        let going_on = has(TaskState::Assigned) || has(TaskState::Running);
        let whole = (!has(TaskState::Pending) || all(TaskState::Pending))
            && (!has(TaskState::Succeeded) || all(TaskState::Succeeded))
            && !(over && going_on);
        if together && whole { Ok(()) } else { Err(format!("gang {:?} is torn: {states:?}, {fences:?}", gang.tasks)) }
    }
}

impl State {
    /// Where the members of the task's gang are, as it was placed together; `None` if it is in none.
    pub fn muster(&self, job: &Job, task: u32) -> Option<Muster> {
        let gang = job.gang(task)?;
        let hosts = gang.elements().map(|(task, index)| {
            let attempt = job.task(task).and_then(|found| found.element(index)).and_then(|element| element.current());
            let worker = attempt.and_then(|attempt| self.worker(&attempt.worker).filter(|w| w.epoch == attempt.epoch));
            // Whoever has registered anew since has ended his part of it, and the others are told to.
            worker.map_or_else(|| "unknown".to_owned(), |worker| worker.host.clone())
        });
        Some(Muster { first_task: gang.first_task(), rank: gang.rank_of(task), hosts: hosts.collect() })
    }
}
