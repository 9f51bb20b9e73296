//! Applying an entry: time first, then each command in order.

mod assign;
mod checks;
mod control;
mod extend;
mod follow;
mod gates;
mod lock;
mod membership;
mod preempt;
mod recall;
mod register;
mod report;
mod resource;
mod retention;
mod retry;
mod schedule;
mod service;
mod spaces;
mod submit;

use quorate_types::LogIndex;

use crate::command::{Command, Entry, Proposal};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    /// Applies one entry. Never fails: what can't be done is an [`Outcome::Rejected`].
    ///
    /// # Panics
    /// If `index` is not above the newest applied index: entries are applied once and in order.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Applied {
        self.skip(index);
        let scalars = &mut self.cluster.scalars;
        scalars.now = scalars.now.max(entry.time);
        let mut out = Applied::new(index, scalars.now);
        self.fire_timers(&mut out);
        for proposal in &entry.proposals {
            let outcome = self.apply_proposal(proposal, &mut out);
            self.follow_finished(&mut out);
            out.outcomes.push(outcome);
        }
        out
    }

    /// Notes an entry without commands.
    pub fn skip(&mut self, index: LogIndex) {
        assert!(index > self.index(), "entry {index} comes after {}", self.index());
        self.cluster.scalars.index = index;
    }

    fn apply_proposal(&mut self, proposal: &Proposal, out: &mut Applied) -> Outcome {
        let Some(origin) = &proposal.origin else {
            return self.apply_command(&proposal.command, out);
        };
        if let Some(earlier) = self.dedup.earlier(origin) {
            return earlier;
        }
        let outcome = self.apply_command(&proposal.command, out);
        self.dedup.remember(origin, out.index, &outcome);
        outcome
    }

    fn apply_command(&mut self, command: &Command, out: &mut Applied) -> Outcome {
        let result = match command {
            Command::Submit(spec) => self.submit(spec, out),
            Command::Cancel { job } => self.cancel(*job, out),
            Command::Pause { job } => self.pause(*job, out),
            Command::Freeze { job } => self.freeze(*job, out),
            Command::Resume { job } => self.resume(*job, out),
            Command::Retry { job, scope } => self.retry(*job, *scope, None, out),
            Command::Forget { job } => self.forget(*job, out),
            Command::Reassign { job, task, index } => self.reassign(*job, task, *index, out),
            Command::Register(registration) => self.register(registration, out),
            Command::Attach { worker, epoch, replica } => self.attach(worker, *epoch, *replica),
            Command::Expire { worker, epoch } => self.expire(worker, *epoch, out),
            Command::End { worker, epoch } => self.end(worker, *epoch, out),
            Command::Drain { worker } => self.set_draining(worker, crate::apply::register::Drain::On, out),
            Command::Undrain { worker } => self.set_draining(worker, crate::apply::register::Drain::Off, out),
            Command::Remove { worker } => self.remove_worker(worker),
            Command::Assign { items } => Ok(self.assign(items, out)),
            Command::Report { worker, epoch, reports } => self.report(worker, *epoch, reports, out),
            Command::Advance => Ok(Outcome::Done),
            Command::ChangePolicy(change) => {
                let policy = change.clone().of(self.cluster.scalars.policy.clone());
                self.cluster.scalars.policy = policy.clone();
                Ok(Outcome::PolicyChanged(policy))
            }
            Command::NameCluster { id } => Ok(self.name_cluster(*id)),
            Command::IdentifyReplica { replica, storage } => self.identify_replica(*replica, *storage),
            Command::AnnounceReplica { replica, http } => Ok(self.announce_replica(*replica, http)),
            Command::Tick { schedule, ticks, through } => self.tick(*schedule, ticks, *through, out),
            Command::RunNow { schedule } => self.run_now(*schedule, out),
            Command::ChangeSchedule { schedule, spec } => self.change_schedule(*schedule, spec, out),
            Command::ChangeService { service, spec } => self.change_service(*service, spec, out),
            Command::RetryFrom { job, task } => self.retry_from(*job, task, None, out),
            Command::DrainBy { worker, within } => self.drain_by(worker, *within, out),
            Command::Preempt { items } => Ok(self.preempt(items, out)),
            Command::Taint { worker, taints } => self.taint(worker, taints, out),
            Command::SetNamespace { namespace, rules } => self.set_namespace(namespace, rules),
            Command::ResetNamespace { namespace } => Ok(self.reset_namespace(namespace)),
            Command::SetResource { name, total } => self.set_resource(name, *total),
            Command::RemoveResource { name } => self.remove_resource(name),
            Command::AcquireLock { lock, by, wait } => self.acquire_lock(lock, by, *wait, out),
            Command::ReleaseLock { lock, by } => self.give_back_lock(lock, by, out),
            Command::RetryArchived { job, again, recalled } => self.retry_archived(*job, again, recalled, out),
        };
        result.unwrap_or_else(Outcome::Rejected)
    }
}

/// What applying one command gives.
type Result = std::result::Result<Outcome, Rejection>;
