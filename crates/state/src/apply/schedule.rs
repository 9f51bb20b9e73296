//! Schedules. The leader says which ticks are due; here each is decided once, and in order, so that it runs once
//! whatever becomes of leaders, clocks and answers.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::schedule::Overlap;
use quorate_types::status::JobState;
use quorate_types::{Bug, JobId, JobSpec, Span, Timestamp, is_planted};

use super::Result;
use crate::flow::{Flow, Ledger, Run};
use crate::lifecycle::Change;
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    /// Decides the ticks up to `through`: those named run, as far as the schedule lets them overlap.
    pub(super) fn tick(&mut self, id: JobId, ticks: &[Timestamp], through: Timestamp, out: &mut Applied) -> Result {
        if self.schedule(id)?.header.state != JobState::Pending {
            return Ok(Outcome::Done);
        }
        for tick in ticks {
            let new = self.edit_ledger(id, out, |ledger| {
                let new = *tick > ledger.decided;
                ledger.decided = ledger.decided.max(*tick);
                new
            });
            let late = is_planted(Bug::LateTickLost) && out.time > tick.plus(Span::from_secs(1));
            if new == Some(true) && !late {
                self.start_tick(id, *tick, out);
            }
        }
        self.edit_ledger(id, out, |ledger| ledger.decided = ledger.decided.max(through));
        Ok(Outcome::Done)
    }

    /// Runs the schedule once, now, besides its ticks.
    pub(super) fn run_now(&mut self, id: JobId, out: &mut Applied) -> Result {
        let state = self.schedule(id)?.header.state;
        if state.is_finished() {
            return Err(Rejection::JobState { job: id, state });
        }
        let job = self.start_run(id, out.time, out)?;
        // It may have ended at once: what it needs has ended otherwise.
        let state = self.jobs.get(&job).map_or(JobState::Pending, |job| job.header.state);
        Ok(Outcome::Submitted { job, index: out.index, state, existing: false })
    }

    /// Gives the schedule another specification; what ran stays listed, and no tick is decided twice.
    pub(super) fn change_schedule(&mut self, id: JobId, spec: &Arc<JobSpec>, out: &mut Applied) -> Result {
        let state = self.schedule(id)?.header.state;
        if state.is_finished() {
            return Err(Rejection::JobState { job: id, state });
        }
        let old = self.schedule(id)?.spec.clone();
        // What it is known by stays: its key belongs to it as long as it is there.
        let (namespace, idempotency_key) = (old.namespace.clone(), old.idempotency_key.clone());
        let spec = Arc::new(JobSpec { namespace, idempotency_key, ..JobSpec::clone(spec) });
        if spec.schedule.is_none() {
            return Err(Rejection::NotASchedule(id));
        }
        let spec_bytes = super::submit::weight(&spec);
        self.check_room(&spec, spec_bytes)?;
        self.check_needs(&spec)?;
        self.check_resources(&spec)?;
        self.edit(id, out, |change| {
            change.cluster.unnote_submitted(change.job);
            change.job.spec = spec.clone();
            change.job.header.spec_bytes = spec_bytes;
            change.job.header.changed = change.out.index;
            change.cluster.note_submitted(change.job);
            change.cluster.note_schedule(change.job);
        });
        let now = out.time;
        // A new calendar counts from now: what the old one had missed is not made up for by it.
        if !old.schedule.as_deref().zip(spec.schedule.as_deref()).is_some_and(|(old, new)| old.ticks_as(new)) {
            self.edit_ledger(id, out, |ledger| ledger.decided = ledger.decided.max(now));
        }
        Ok(Outcome::Done)
    }

    fn schedule(&self, id: JobId) -> std::result::Result<&crate::job::Job, Rejection> {
        let missing = || if self.is_archived(id) { Rejection::Archived(id) } else { Rejection::NoSuchJob(id) };
        let job = self.jobs.get(&id).ok_or_else(missing)?;
        if job.is_schedule() { Ok(job) } else { Err(Rejection::NotASchedule(id)) }
    }

    /// A tick's turn: what runs already may stand in its way.
    fn start_tick(&mut self, id: JobId, tick: Timestamp, out: &mut Applied) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(overlap) = job.spec.schedule.as_ref().map(|schedule| schedule.overlap) else { return };
        // The ledger hears of ends only after the command.
        let running = |run: &JobId| self.jobs.get(run).is_some_and(|job| job.header.finished_at.is_none());
        let runs = job.header.flow().ledger.iter().flat_map(|ledger| ledger.active.iter().copied());
        let active: Vec<JobId> = runs.filter(running).collect();
        match overlap {
            Overlap::Allow => {}
            Overlap::Skip | Overlap::Queue | Overlap::Replace if active.is_empty() => {}
            Overlap::Skip => return self.skip_tick(id, tick, "the run before it has not finished", out),
            Overlap::Queue => {
                let waiting = self.edit_ledger(id, out, |ledger| {
                    let waiting = ledger.queued.is_some();
                    ledger.queued.get_or_insert(tick);
                    waiting
                });
                if waiting == Some(true) {
                    self.skip_tick(id, tick, "another tick waits already", out);
                }
                return;
            }
            Overlap::Replace => {
                for run in active {
                    // One that ends by itself meanwhile is out of the way, too.
                    let _ = self.cancel(run, out);
                }
            }
        }
        self.run_tick(id, tick, out);
    }

    /// A tick's run is refused as its submission would be, by a full queue say; then the tick is skipped.
    fn run_tick(&mut self, id: JobId, tick: Timestamp, out: &mut Applied) {
        if let Err(refused) = self.start_run(id, tick, out) {
            self.skip_tick(id, tick, &refused.to_string(), out);
        }
    }

    fn skip_tick(&mut self, id: JobId, tick: Timestamp, why: &str, out: &mut Applied) {
        self.edit(id, out, |change| {
            change.emit_job(EventType::ScheduleSkipped);
            if let Some(event) = change.out.events.last_mut() {
                event.reason = Some(format!("{tick}: {why}").into());
            }
        });
    }

    fn start_run(&mut self, id: JobId, tick: Timestamp, out: &mut Applied) -> std::result::Result<JobId, Rejection> {
        let schedule = self.schedule(id)?.spec.clone();
        let spec = Arc::new(JobSpec { schedule: None, idempotency_key: None, ..JobSpec::clone(&schedule) });
        let spec_bytes = super::submit::weight(&spec);
        self.check_room(&spec, spec_bytes)?;
        self.check_key(&spec)?;
        self.check_crowds(&spec)?;
        self.check_resources(&spec)?;
        let flow = Flow { run: Some(Run { schedule: id, tick }), ..Flow::of(&spec, out.time, out.time) };
        let run = self.start_job(&spec, spec_bytes, flow, out);
        self.edit_ledger(id, out, |ledger| ledger.active.insert(run));
        Ok(run)
    }

    /// Keeps the schedule's books of a run that has finished, and lets a waiting tick go.
    pub(super) fn on_run_finished(&mut self, run: JobId, out: &mut Applied) {
        let Some(Run { schedule, .. }) = self.jobs.get(&run).and_then(|job| job.header.flow().run) else { return };
        let history = self.jobs.get(&schedule).and_then(|job| job.spec.schedule.as_ref()).map(|spec| spec.history);
        let Some(history) = history else { return };
        let queued = self.edit_ledger(schedule, out, |ledger| {
            ledger.active.remove(&run)?;
            ledger.finished.insert(run);
            if ledger.active.is_empty() { ledger.queued.take() } else { None }
        });
        match (queued.flatten(), self.jobs.get(&schedule).map(|job| job.header.state)) {
            (Some(tick), Some(JobState::Pending)) => self.run_tick(schedule, tick, out),
            (Some(tick), Some(JobState::Paused)) => self.skip_tick(schedule, tick, "the schedule is paused", out),
            _ => {}
        }
        let too_many = self.edit_ledger(schedule, out, |ledger| {
            let surplus = ledger.finished.len().saturating_sub(history as usize);
            let oldest: Vec<JobId> = ledger.finished.iter().take(surplus).copied().collect();
            for run in &oldest {
                ledger.finished.remove(run);
            }
            oldest
        });
        for oldest in too_many.unwrap_or_default() {
            // A user may have forgotten or retried it.
            let _ = self.forget(oldest, out);
        }
    }

    /// A run that is tried again is one that has not finished.
    pub(super) fn on_run_retried(&mut self, run: JobId, out: &mut Applied) {
        if let Some(Run { schedule, .. }) = self.jobs.get(&run).and_then(|job| job.header.flow().run) {
            self.edit_ledger(schedule, out, |ledger| {
                ledger.finished.remove(&run);
                ledger.active.insert(run);
            });
        }
    }

    fn edit_ledger<R>(&mut self, id: JobId, out: &mut Applied, edit: impl FnOnce(&mut Ledger) -> R) -> Option<R> {
        let changed = self.edit(id, out, |change: &mut Change<'_>| {
            change.job.header.flow().ledger.as_ref()?;
            change.job.header.flow_mut().ledger.as_mut().map(edit)
        });
        changed.flatten()
    }
}
