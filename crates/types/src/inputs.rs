//! What an attempt gets to read of what its task needs: the content of the file `QUORATE_INPUTS`.
//!
//! The elements of an array share what they need as a whole; what each needs of its own comes beside it. The
//! file is both together. A need is there with all of its elements, or it is left out and the file says why:
//! half of the results would look like all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, TaskIndex};
use crate::name::Name;
use crate::status::{JobState, TaskState};
use crate::words;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Tasks of the same job, with their elements in order.
    pub needs: BTreeMap<Name, Vec<Input>>,
    pub jobs: BTreeMap<JobId, JobInput>,
    pub left_out: Vec<LeftOut>,
}

/// How one element ended, and what it left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub index: TaskIndex,
    pub state: TaskState,
    pub result: Option<Arc<str>>,
}

/// Another job that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInput {
    pub state: JobState,
    pub tasks: BTreeMap<Name, Vec<Input>>,
}

/// A need without its results; either `task` or `job` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub task: Option<Name>,
    pub job: Option<JobId>,
    pub why: Why,
}

words!(
    /// Why a need's results are left out.
    Why {
        /// Together they would take more than [`INPUTS_BYTES_MAX`](crate::limits::INPUTS_BYTES_MAX).
        TooLarge = "too_large",
        /// The job is in the archive, and could not be read there.
        Archived = "archived",
        /// The job is not known any more.
        Forgotten = "forgotten",
        /// The job was retried since.
        Retried = "retried",
    }
);

/// What the file takes for one element besides its result, about.
pub const INPUT_BYTES: usize = 64;

impl Input {
    /// What it counts against the limit.
    pub fn weight(&self) -> usize {
        INPUT_BYTES + self.result.as_ref().map_or(0, |result| result.len())
    }
}

impl JobInput {
    /// What it counts against the limit.
    pub fn weight(&self) -> usize {
        self.tasks.values().flatten().map(Input::weight).sum()
    }
}

impl Inputs {
    /// Adds a task of the same job, or that there was no room for it.
    pub fn add_task(&mut self, task: &Name, elements: Option<Vec<Input>>) {
        match elements {
            Some(elements) => drop(self.needs.insert(task.clone(), elements)),
            None => self.left_out.push(LeftOut { task: Some(task.clone()), job: None, why: Why::TooLarge }),
        }
    }

    /// What tasks of the same job count against the limit.
    pub fn own_weight(&self) -> usize {
        self.needs.values().flatten().map(Input::weight).sum()
    }

    /// What it counts in all.
    pub fn weight(&self) -> usize {
        let jobs = self.jobs.values().flat_map(|job| job.tasks.values());
        self.needs.values().chain(jobs).flatten().map(Input::weight).sum()
    }
}
