//! What must hold after every apply. Tests and the simulation call it; O(size of the state). What a snapshot
//! brings must pass as well, all but the comparison with what would be restored from it.

use quorate_types::api::TaskCounts;
use quorate_types::status::TaskState;
use quorate_types::{On, Resources, TaskSpec};

use crate::element::Element;
use crate::flow::Slot;
use crate::job::{ElementKey, Job, Task, TaskHead};
use crate::limits::{OUTPUT_BYTES_PER_JOB_MAX, RESULT_BYTES_MAX, SPEC_BYTES_MAX};
use crate::queue::Queued;
use crate::state::{State, Totals};

impl State {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn check(&self) -> Result<(), String> {
        self.check_jobs()?;
        self.check_sums()?;
        self.check_derived()
    }

    /// Each job by itself. Nothing can be derived from jobs that do not pass.
    pub(crate) fn check_jobs(&self) -> Result<(), String> {
        self.jobs().try_for_each(|job| job.check().map_err(|violation| format!("job {}: {violation}", job.id())))
    }

    /// Jobs, workers and archive together.
    pub(crate) fn check_sums(&self) -> Result<(), String> {
        let (mut totals, mut live) = (Totals::default(), 0);
        for job in self.jobs() {
            live += self.check_placement(job)?;
            let counts = job.header.counts;
            totals.unfinished_elements += job.unfinished_elements();
            totals.spec_bytes += job.header.spec_bytes;
            totals.output_bytes += job.header.output_bytes;
            totals.result_bytes += job.header.result_bytes;
            if job.header.finished_at.is_some() {
                totals.finished_elements += counts.total;
            }
        }
        totals.output_bytes += self.cluster.archive.values().map(|stub| stub.output_bytes).sum::<u64>();
        ensure(totals == self.totals(), || format!("totals are {:?}, should be {totals:?}", self.totals()))?;
        self.check_workers(live)?;
        self.check_numbers()
    }

    /// The queue and the workers know what can be placed and what is live; gives the number of live attempts.
    fn check_placement(&self, job: &Job) -> Result<usize, String> {
        let (id, mut live) = (job.id(), 0);
        for (at, task, _) in job.tasks() {
            for (index, element) in task.elements().filter(|(_, element)| element.state.is_live()) {
                live += 1;
                let key = ElementKey { job: id, task: at, index };
                ensure(self.is_held(key, element), || format!("{key:?} is not held by the worker of its attempt"))?;
            }
            let queued = self.queue().contains(Queued { job: id, task: at });
            let wanted = job.is_placeable() && task.has_pending();
            ensure(queued == wanted, || format!("task {at} of job {id} queued: {queued}, should be {wanted}"))?;
        }
        Ok(live)
    }

    fn is_held(&self, key: ElementKey, element: &Element) -> bool {
        element.current().is_some_and(|attempt| {
            let worker = self.worker_of(attempt.epoch).filter(|worker| worker.name == attempt.worker);
            let held = worker.and_then(|worker| worker.attempts.get(&key));
            held.is_some_and(|held| held.number == attempt.number && held.fence == attempt.fence)
        })
    }

    fn check_workers(&self, live: usize) -> Result<(), String> {
        let held: usize = self.workers().map(|worker| worker.attempts.len()).sum();
        ensure(held == live, || format!("workers hold {held} attempts, {live} are live"))?;
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

    /// What comes next has a number of its own.
    fn check_numbers(&self) -> Result<(), String> {
        let (cluster, last) = (&self.cluster, self.cluster.scalars);
        let newest = self.jobs.get_max().map(|(id, _)| id.0).max(cluster.archive.get_max().map(|(id, _)| id.0));
        ensure(newest <= Some(last.last_job), || format!("job {newest:?} comes after {}", last.last_job))?;
        let epoch = self.workers().map(|worker| worker.epoch.0).max();
        ensure(epoch <= Some(last.last_epoch), || format!("epoch {epoch:?} comes after {}", last.last_epoch))
    }

    /// Everything derived must be what a restore from the records would derive.
    fn check_derived(&self) -> Result<(), String> {
        let mut restored = Self::take_up(self.snapshot_records()).map_err(|e| e.to_string())?;
        restored.derive();
        let (a, b) = (&self.cluster, &restored.cluster);
        ensure(a.queue == b.queue, || "the queue differs from a restored one".into())?;
        ensure(a.timers == b.timers, || format!("{} timers differ from {} restored", a.timers.len(), b.timers.len()))?;
        ensure(
            a.finished == b.finished && a.finished_by_size == b.finished_by_size && a.archived == b.archived,
            || "retention differs from a restored one".into(),
        )?;
        ensure(a.workers == b.workers && a.epochs == b.epochs, || "workers differ from restored ones".into())?;
        ensure(a.crowds == b.crowds, || "crowds differ from restored ones".into())?;
        ensure(a.slots == b.slots && a.awaited == b.awaited && a.schedules == b.schedules, || {
            "keys, awaited jobs or schedules differ from restored ones".into()
        })?;
        ensure(a.namespaces == b.namespaces && a.totals == b.totals, || "totals differ from restored ones".into())?;
        ensure(self.digest() == restored.digest(), || "the digest differs from a restored one".into())
    }
}

impl Job {
    /// Checks what concerns no other job and no worker. The records may come from anywhere.
    fn check(&self) -> Result<(), String> {
        let header = &self.header;
        let total = if self.is_schedule() { 0 } else { self.spec.elements() };
        let mut counts = TaskCounts { total, ..TaskCounts::default() };
        for (at, task, spec) in self.tasks() {
            self.check_each(at, task)?;
            task.check(spec).map_err(|violation| format!("task {at}{violation}"))?;
            *counts.of(task.head.fresh_state()) += u64::from(task.head.fresh_len());
            task.elements().for_each(|(_, element)| *counts.of(element.state) += 1);
        }
        ensure(counts == header.counts, || format!("counts {:?}, has {counts:?}", header.counts))?;
        let done = if self.is_schedule() { header.state.is_finished() } else { counts.finished() == counts.total };
        ensure(done == header.state.is_finished() && done == header.finished_at.is_some(), || {
            format!("is {} since {:?} with {counts:?}", header.state, header.finished_at)
        })?;
        let gained = self.plan.growth().map_or(0, |growth| growth.bytes());
        let bounded = (gained..=SPEC_BYTES_MAX).contains(&header.spec_bytes)
            && header.output_bytes <= OUTPUT_BYTES_PER_JOB_MAX
            && header.result_bytes <= RESULT_BYTES_MAX;
        ensure(bounded, || format!("has more bytes than may be: {header:?}"))?;
        self.check_flow()
    }

