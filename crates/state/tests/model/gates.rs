//! Counted resources, rates and locks of the model. What is held is summed up whenever it is needed.

use std::collections::BTreeSet;

use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::gate::Claimant;
use quorate_types::{JobId, JobSpec, Name, Span, TaskSpec, Timestamp};

use crate::machine::{Due, Model, Result};

/// An attempt that counts for a rate until its token is back.
pub struct Start {
    pub namespace: Name,
    pub key: Name,
    pub back: Timestamp,
}

type Place = (JobId, usize, usize);

pub struct Lock {
    /// Namespace and name.
    pub key: (Name, Name),
    pub token: u64,
    pub holder: Place,
    /// First come, first served; each until some time.
    pub line: Vec<(Place, Timestamp)>,
}

impl Model {
    pub fn set_resource(&mut self, name: &Name, total: u32) -> Result {
        self.totals.insert(name.clone(), total);
        Ok(Outcome::Done)
    }

    pub fn remove_resource(&mut self, name: &Name) -> Result {
        if !self.totals.contains_key(name) {
            return Err(Rejection::NoSuchResource(name.clone()));
        }
        match self.held_of(name) {
            0 => drop(self.totals.remove(name)),
            held => return Err(Rejection::ResourceHeld { name: name.clone(), held }),
        }
        Ok(Outcome::Done)
    }

    pub fn held_of(&self, name: &Name) -> u64 {
        let amount = |spec: &TaskSpec| spec.cluster_resources.get(name).copied().map_or(0, u64::from);
        let all = self.jobs.values().flat_map(|job| job.holders().map(move |(task, ..)| &job.spec.tasks[task]));
        all.map(amount).sum()
    }

    pub fn check_resources(&self, spec: &JobSpec) -> Result<()> {
        self.check_tasks(spec, "")?;
        let mut then = spec.then.iter().enumerate();
        then.try_for_each(|(nth, follow_up)| self.check_tasks(&follow_up.job, &format!("/then/{nth}/job")))
    }

