//! Workers come, move, drain and go.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::status::StopReason;
use quorate_types::{Epoch, Name, ReplicaId, Resources, Span, Taint};

use super::Result;
use crate::command::Registration;
use crate::element::AfterStop;
use crate::job::ElementKey;
use crate::limits::{DEAD_WORKER_RETENTION, WORKERS_MAX};
use crate::outcome::{Applied, Event, Notice, NoticeKind, Outcome, Rejection};
use crate::state::State;
use crate::timers::Timer;
use crate::worker::{Life, Worker};

/// Whether an operator wants new tasks on a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    On,
    Off,
}

impl State {
    /// A new registration. A living one of the same name ends only if the agent says that all of its
    /// attempts have ended; else its lease must run out first.
    pub(super) fn register(&mut self, new: &Registration, out: &mut Applied) -> Result {
        let earlier = self.worker(&new.name).cloned();
        if let Some(alive) = earlier.as_ref().filter(|worker| worker.is_alive()) {
            if alive.instance == new.instance {
                return Ok(Outcome::Registered { epoch: alive.epoch });
            }
            if new.replaces != Some(alive.instance) {
                return Err(Rejection::WorkerNameInUse(new.name.clone()));
            }
            self.retire(&new.name, Life::Lost, out);
        }
        if earlier.is_none() && self.cluster.workers.len() as u64 >= WORKERS_MAX {
            return Err(Rejection::TooManyWorkers(WORKERS_MAX));
        }
        if let Some(dead) = self.worker(&new.name).filter(|w| !w.is_alive()) {
            let timer = Timer::ForgetWorker { name: dead.name.clone(), epoch: dead.epoch };
            let due = dead.since.plus(DEAD_WORKER_RETENTION);
            self.cluster.timers.cancel(due, timer);
        }
        self.cluster.scalars.last_epoch += 1;
        let epoch = Epoch(self.cluster.scalars.last_epoch);
        let given_taints = earlier.as_ref().map(|worker| worker.given_taints.clone()).unwrap_or_default();
        let worker = Worker {
            name: new.name.clone(),
            epoch,
            instance: new.instance,
            labels: new.labels.clone(),
            own_taints: new.taints.clone(),
            given_taints,
            host: new.host.clone(),
            capacity: new.capacity.clone(),
            life: Life::Alive,
            draining: earlier.is_some_and(|worker| worker.draining),
            replica: new.replica,
            lease_ttl: new.lease_ttl,
            since: out.time,
            drain_until: None,
            used: Resources::default(),
            attempts: imbl::OrdMap::new(),
            waiting: 0,
        };
        let kind = if worker.draining { EventType::WorkerDraining } else { EventType::WorkerReady };
        out.events.push(worker_event(kind, &new.name, epoch));
        self.cluster.epochs.insert(epoch, new.name.clone());
        self.cluster.workers.insert(new.name.clone(), Arc::new(worker));
        self.follow_worker(&new.name, out);
        Ok(Outcome::Registered { epoch })
    }

    pub(super) fn attach(&mut self, name: &Name, epoch: Epoch, replica: ReplicaId) -> Result {
        self.living(name, epoch)?.replica = replica;
        Ok(Outcome::Done)
    }

    pub(super) fn expire(&mut self, name: &Name, epoch: Epoch, out: &mut Applied) -> Result {
        self.living(name, epoch)?;
        self.retire(name, Life::Lost, out);
        Ok(Outcome::Done)
    }

    pub(super) fn end(&mut self, name: &Name, epoch: Epoch, out: &mut Applied) -> Result {
        self.living(name, epoch)?;
        self.retire(name, Life::Left, out);
        Ok(Outcome::Done)
    }

