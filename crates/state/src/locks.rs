//! Locks that attempts take while they run. Who holds one is told a token, larger than that of every holder before, to
//! hand to what the lock protects. Others wait in line, first come, first served. What an attempt holds and waits for
//! ends with it, in the same entry.
//!
//! A lock exists while somebody holds it. One who waits has to ask again before his time in line is over: a client that
//! died keeps nobody waiting.

use std::ops::Bound;

use imbl::OrdMap;
use quorate_types::event::EventType;
use quorate_types::gate::{ElementName, LockHolder, LockPlace, LockView};
use quorate_types::{AttemptNumber, Fence, Name, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::job::ElementKey;
use crate::limits::{LOCK_LINE_MAX, LOCKS_MAX, LOCKS_PER_ATTEMPT_MAX};
use crate::outcome::{Applied, Event, Outcome, Rejection};
use crate::state::{Cluster, State};

/// A lock belongs to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockKey {
    pub namespace: Name,
    pub name: Name,
}

/// An attempt that holds a lock or waits for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) at: ElementKey,
    pub(crate) task: Name,
    pub(crate) attempt: AttemptNumber,
    pub(crate) fence: Fence,
    pub(crate) worker: Name,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) token: u64,
    pub(crate) holder: Claim,
    pub(crate) since: Timestamp,
    /// By their tickets.
    #[serde(skip)]
    pub(crate) line: OrdMap<u64, Waiter>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) claim: Claim,
    /// He has left the line by then, unless he asked again.
    pub(crate) until: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Locks {
    pub(crate) by_key: OrdMap<LockKey, Lock>,
    /// Derived: what an attempt holds, and what it waits for with which ticket.
    pub(crate) by_element: OrdMap<ElementKey, OrdMap<LockKey, Option<u64>>>,
}

impl Cluster {
    /// The attempt asks for a lock. If somebody has it, it waits in line for so long, or not at all.
    pub(crate) fn acquire(
        &mut self,
        key: LockKey,
        claim: Claim,
        wait: Span,
        out: &mut Applied,
    ) -> Result<Outcome, Rejection> {
        let standing = self.locks.by_element.get(&claim.at).and_then(|own| own.get(&key)).copied();
        let Some(lock) = self.locks.by_key.get(&key) else { return self.grant_new(key, claim, out) };
        match standing {
            Some(None) => Ok(Outcome::LockHeld { token: lock.token }),
            None | Some(Some(_)) if wait.0 == 0 => Err(lock.taken(&key)),
            Some(Some(ticket)) => Ok(self.wait_in_line(&key, claim, ticket, wait)),
            None => {
                self.check_locks_of(&claim)?;
                self.make_room_in_line(&key)?;
                let ticket = self.next_lock_number();
                Ok(self.wait_in_line(&key, claim, ticket, wait))
            }
        }
    }

    fn grant_new(&mut self, key: LockKey, claim: Claim, out: &mut Applied) -> Result<Outcome, Rejection> {
        self.check_locks_of(&claim)?;
        if self.locks.by_key.len() >= LOCKS_MAX {
            return Err(Rejection::TooManyLocks(LOCKS_MAX as u64));
        }
        let token = self.grant(key, claim, OrdMap::new(), out);
        Ok(Outcome::LockHeld { token })
    }

    fn check_locks_of(&self, claim: &Claim) -> Result<(), Rejection> {
        let own = self.locks.by_element.get(&claim.at).map_or(0, OrdMap::len);
        if own >= LOCKS_PER_ATTEMPT_MAX {
            return Err(Rejection::TooManyLocksOfOne(LOCKS_PER_ATTEMPT_MAX as u64));
        }
        Ok(())
    }

    fn next_lock_number(&mut self) -> u64 {
        self.scalars.last_lock += 1;
        self.scalars.last_lock
    }

    fn grant(&mut self, key: LockKey, claim: Claim, line: OrdMap<u64, Waiter>, out: &mut Applied) -> u64 {
        let token = self.next_lock_number();
        out.events.push(claim.event(EventType::LockAcquired, &key));
        self.locks.by_element.entry(claim.at).or_default().insert(key.clone(), None);
        self.locks.by_key.insert(key, Lock { token, holder: claim, since: out.time, line });
        token
    }

    fn wait_in_line(&mut self, key: &LockKey, claim: Claim, ticket: u64, wait: Span) -> Outcome {
        let until = self.scalars.now.plus(wait);
        let mut place = 0;
        self.locks.by_element.entry(claim.at).or_default().insert(key.clone(), Some(ticket));
        if let Some(lock) = self.locks.by_key.get_mut(key) {
            lock.line.insert(ticket, Waiter { claim, until });
            place = lock.place(ticket);
        }
        Outcome::LockWaits { place, until }
    }

    /// If the line is full, those leave it whose time is over.
    fn make_room_in_line(&mut self, key: &LockKey) -> Result<(), Rejection> {
        let (now, lock) = (self.scalars.now, self.locks.by_key.get(key));
        let Some(line) = lock.map(|lock| &lock.line).filter(|line| line.len() >= LOCK_LINE_MAX) else { return Ok(()) };
        let lapsed: Vec<u64> =
            line.iter().filter(|(_, waiter)| waiter.until <= now).map(|(ticket, _)| *ticket).collect();
        if lapsed.is_empty() {
            return Err(Rejection::LockCrowded(LOCK_LINE_MAX as u64, key.name.clone()));
        }
        lapsed.into_iter().for_each(|ticket| self.leave_line(key, ticket));
        Ok(())
    }

