//! What an attempt gets to read of what its task needs.
//!
//! A task starts when what it needs has ended, and a job is retried only once all of it has: so what the tasks of
//! its own job left is the same for each attempt, whoever asks when. Another job may have been retried or have
//! left memory since; then it is left out, rather than read half.

use quorate_types::inputs::{INPUT_BYTES, Input, Inputs, JobInput, LeftOut, Why};
use quorate_types::limits::INPUTS_BYTES_MAX;
use quorate_types::{JobId, Name, Need, TaskIndex};

use crate::job::{Job, Task};
use crate::state::State;

impl State {
    /// What all elements of a task get; `None` if it needs nothing.
    pub fn inputs_of(&self, job: &Job, task: u32) -> Option<Inputs> {
        let needs = &job.task_spec(task)?.needs;
        // Each has a room of its own: what another job is by now must not change what fits of this one.
        let (mut inputs, mut room, mut others) =
            (Inputs::default(), Room::new(INPUTS_BYTES_MAX), Room::new(INPUTS_BYTES_MAX));
        for need in needs {
            match need {
                Need::Task { task, .. } => inputs.add_task(task, job.ended(task, &mut room)),
                Need::Job { job, .. } => match self.job_input(*job, &mut others) {
                    Ok(found) => drop(inputs.jobs.insert(*job, found)),
                    Err(why) => inputs.left_out.push(LeftOut { task: None, job: Some(*job), why }),
                },
                Need::Each { .. } => {}
            }
        }
        (!needs.is_empty()).then_some(inputs)
    }

    fn job_input(&self, id: JobId, room: &mut Room) -> Result<JobInput, Why> {
        let Some(job) = self.job(id) else {
            return Err(match self.cluster.archive.get(&id) {
                // What can't fit is not looked for: it may have a million elements.
                Some(stub) if stub.elements > (INPUTS_BYTES_MAX / INPUT_BYTES) as u64 => Why::TooLarge,
                Some(_) => Why::Archived,
                None => Why::Forgotten,
            });
        };
        if !job.header.state.is_finished() {
            return Err(Why::Retried);
        }
        let before = room.bytes;
        let tasks = job.tasks().map(|(_, task, spec)| Some((spec.name.clone(), task.ended(room)?)));
        let Some(tasks) = tasks.collect::<Option<_>>() else {
            room.bytes = before;
            return Err(Why::TooLarge);
        };
        Ok(JobInput { state: job.header.state, tasks })
    }
}

impl Job {
    /// What one element gets besides what all get, which leaves `room`; `None` if it needs no single elements.
    pub fn inputs_of_element(&self, task: u32, index: TaskIndex, bytes: usize) -> Option<Inputs> {
        self.plan.each(task).next()?;
        let (mut inputs, mut room) = (Inputs::default(), Room::new(bytes));
        for need in &self.task_spec(task)?.needs {
            let Need::Each { task, .. } = need else { continue };
            let found = self.task_of(task).and_then(|task| task.input(index, &mut room));
            inputs.add_task(task, found.map(|input| vec![input]));
        }
        Some(inputs)
    }

    fn task_of(&self, name: &Name) -> Option<&Task> {
        self.task(self.position_of(name)?)
    }

    fn ended(&self, task: &Name, room: &mut Room) -> Option<Vec<Input>> {
        self.task_of(task)?.ended(room)
    }
}

impl Task {
    /// All elements, if there is room for them.
    fn ended(&self, room: &mut Room) -> Option<Vec<Input>> {
        let count = self.head.count as usize;
        // An array that can't fit is not walked through: it may have a million elements.
        if count * INPUT_BYTES > room.bytes || count > room.looks {
            return None;
        }
        room.looks -= count;
        let before = room.bytes;
        let inputs = (0..self.head.count).map(|at| self.input(TaskIndex(at), room)).collect::<Option<_>>();
        if inputs.is_none() {
            room.bytes = before;
        }
        inputs
    }

    fn input(&self, index: TaskIndex, room: &mut Room) -> Option<Input> {
        let result = self.element(index).and_then(|element| element.result.clone());
        let input = Input { index, state: self.state_of(index)?, result };
        room.bytes = room.bytes.checked_sub(input.weight())?;
        Some(input)
    }
}

/// What may still be taken in.
struct Room {
    bytes: usize,
    /// Elements of arrays that are looked at, also in vain: many that just don't fit must not take long.
    looks: usize,
}

impl Room {
    fn new(bytes: usize) -> Self {
        Self { bytes, looks: INPUTS_BYTES_MAX / INPUT_BYTES }
    }
}
