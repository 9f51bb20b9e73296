//! What a successful attempt adds to its own job. Nothing of it exists before the success is accepted; what the job
//! can't take makes the attempt a failed one instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::extension::Addition;
use quorate_types::limits::{EDGES_PER_JOB_MAX, ELEMENTS_PER_JOB_MAX, TASKS_PER_JOB_MAX};
use quorate_types::problem::FieldError;
use quorate_types::status::{Ending, TaskState};
use quorate_types::{End, Extension, Name, Need, On};

use super::submit;
use crate::growth::Extended;
use crate::job::TaskHead;
use crate::lifecycle::Change;
use crate::limits::{GROWN_SPEC_BYTES_MAX, SPEC_BYTES_MAX, UNFINISHED_ELEMENTS_MAX};
use crate::outcome::Event;
use crate::plan::Edge;

type Checked = Result<(), FieldError>;

impl Change<'_> {
    /// Takes up what a live attempt of task `by` adds.
    ///
    /// # Errors
    /// How the attempt ended instead, if the job can't take it.
    pub(crate) fn extend(&mut self, by: u32, addition: &Addition) -> Result<(), Ending> {
        let refuse = |complaint| Ending::not_extended(&[complaint]);
        let Addition::Checked(extension) = addition else {
            return Err(refuse(FieldError::new("", "no replica has checked it")));
        };
        if extension.tasks.is_empty() {
            return Ok(());
        }
        if self.job.is_service() {
            return Err(refuse(FieldError::new("", "a service has one task")));
        }
        if self.job.gang(by).is_some() {
            // If another one of it fails, all of it is tried again, and would add them again.
            return Err(refuse(FieldError::new("", "a task of a gang adds none")));
        }
        let bytes = submit::weight_of_extension(extension);
        self.check_room(extension, bytes).map_err(refuse)?;
        self.check_names(by, extension).map_err(refuse)?;
        self.check_gates(extension).map_err(refuse)?;
        let from = self.job.tasks.len();
        self.job.gain(&Arc::new(Extended { by, tasks: extension.tasks.clone(), bytes }));
        self.job.header.spec_bytes += bytes;
        self.job.header.changed = self.out.index;
        self.cluster.totals.spec_bytes += bytes;
        self.cluster.note_more_elements(&self.job.spec.namespace, extension.elements());
        self.emit_extended(by, extension.tasks.len());
        self.mark_handlers(from);
        (from..self.job.tasks.len()).for_each(|at| self.begin_task(at, from));
        Ok(())
    }

    /// Whether there may be so much more, in this job and in all.
    fn check_room(&self, extension: &Extension, bytes: u64) -> Checked {
        let (job, totals) = (&self.job, self.cluster.totals);
        let edges = job.plan.growth().map_or_else(|| job.spec.tasks.edges(), |growth| growth.edges());
        let elements = extension.elements();
        let bounds = [
            (job.tasks.len() as u64 + extension.tasks.len() as u64, TASKS_PER_JOB_MAX as u64, "tasks in the job"),
            (job.header.counts.total + elements, ELEMENTS_PER_JOB_MAX, "elements in the job"),
            (edges as u64 + extension.edges() as u64, EDGES_PER_JOB_MAX as u64, "dependencies in the job"),
            (totals.unfinished_elements + elements, UNFINISHED_ELEMENTS_MAX, "unfinished elements in the cluster"),
            (totals.spec_bytes + bytes, SPEC_BYTES_MAX, "bytes of jobs in the cluster"),
            (job.header.spec_bytes + bytes, GROWN_SPEC_BYTES_MAX, "bytes in the job"),
        ];
        let of_namespace = self.cluster.rules.get(&job.spec.namespace).and_then(|rules| rules.max_unfinished);
        let unfinished = self.cluster.spaces.get(&job.spec.namespace).map_or(0, |space| space.unfinished);
        let of_namespace =
            of_namespace.map(|most| (unfinished + elements, most, "unfinished elements in the namespace"));
        match bounds.into_iter().chain(of_namespace).find(|(wanted, most, _)| wanted > most) {
            Some((wanted, most, what)) => Err(FieldError::new("", format!("{wanted} {what}, the most is {most}"))),
            None => Ok(()),
        }
    }

    /// What is asked for of the cluster's resources is there at all.
    fn check_gates(&self, extension: &Extension) -> Checked {
        for (at, task) in extension.tasks.iter().enumerate() {
            for (name, amount) in &task.spec.cluster_resources {
                let complain = |detail| FieldError::new(format!("/{at}/cluster_resources/{name}"), detail);
                match self.cluster.pools.totals.get(name) {
                    None => return Err(complain("the cluster has no such resource".to_owned())),
                    Some(total) if amount > total => return Err(complain(format!("the cluster has {total}"))),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Every name is new, and all that is named is there.
    fn check_names(&self, by: u32, extension: &Extension) -> Checked {
        let new: BTreeMap<&Name, u32> = extension.tasks.iter().map(|task| (&task.spec.name, task.spec.count)).collect();
        let is_before = extension.tasks.iter().any(|task| !task.before.is_empty());
        for (at, task) in extension.tasks.iter().enumerate() {
            let complain = |place: String, detail: &str| Err(FieldError::new(format!("/{at}/{place}"), detail));
            if self.job.position_of(&task.spec.name).is_some() {
                return complain("name".into(), "the job has a task of this name");
            }
            for (nth, need) in task.spec.needs.iter().enumerate() {
                let place = || format!("needs/{nth}");
                let Some(name) = need.task() else { return complain(place(), "a new task can't wait for other jobs") };
                if new.contains_key(name) {
                    continue;
                }
                let Some((other, head)) = self.named(name) else {
                    return complain(place(), "the job has no such task");
                };
                if matches!(need, Need::Each { .. }) && head.count != task.spec.count {
                    return complain(place(), "each needs as many elements");
                }
                // Then nothing that is needed can itself be waiting for what is to wait for the new tasks.
                if is_before && other != by && !has_met_its_needs(&head) {
                    return complain(place(), "waits itself, and in an extension with `before` must not be needed");
                }
            }
            for (nth, need) in task.before.iter().enumerate() {
                let named = need.task().and_then(|name| self.named(name));
                if !named.is_some_and(|(at, head)| waits_as_a_whole(&head) && self.job.gang(at).is_none()) {
                    return complain(
                        format!("before/{nth}"),
                        "is not a task of the job that waits for another one, and in no gang",
                    );
                }
            }
            let names = task.spec.anti_affinity.iter().enumerate();
            let is_known = |name: &Name| new.contains_key(name) || self.named(name).is_some();
            let mut unknown = names.filter(|(_, one)| one.task().is_some_and(|name| !is_known(name)));
            if let Some((nth, _)) = unknown.next() {
                return complain(format!("anti_affinity/{nth}"), "the job has no such task");
            }
        }
        Ok(())
    }

    fn named(&self, name: &Name) -> Option<(u32, TaskHead)> {
        let at = self.job.position_of(name)?;
        Some((at, self.job.task(at)?.head))
    }

    fn emit_extended(&mut self, by: u32, tasks: usize) {
        let task = self.job.task_spec(by).map(|spec| spec.name.clone());
        let (job, count) = (Some(self.job.id()), Some(tasks as u32));
        self.out.events.push(Event { job, task, count, ..Event::new(EventType::JobExtended) });
    }

    /// A new task is counted, and goes as far as what it needs has come. One of a job that has failed, or is being
    /// cancelled, ends at once, but for what is there for failures.
    /// What ends of the new ones, which are those from `from` on, is told to those that need it when all are there.
    fn begin_task(&mut self, at: u32, from: u32) {
        let Some(task) = self.job.task(at) else { return };
        let (state, count) = (task.head.fresh_state(), task.head.count);
        let counts = &mut self.job.header.counts;
        counts.total += u64::from(count);
        *counts.of(state) += u64::from(count);
        if self.is_doomed(at) {
            return self.cancel_unstarted_of(at);
        }
        if state == TaskState::Pending {
            self.emit_range(EventType::TaskPending, at, 0, count);
        }
        self.cluster.queue.update(self.job, at);
        for (other, on) in self.whole_needs(at).into_iter().filter(|(other, _)| *other < from) {
            let failed = self.job.task(other).is_some_and(|task| task.head.failed > 0);
            if failed && on == On::Success {
                // What is left of it may take long yet.
                self.miss(at, false);
            } else {
                self.on_task_end(other, Edge { task: at, on, each: false });
            }
        }
        self.look_at_ended_counterparts(at, from);
    }

    /// Looks at the elements whose counterparts in older tasks have ended, each once.
    fn look_at_ended_counterparts(&mut self, at: u32, from: u32) {
        let plan = self.job.plan.clone();
        let mut ended = BTreeSet::new();
        let mut without_records = Vec::new();
        for edge in plan.each(at).filter(|edge| edge.task < from) {
            let Some(other) = self.job.task(edge.task) else { continue };
            ended.extend(other.elements().filter(|(_, element)| element.state.is_finished()).map(|(index, _)| index));
            if other.head.fresh_cancelled && other.head.fresh_len() > 0 {
                without_records.push((Edge { task: at, ..edge }, other.head.fresh, other.head.is_skipped()));
            }
        }
        ended.into_iter().for_each(|index| self.look_at_element(at, index));
        for (edge, first, skipped) in without_records {
            self.look_at_elements_from(edge, first, skipped);
        }
    }

    fn whole_needs(&self, at: u32) -> Vec<(u32, On)> {
        self.needs_of(at, |need| matches!(need, Need::Task { .. }))
    }

    fn needs_of(&self, at: u32, which: impl Fn(&Need) -> bool) -> Vec<(u32, On)> {
        let needs = self.job.task_spec(at).map_or(&[][..], |spec| &spec.needs);
        let named = needs.iter().filter(|need| which(need));
        named.filter_map(|need| Some((self.job.position_of(need.task()?)?, need.on()))).collect()
    }

    /// In a job in which something failed: which of the new tasks are there for that, or come after those that are.
    fn mark_handlers(&mut self, from: u32) {
        if self.job.header.counts.failed == 0 {
            return;
        }
        let plan = self.job.plan.clone();
        let mut open: Vec<u32> = (from..self.job.tasks.len()).filter(|at| self.handles_failure(*at)).collect();
        while let Some(at) = open.pop() {
            let Some(task) = self.job.task_mut(at) else { continue };
            if !std::mem::replace(&mut task.head.handler, true) {
                open.extend(plan.dependents(at).map(|edge| edge.task).filter(|next| *next >= from));
            }
        }
    }

    fn handles_failure(&self, at: u32) -> bool {
        self.needs_of(at, |_| true).into_iter().any(|(other, on)| {
            let Some(head) = self.job.task(other).map(|task| task.head) else { return false };
            on == On::Finish || (on == On::Failure && head.failed > 0) || head.handler
        })
    }
}

/// Nothing of it has started, nor will before another task has ended.
fn waits_as_a_whole(head: &TaskHead) -> bool {
    let ended = head.succeeded + head.failed + head.cancelled;
    head.open_needs > 0 && ended == 0 && !head.fresh_cancelled
}

/// No task that waits as a whole stands before it.
fn has_met_its_needs(head: &TaskHead) -> bool {
    head.open_needs == 0 && (!head.each || head.end() == Some(End::Succeeded))
}