    fn leave_line(&mut self, key: &LockKey, ticket: u64) {
        let waiter = self.locks.by_key.get_mut(key).and_then(|lock| lock.line.remove(&ticket));
        if let Some(waiter) = waiter {
            self.locks.forget(&waiter.claim.at, key);
        }
    }

    /// The attempt gives back the lock, or leaves the line for it.
    pub(crate) fn release_lock(
        &mut self,
        key: &LockKey,
        at: &ElementKey,
        out: &mut Applied,
    ) -> Result<Outcome, Rejection> {
        let standing = self.locks.by_element.get(at).and_then(|own| own.get(key)).copied();
        match standing {
            None => return Err(Rejection::LockNotHeld(key.name.clone())),
            Some(Some(ticket)) => self.leave_line(key, ticket),
            Some(None) => self.pass_on(key, out),
        }
        Ok(Outcome::Done)
    }

    /// The holder of a lock gives it to the first in line whose time is not over.
    fn pass_on(&mut self, key: &LockKey, out: &mut Applied) {
        let Some(Lock { holder, mut line, .. }) = self.locks.by_key.remove(key) else { return };
        out.events.push(holder.event(EventType::LockReleased, key));
        self.locks.forget(&holder.at, key);
        while let Some((ticket, waiter)) = line.get_min().cloned() {
            line.remove(&ticket);
            if waiter.until > self.scalars.now {
                self.grant(key.clone(), waiter.claim, line, out);
                return;
            }
            self.locks.forget(&waiter.claim.at, key);
        }
    }

    /// The attempt has ended, and holds and waits for nothing any more.
    pub(crate) fn release_locks(&mut self, at: &ElementKey, out: &mut Applied) {
        let Some(own) = self.locks.by_element.get(at).cloned() else { return };
        for (key, standing) in own {
            match standing {
                Some(ticket) => self.leave_line(&key, ticket),
                None => self.pass_on(&key, out),
            }
        }
    }
}

impl Locks {
    /// The element has nothing to do with the lock any more.
    fn forget(&mut self, at: &ElementKey, key: &LockKey) {
        let Some(own) = self.by_element.get_mut(at) else { return };
        own.remove(key);
        if own.is_empty() {
            self.by_element.remove(at);
        }
    }

    /// Makes anew what is derived.
    pub(crate) fn derive(&mut self) {
        for (key, lock) in &self.by_key {
            self.by_element.entry(lock.holder.at).or_default().insert(key.clone(), None);
            for (ticket, waiter) in &lock.line {
                self.by_element.entry(waiter.claim.at).or_default().insert(key.clone(), Some(*ticket));
            }
        }
    }
}

impl Lock {
    /// Where in line somebody stands, from 1.
    fn place(&self, ticket: u64) -> u64 {
        self.line.range(..=ticket).count() as u64
    }

    fn taken(&self, key: &LockKey) -> Rejection {
        let Claim { at, task, .. } = &self.holder;
        Rejection::LockTaken { lock: key.name.clone(), job: at.job, task: task.clone(), index: at.index }
    }

    fn view(&self, key: &LockKey) -> LockView {
        LockView {
            name: key.name.clone(),
            namespace: key.namespace.clone(),
            token: self.token,
            holder: self.holder.view(),
            since: self.since,
            waiting: self.line.len() as u64,
        }
    }
}

impl Claim {
    fn view(&self) -> LockHolder {
        let Self { at, task, attempt, fence, worker } = self;
        LockHolder {
            element: ElementName { job: at.job, task: task.clone(), index: at.index },
            attempt: *attempt,
            fence: *fence,
            worker: worker.clone(),
        }
    }

    fn event(&self, kind: EventType, key: &LockKey) -> Event {
        Event {
            job: Some(self.at.job),
            task: Some(self.task.clone()),
            index: Some(self.at.index),
            attempt: Some(self.attempt),
            fence: Some(self.fence),
            worker: Some(self.worker.clone()),
            lock: Some(key.name.clone()),
            ..Event::new(kind)
        }
    }
}

impl State {
    /// A lock that somebody holds.
    pub fn lock(&self, key: &LockKey) -> Option<LockView> {
        self.cluster.locks.by_key.get(key).map(|lock| lock.view(key))
    }

    /// The locks behind `after` that somebody holds, by namespace and name; those of one namespace or all.
    pub fn locks<'a>(
        &'a self,
        namespace: Option<&Name>,
        after: Option<&LockKey>,
    ) -> impl Iterator<Item = LockView> + use<'a> {
        let (namespace, after) = (namespace.cloned(), after.cloned());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.cluster.locks.by_key.range((from, Bound::Unbounded));
        let wanted = behind.filter(move |(key, _)| namespace.as_ref().is_none_or(|wanted| key.namespace == *wanted));
        wanted.map(|(key, lock)| lock.view(key))
    }

    /// What an element waits for in line, each with its place and who holds it.
    pub fn lock_waits(&self, at: &ElementKey) -> Vec<(LockPlace, LockView)> {
        let own = self.cluster.locks.by_element.get(at);
        let waits = own.into_iter().flatten().filter_map(|(key, ticket)| {
            let (lock, ticket) = (self.cluster.locks.by_key.get(key)?, (*ticket)?);
            let place = LockPlace {
                name: key.name.clone(),
                namespace: key.namespace.clone(),
                place: lock.place(ticket),
                until: lock.line.get(&ticket)?.until,
            };
            Some((place, lock.view(key)))
        });
        waits.collect()
    }
}
