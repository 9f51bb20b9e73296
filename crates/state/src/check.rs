//! What must hold after every apply. Tests and the simulation call it; O(size of the state).

use quorate_types::Resources;
use quorate_types::api::TaskCounts;
use quorate_types::status::TaskState;

use crate::job::{ElementKey, Job};
use crate::queue::Queued;
use crate::state::{State, Totals};

impl State {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check(&self) -> Result<(), String> {
        let mut totals = Totals::default();
        for job in self.jobs() {
            self.check_job(job)?;
            let counts = job.header.counts;
            totals.unfinished_elements += counts.total - counts.finished();
            totals.spec_bytes += job.header.spec_bytes;
            totals.output_bytes += job.header.output_bytes;
            totals.result_bytes += job.header.result_bytes;
            if job.header.finished_at.is_some() {
                totals.finished_elements += counts.total;
            }
        }
        totals.output_bytes += self.cluster.archive.values().map(|stub| stub.output_bytes).sum::<u64>();
        ensure(totals == self.totals(), || format!("totals are {:?}, should be {totals:?}", self.totals()))?;
        self.check_workers()?;
        self.check_derived()
    }

    fn check_job(&self, job: &Job) -> Result<(), String> {
        let id = job.id();
        let mut counts = TaskCounts { total: job.spec.elements(), ..TaskCounts::default() };
        for (at, task, _) in job.tasks() {
            *counts.of(task.head.fresh_state()) += u64::from(task.head.fresh_len());
            for (index, element) in task.elements() {
                *counts.of(element.state) += 1;
                let started = element.state.is_live() || element.state == TaskState::Succeeded;
                ensure(!(started && task.head.open_needs > 0), || {
                    format!("task {at}[{index}] of job {id} started before its needs")
                })?;
                let live = element.current().is_some_and(|attempt| attempt.state.is_live());
                ensure(live == element.state.is_live(), || {
                    format!("task {at}[{index}] of job {id} is {} with an attempt {live}", element.state)
                })?;
                self.check_held(ElementKey { job: id, task: at, index }, live)?;
                let fences: Vec<_> = element.attempts.iter().map(|a| (a.fence, a.number)).collect();
                ensure(fences.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), || format!("fences {fences:?} in {id}"))?;
                let ready = task.ready.contains(&index.0);
                ensure(ready == (element.state == TaskState::Pending), || format!("ready set of {id}/{at}[{index}]"))?;
            }
            let queued = self.queue().contains(Queued { job: id, task: at });
            let wanted = job.is_placeable() && task.has_pending();
            ensure(queued == wanted, || format!("task {at} of job {id} queued: {queued}, should be {wanted}"))?;
        }
        ensure(counts == job.header.counts, || format!("job {id} counts {:?}, has {counts:?}", job.header.counts))?;
        let done = counts.finished() == counts.total;
        ensure(done == job.header.state.is_finished(), || format!("job {id} is {} with {counts:?}", job.header.state))
    }

    fn check_held(&self, at: ElementKey, live: bool) -> Result<(), String> {
        let holders = self.workers().filter(|worker| worker.attempts.contains_key(&at)).count();
        ensure(holders == usize::from(live), || format!("{at:?} is held by {holders} workers"))
    }

    fn check_workers(&self) -> Result<(), String> {
        for worker in self.workers() {
            let mut used = Resources::default();
            for at in worker.attempts.keys() {
                let job = self.job(at.job).ok_or_else(|| format!("{at:?} has no job"))?;
                used.add(&job.spec.tasks[at.task as usize].resources);
            }
            let name = &worker.name;
            ensure(used == worker.used, || format!("worker {name} uses {used:?}, noted {:?}", worker.used))?;
            ensure(used.fits(&worker.capacity), || format!("worker {name} is over capacity with {used:?}"))?;
            ensure(worker.is_alive() || worker.attempts.is_empty(), || format!("dead worker {name} holds attempts"))?;
        }
        Ok(())
    }

    /// Everything derived must be what a restore from the records would derive.
    fn check_derived(&self) -> Result<(), String> {
        let restored = Self::from_records(self.snapshot_records()).map_err(|e| e.to_string())?;
        let (a, b) = (&self.cluster, &restored.cluster);
        ensure(a.queue == b.queue, || "the queue differs from a restored one".into())?;
        ensure(a.timers == b.timers, || format!("{} timers differ from {} restored", a.timers.len(), b.timers.len()))?;
        ensure(
            a.finished == b.finished && a.finished_by_size == b.finished_by_size && a.archived == b.archived,
            || "retention differs from a restored one".into(),
        )?;
        ensure(a.workers == b.workers && a.epochs == b.epochs, || "workers differ from restored ones".into())?;
        ensure(a.namespaces == b.namespaces && a.totals == b.totals, || "totals differ from restored ones".into())?;
        ensure(self.digest() == restored.digest(), || "the digest differs from a restored one".into())
    }
}

fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation()) }
}