    fn check_flow(&self) -> Result<(), String> {
        let flow = self.header.flow();
        ensure(flow.skipped <= self.header.counts.cancelled, || format!("more was skipped than cancelled: {flow:?}"))?;
        ensure(flow.ledger.is_some() == self.is_schedule(), || format!("ledger of a job that is none: {flow:?}"))?;
        let gated = flow.is_gated() && !self.header.state.is_finished();
        ensure(!gated || self.header.counts.live() == 0, || format!("started before its gate: {flow:?}"))?;
        let rests = flow.slot == Slot::None && flow.awaited.is_empty();
        ensure(rests || !self.header.state.is_finished(), || format!("finished, and holds or waits: {flow:?}"))
    }
}

impl Job {
    /// No element starts before its counterparts have ended as they should.
    fn check_each(&self, at: u32, task: &Task) -> Result<(), String> {
        for edge in self.plan.each(at) {
            let Some(other) = self.task(edge.task).filter(|_| edge.on == On::Success) else { continue };
            for (index, _) in task.elements().filter(|(_, element)| element.state.is_live()) {
                let state = other.state_of(index);
                ensure(state == Some(TaskState::Succeeded), || {
                    format!("task {at}[{index}] started, its counterpart in {} is {state:?}", edge.task)
                })?;
            }
        }
        Ok(())
    }
}

impl Task {
    fn check(&self, spec: &TaskSpec) -> Result<(), String> {
        let TaskHead { fresh, count, succeeded, .. } = self.head;
        let whole = self.elements.len() == fresh as usize && self.elements.get_max().is_none_or(|(at, _)| *at < fresh);
        ensure(count == spec.count && fresh <= count && whole, || {
            format!(" has {:?}, {} records and {} elements", self.head, self.elements.len(), spec.count)
        })?;
        let of = |wanted: fn(TaskState) -> bool| self.elements().filter(|(_, e)| wanted(e.state)).count() as u32;
        let found = [
            of(|state| state == TaskState::Succeeded),
            of(|state| state == TaskState::Failed),
            of(|state| state == TaskState::Cancelled),
            of(TaskState::is_live),
        ];
        let noted = [succeeded, self.head.failed, self.head.cancelled, self.head.live];
        ensure(found == noted, || format!(" has {found:?} succeeded, failed, cancelled and live, noted {noted:?}"))?;
        let most = spec.max_parallel.unwrap_or(u32::MAX);
        ensure(self.head.live <= most, || format!(" has {} live elements, {most} may be", self.head.live))?;
        let ready = self.elements().filter(|(_, element)| element.state == TaskState::Pending).count();
        ensure(ready == self.ready.len(), || format!(" has {ready} pending elements, {} are ready", self.ready.len()))?;
        self.elements().try_for_each(|(index, element)| {
            let state = element.state;
            // What succeeded may have been kept by a retry of what it needs.
            ensure(!(state.is_live() && self.head.open_needs > 0), || format!("[{index}] started before its needs"))?;
            let live = element.current().is_some_and(|attempt| attempt.state.is_live());
            ensure(live == state.is_live(), || format!("[{index}] is {state} with an attempt {live}"))?;
            let sorted = element.attempts.is_sorted_by(|a, b| a.fence < b.fence && a.number < b.number);
            ensure(sorted, || format!("[{index}] has unordered attempts"))?;
            let ready = self.ready.contains(&index.0);
            ensure(ready == (state == TaskState::Pending), || format!("[{index}] is {state}, ready: {ready}"))
        })
    }
}

fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation()) }
}
