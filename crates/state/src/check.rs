//! What must hold after every apply. Tests and the simulation call it; O(size of the state). What a snapshot
//! brings must pass as well, all but the comparison with what would be restored from it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::api::TaskCounts;
use quorate_types::status::TaskState;
use quorate_types::{Name, On, Resources, TaskIndex, TaskSpec};

use crate::element::Element;
use crate::flow::Slot;
use crate::job::{ElementKey, Job, Task, TaskHead};
use crate::limits::{OUTPUT_BYTES_PER_JOB_MAX, RESULT_BYTES_MAX, SPEC_BYTES_MAX};
use crate::queue::Queued;
use crate::spaces::{Hold, Space};
use crate::state::{State, Totals};
use crate::worker::Worker;

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
            self.check_system(job)?;
            let counts = job.header.counts;
            totals.unfinished_elements += job.unfinished_elements();
            totals.spec_bytes += job.header.spec_bytes;
            totals.output_bytes += job.header.output_bytes;
            totals.result_bytes += job.header.result_bytes;
            if job.header.finished_at.is_some() && !self.cluster.leaving.contains_key(&job.id()) {
                totals.finished_elements += counts.total;
            }
        }
        totals.output_bytes += self.cluster.archive.values().map(|stub| stub.output_bytes).sum::<u64>();
        ensure(totals == self.totals(), || format!("totals are {:?}, should be {totals:?}", self.totals()))?;
        self.check_workers(live)?;
        self.check_spaces()?;
        self.check_held()?;
        self.check_locks()?;
        self.check_numbers()
    }

    /// The queue and the workers know what can be placed and what is live; gives the number of live attempts.
    fn check_placement(&self, job: &Job) -> Result<usize, String> {
        let (id, mut live) = (job.id(), 0);
        for (at, task, _) in job.tasks() {
            let mut in_line = 0;
            for (index, element) in task.elements().filter(|(_, element)| element.state.is_live()) {
                live += 1;
                let key = ElementKey { job: id, task: at, index };
                let held = element.current().and_then(|attempt| self.worker_of(attempt.epoch)?.attempts.get(&key));
                in_line += u32::from(held.is_some_and(|live| !live.holds));
                ensure(self.is_held(key, element), || format!("{key:?} is not held by the worker of its attempt"))?;
                let worker = element.current().and_then(|attempt| self.worker_of(attempt.epoch));
                let stranger = worker.and_then(|worker| self.stranger_on(job, at, worker));
                ensure(stranger.is_none(), || {
                    format!("{key:?} shares its worker with what it must not: {stranger:?}")
                })?;
                let kin = worker.filter(|_| job.is_service()).and_then(|worker| Self::too_close(job, key, worker));
                ensure(kin.is_none(), || format!("{key:?} shares its worker with {kin:?}"))?;
            }
            let noted = task.head.in_line;
            ensure(in_line == noted, || format!("{in_line} of task {at} of job {id} are in line, noted {noted}"))?;
            let queued = self.queue().contains(Queued { job: id, task: at });
            let wanted = job.is_placeable() && job.has_pending(at);
            ensure(queued == wanted, || format!("task {at} of job {id} queued: {queued}, should be {wanted}"))?;
        }
        Ok(live)
    }

    /// Another element of the job on the worker that must be apart from one.
    fn too_close(job: &Job, key: ElementKey, worker: &Worker) -> Option<ElementKey> {
        let first = ElementKey { task: 0, index: TaskIndex(0), ..key };
        let last = ElementKey { task: u32::MAX, index: TaskIndex(u32::MAX), ..key };
        let mut others = worker.attempts.range(first..=last).map(|(other, _)| *other).filter(|other| *other != key);
        others.find(|other| job.apart(key.task).any(|task| task == other.task))
    }

    fn is_held(&self, key: ElementKey, element: &Element) -> bool {
        element.current().is_some_and(|attempt| {
            let worker = self.worker_of(attempt.epoch).filter(|worker| worker.name == attempt.worker);
            let held = worker.and_then(|worker| worker.attempts.get(&key));
            held.is_some_and(|held| held.number == attempt.number && held.fence == attempt.fence)
        })
    }

    /// Whoever holds nothing waits for exactly one other, and that one knows; who waits for nobody holds.
    fn check_lines(worker: &Worker) -> Result<(), String> {
        let mut waiting = BTreeSet::new();
        for (at, live) in &worker.attempts {
            let before = live.behind.and_then(|first| worker.before(at, first, live.fence));
            ensure(live.holds == before.is_none(), || {
                format!("{at:?} waits for {before:?}, and holds: {}", live.holds)
            })?;
            let follows = before.is_none_or(|before| worker.attempts[&before].next == Some(at.index));
            ensure(follows, || format!("{before:?} does not know that {at:?} is next"))?;
            waiting.extend(before.map(|before| (before, at.index)));
        }
        let known = worker.attempts.iter().filter_map(|(at, live)| Some((*at, live.next?))).collect();
        let counted = worker.attempts.values().filter(|live| !live.holds).count();
        ensure(counted == worker.waiting, || format!("{counted} wait, noted {}", worker.waiting))?;
        ensure(waiting == known, || format!("{waiting:?} wait, {known:?} are known"))
    }

    fn check_workers(&self, live: usize) -> Result<(), String> {
        let held: usize = self.workers().map(|worker| worker.attempts.len()).sum();
        ensure(held == live, || format!("workers hold {held} attempts, {live} are live"))?;
        for worker in self.workers() {
            let mut used = Resources::default();
            for (at, _) in worker.holders() {
                let job = self.job(at.job).ok_or_else(|| format!("{at:?} has no job"))?;
                used.add(&job.spec.tasks[at.task as usize].resources);
            }
            let name = &worker.name;
            ensure(used == worker.used, || format!("worker {name} uses {used:?}, noted {:?}", worker.used))?;
            ensure(used.fits(&worker.capacity), || format!("worker {name} is over capacity with {used:?}"))?;
            Self::check_lines(worker)?;
            ensure(worker.is_alive() || worker.attempts.is_empty(), || format!("dead worker {name} holds attempts"))?;
        }
        Ok(())
    }

    /// What namespaces hold is what their live attempts hold together, and no more than they may.
    fn check_spaces(&self) -> Result<(), String> {
        let mut found: BTreeMap<&Name, Space> = BTreeMap::new();
        for job in self.jobs() {
            let space = found.entry(&job.spec.namespace).or_default();
            space.jobs += 1;
            space.unfinished += job.unfinished_elements();
        }
        for (at, live) in self.workers().flat_map(|worker| worker.holders()) {
            let job = self.job(at.job).ok_or_else(|| format!("{at:?} has no job"))?;
            let (space, asked) = (found.entry(&job.spec.namespace).or_default(), &job.spec.tasks[at.task as usize]);
            space.note(Hold::Begins, &asked.resources);
            if live.stopping {
                space.note(Hold::Stopping, &asked.resources);
            }
        }
        let noted = self.spaces().iter().collect::<Vec<_>>();
        ensure(found.iter().map(|(name, space)| (*name, space)).eq(noted.iter().copied()), || {
            format!("namespaces hold {found:?}, noted {noted:?}")
        })?;
        self.cluster.past.check(&self.cluster.spaces, self.now())?;
        for (name, rules) in self.rules() {
            let over = self.cluster.over.get(name);
            for (kind, limit) in rules.limit.kinds() {
                let held = self.space(name).map_or(0, |space| space.held.amount(kind));
                let most = over.map_or(0, |over| over.amount(kind)).max(limit);
                ensure(held <= most, || format!("namespace {name} holds {held} {kind}, {most} may be"))?;
            }
        }
        Ok(())
    }

    /// What is held of the cluster's resources is what live attempts hold. A total may have been lowered since.
    fn check_held(&self) -> Result<(), String> {
        let mut held: BTreeMap<&Name, u64> = BTreeMap::new();
        for (at, _) in self.workers().flat_map(|worker| worker.holders()) {
            let spec = self.job(at.job).and_then(|job| job.task_spec(at.task));
            for (name, amount) in spec.into_iter().flat_map(|spec| &spec.cluster_resources) {
                *held.entry(name).or_default() += u64::from(*amount);
            }
        }
        let noted = self.cluster.pools.sums();
        ensure(held == noted, || format!("live attempts hold {held:?}, noted {noted:?}"))?;
        let sound = held.iter().all(|(name, amount)| self.cluster.pools.held(name) == *amount);
        ensure(sound, || format!("sums of what is held are not {held:?}"))?;
        ensure(self.cluster.rates.iter().all(|(_, tokens)| tokens.is_sound()), || "tokens are not counted well".into())
    }

    /// Whoever holds a lock, or waits for one, lives. Nobody has a token that is still to come.
    fn check_locks(&self) -> Result<(), String> {
        for (key, lock) in &self.cluster.locks.by_key {
            let claims = std::iter::once(&lock.holder).chain(lock.line.values().map(|waiter| &waiter.claim));
            for claim in claims {
                let element = self.job(claim.at.job).and_then(|job| job.task(claim.at.task)?.element(claim.at.index));
                let live = element.and_then(Element::current).filter(|attempt| attempt.state.is_live());
                let lives = live.is_some_and(|attempt| attempt.fence == claim.fence && attempt.worker == claim.worker);
                ensure(lives, || format!("{claim:?} has to do with {key:?}, and does not live"))?;
            }
            let newest = lock.line.get_max().map_or(0, |(ticket, _)| *ticket).max(lock.token);
            let last = self.cluster.scalars.last_lock;
            ensure(newest <= last, || format!("{newest} of {key:?} comes after {last}"))?;
        }
        Ok(())
    }

    /// What comes next has a number of its own.
    fn check_numbers(&self) -> Result<(), String> {
        let (cluster, last) = (&self.cluster, &self.cluster.scalars);
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
        let same = a.workers == b.workers && a.epochs == b.epochs && a.draining == b.draining;
        ensure(same, || "workers differ from restored ones".into())?;
        ensure(a.crowds == b.crowds, || "crowds differ from restored ones".into())?;
        ensure(a.pools == b.pools && a.rates == b.rates && a.locks == b.locks, || {
            "counted resources, rates or locks differ from restored ones".into()
        })?;
        ensure(a.systems == b.systems && a.services == b.services, || {
            "services or the workers of system jobs differ from restored ones".into()
        })?;
        ensure(a.slots == b.slots && a.awaited == b.awaited && a.schedules == b.schedules, || {
            "keys, awaited jobs or schedules differ from restored ones".into()
        })?;
        ensure(
            a.rules == b.rules && a.over == b.over && a.past == b.past && a.spaces == b.spaces && a.totals == b.totals,
            || "namespaces or totals differ from restored ones".into(),
        )?;
        ensure(self.digest() == restored.digest(), || "the digest differs from a restored one".into())
    }
}