    fn check_tasks(&self, spec: &JobSpec, within: &str) -> Result<()> {
        for (at, task) in spec.tasks.iter().enumerate() {
            for (name, amount) in &task.cluster_resources {
                let pointer = format!("{within}/tasks/{at}/cluster_resources/{name}");
                // A gang needs what all of its elements ask for at once.
                let mates = spec.tasks.iter().filter(|other| other.gang.is_some() && other.gang == task.gang);
                let together =
                    mates.map(|mate| mate.count * mate.cluster_resources.get(name).copied().unwrap_or(0)).sum();
                let (name, amount) = (name.clone(), (*amount).max(together));
                match self.totals.get(&name) {
                    None => return Err(Rejection::AsksForUnknown { pointer, name }),
                    Some(total) if *total < amount => {
                        return Err(Rejection::AsksForTooMuch { pointer, name, amount, total: *total });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether an attempt may start as far as resources and rates go; if so, its token is taken.
    pub fn pass_gates(&mut self, id: JobId, task: usize) -> bool {
        let job = &self.jobs[&id];
        let (namespace, spec) = (job.spec.namespace.clone(), job.spec.tasks[task].clone());
        let mut asked = spec.cluster_resources.iter();
        if !asked.all(|(name, amount)| {
            self.totals.get(name).is_some_and(|total| self.held_of(name) + u64::from(*amount) <= u64::from(*total))
        }) {
            return false;
        }
        let Some(rate) = &spec.rate else { return true };
        let of_key = |start: &&Start| start.namespace == namespace && start.key == rate.key;
        if self.starts.iter().filter(of_key).filter(|start| start.back > self.now).count() >= rate.limit as usize {
            return false;
        }
        self.starts.retain(|start| !of_key(&start) || start.back > self.now);
        self.starts.push(Start { namespace, key: rate.key.clone(), back: self.now.plus(rate.per) });
        true
    }

    /// A key is forgotten when its last token is back.
    pub fn due_rates(&self) -> Vec<(Timestamp, Due)> {
        let keys: BTreeSet<(&Name, &Name)> = self.starts.iter().map(|start| (&start.namespace, &start.key)).collect();
        let last = |(namespace, key)| {
            let of_key = self.starts.iter().filter(|start| (&start.namespace, &start.key) == (namespace, key));
            let due = Due::ForgetRate(namespace.clone(), key.clone());
            (of_key.map(|start| start.back).max().unwrap(), due)
        };
        keys.into_iter().map(last).collect()
    }

    fn place_of(&self, by: &Claimant) -> Result<Place> {
        let gone = || Rejection::NotLive { job: by.job, task: by.task.clone(), index: by.index, fence: by.fence };
        let job = self.jobs.get(&by.job).ok_or_else(gone)?;
        let task = job.place_of(&by.task, by.index.0 as usize).ok_or_else(gone)?;
        let element = job.tasks.get(task).and_then(|task| task.get(by.index.0 as usize)).ok_or_else(gone)?;
        let attempt = element.attempts.last().filter(|attempt| attempt.fence == by.fence && attempt.state.is_live());
        attempt.map(|_| (by.job, task, by.index.0 as usize)).ok_or_else(gone)
    }

    pub fn acquire(&mut self, name: &Name, by: &Claimant, wait: Span) -> Result {
        let place = self.place_of(by)?;
        let key = (self.jobs[&by.job].spec.namespace.clone(), name.clone());
        let until = self.now.plus(wait);
        let Some(lock) = self.locks.iter_mut().find(|lock| lock.key == key) else {
            self.last_lock += 1;
            self.locks.push(Lock { key, token: self.last_lock, holder: place, line: Vec::new() });
            return Ok(Outcome::LockHeld { token: self.last_lock });
        };
        if lock.holder == place {
            return Ok(Outcome::LockHeld { token: lock.token });
        }
        let at = lock.line.iter().position(|(waits, _)| *waits == place);
        if wait.0 == 0 {
            let (job, task, index) = lock.holder;
            let task = self.jobs[&job].spec.tasks[task].name.clone();
            let index = quorate_types::TaskIndex(index as u32);
            return Err(Rejection::LockTaken { lock: name.clone(), job, task, index });
        }
        let at = match at {
            Some(at) => at,
            None => {
                // Tickets and tokens are counted together.
                self.last_lock += 1;
                lock.line.push((place, until));
                lock.line.len() - 1
            }
        };
        lock.line[at].1 = until;
        Ok(Outcome::LockWaits { place: at as u64 + 1, until })
    }

    pub fn release(&mut self, name: &Name, by: &Claimant) -> Result {
        let place = self.place_of(by)?;
        let key = (self.jobs[&by.job].spec.namespace.clone(), name.clone());
        if self.leave(&key, place) { Ok(Outcome::Done) } else { Err(Rejection::LockNotHeld(name.clone())) }
    }

    /// Whether the attempt had to do with the lock.
    fn leave(&mut self, key: &(Name, Name), place: Place) -> bool {
        let Some(at) = self.locks.iter().position(|lock| lock.key == *key) else { return false };
        if self.locks[at].holder != place {
            let before = self.locks[at].line.len();
            self.locks[at].line.retain(|(waits, _)| *waits != place);
            return self.locks[at].line.len() < before;
        }
        let mut lock = self.locks.remove(at);
        lock.line.retain(|(_, until)| *until > self.now);
        if !lock.line.is_empty() {
            self.last_lock += 1;
            (lock.holder, lock.token) = (lock.line.remove(0).0, self.last_lock);
            self.locks.push(lock);
        }
        true
    }

    /// The attempt has ended.
    pub fn leave_all(&mut self, place: Place) {
        let keys: BTreeSet<(Name, Name)> = self.locks.iter().map(|lock| lock.key.clone()).collect();
        for key in &keys {
            self.leave(key, place);
        }
    }
}