    pub(super) fn set_draining(&mut self, name: &Name, drain: Drain, out: &mut Applied) -> Result {
        let found = self.cluster.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        let worker = Arc::make_mut(found);
        let wanted = drain == Drain::On;
        if let Some(due) = worker.drain_until.take() {
            let timer = Timer::DrainDeadline { name: name.clone(), epoch: worker.epoch };
            self.cluster.timers.cancel(due, timer);
        }
        if std::mem::replace(&mut worker.draining, wanted) != wanted && worker.is_alive() {
            let kind = if wanted { EventType::WorkerDraining } else { EventType::WorkerReady };
            out.events.push(worker_event(kind, name, worker.epoch));
        }
        self.follow_worker(name, out);
        out.vacated.push(name.clone());
        Ok(Outcome::Done)
    }

    /// Drains the worker; what still runs there after `within` is ended and placed again.
    pub(super) fn drain_by(&mut self, name: &Name, within: Span, out: &mut Applied) -> Result {
        self.set_draining(name, Drain::On, out)?;
        let found = self.cluster.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        let (worker, due) = (Arc::make_mut(found), out.time.plus(within));
        let timer = Timer::DrainDeadline { name: name.clone(), epoch: worker.epoch };
        worker.drain_until = Some(due);
        if worker.is_alive() {
            self.cluster.timers.set(due, timer);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn drain_deadline(&mut self, name: &Name, epoch: Epoch, out: &mut Applied) {
        let Some(found) = self.cluster.workers.get_mut(name).filter(|worker| worker.epoch == epoch) else { return };
        let worker = Arc::make_mut(found);
        worker.drain_until = None;
        let live: Vec<ElementKey> = worker.attempts.keys().copied().collect();
        for at in live {
            self.edit(at.job, out, |change| change.stop(&at, AfterStop::Requeue, StopReason::Drained));
        }
    }

    /// What runs there goes on.
    pub(super) fn taint(&mut self, name: &Name, taints: &[Taint], out: &mut Applied) -> Result {
        let found = self.cluster.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        Arc::make_mut(found).given_taints = taints.to_vec();
        self.follow_worker(name, out);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_worker(&mut self, name: &Name) -> Result {
        let worker = self.worker(name).cloned().ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        if worker.is_alive() {
            return Err(Rejection::WorkerAlive(name.clone()));
        }
        self.cluster.workers.remove(name);
        let due = worker.since.plus(DEAD_WORKER_RETENTION);
        self.cluster.timers.cancel(due, Timer::ForgetWorker { name: name.clone(), epoch: worker.epoch });
        Ok(Outcome::Done)
    }

    /// The registration is over: its attempts are lost and their tasks go back into the queue.
    fn retire(&mut self, name: &Name, life: Life, out: &mut Applied) {
        let Some(found) = self.cluster.workers.get_mut(name) else { return };
        let worker = Arc::make_mut(found);
        (worker.life, worker.since) = (life, out.time);
        let epoch = worker.epoch;
        if let Some(due) = worker.drain_until.take() {
            self.cluster.timers.cancel(due, Timer::DrainDeadline { name: name.clone(), epoch });
        }
        let lost: Vec<ElementKey> = worker.attempts.keys().copied().collect();
        self.cluster.epochs.remove(&epoch);
        let timer = Timer::ForgetWorker { name: name.clone(), epoch };
        self.cluster.timers.set(out.time.plus(DEAD_WORKER_RETENTION), timer);
        let kind = match life {
            Life::Left => EventType::WorkerLeft,
            Life::Lost | Life::Alive => EventType::WorkerLost,
        };
        out.events.push(worker_event(kind, name, epoch));
        out.notices.push(Notice { worker: name.clone(), epoch, what: NoticeKind::Fenced });
        self.follow_worker(name, out);
        for at in lost {
            self.edit(at.job, out, |change| change.lose_attempt(&at));
        }
    }

    /// The living worker of exactly this registration.
    fn living(&mut self, name: &Name, epoch: Epoch) -> std::result::Result<&mut Worker, Rejection> {
        let found = self.cluster.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        if found.epoch != epoch || !found.is_alive() {
            return Err(Rejection::StaleEpoch);
        }
        Ok(Arc::make_mut(found))
    }
}

fn worker_event(kind: EventType, name: &Name, epoch: Epoch) -> Event {
    Event { worker: Some(name.clone()), epoch: Some(epoch), ..Event::new(kind) }
}