impl Job {
    /// Checks what concerns no other job and no worker. The records may come from anywhere.
    pub(crate) fn check(&self) -> Result<(), String> {
        let header = &self.header;
        let heads = || self.tasks.values().map(|task| u64::from(task.head.count)).sum();
        let total = match (self.is_schedule(), self.is_service()) {
            (true, _) => 0,
            (false, true) => heads(),
            (false, false) => self.spec.elements(),
        };
        let mut counts = TaskCounts { total, ..TaskCounts::default() };
        for (at, task, spec) in self.tasks() {
            self.check_each(at, task)?;
            let count = if self.is_service() { task.head.count } else { spec.count };
            task.check(spec, count).map_err(|violation| format!("task {at}{violation}"))?;
            self.gang(at).filter(|gang| gang.first_task() == at).map_or(Ok(()), |gang| self.check_gang(gang))?;
            *counts.of(task.head.fresh_state()) += u64::from(task.head.fresh_len());
            task.elements().for_each(|(_, element)| *counts.of(element.state) += 1);
        }
        ensure(counts == header.counts, || format!("counts {:?}, has {counts:?}", header.counts))?;
        let by_hand = self.is_schedule() || (self.is_service() && !header.cancelling);
        let done = if by_hand { header.state.is_finished() } else { counts.finished() == counts.total };
        ensure(done == header.state.is_finished() && done == header.finished_at.is_some(), || {
            format!("is {} since {:?} with {counts:?}", header.state, header.finished_at)
        })?;
        let gained = self.plan.growth().map_or(0, |growth| growth.bytes());
        let bounded = (gained..=SPEC_BYTES_MAX).contains(&header.spec_bytes)
            && header.output_bytes <= OUTPUT_BYTES_PER_JOB_MAX
            && header.result_bytes <= RESULT_BYTES_MAX;
        ensure(bounded, || format!("has more bytes than may be: {header:?}"))?;
        self.check_service()?;
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
    fn check(&self, spec: &TaskSpec, elements: u32) -> Result<(), String> {
        let TaskHead { fresh, count, succeeded, .. } = self.head;
        let whole = self.elements.len() == fresh as usize && self.elements.get_max().is_none_or(|(at, _)| *at < fresh);
        ensure(count == elements && fresh <= count && whole, || {
            format!(" has {:?}, {} records and {elements} elements", self.head, self.elements.len())
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
