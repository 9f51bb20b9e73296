//! Long polls: who waits for which job, or for a lock on its behalf, so that an entry wakes only those whose job it
//! changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_state::outcome::Event;
use quorate_types::JobId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    jobs: Mutex<BTreeMap<JobId, Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: usize,
    changed: Arc<Notify>,
}

/// One waiting request; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    all: Arc<Waiters>,
    job: JobId,
    pub(crate) changed: Arc<Notify>,
}

impl Waiters {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, Waiting>> {
        // What the lock guards is valid after every line; nothing panics while it is held.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<Self>, job: JobId) -> Waiter {
        let mut jobs = self.jobs();
        let waiting = jobs.entry(job).or_default();
        waiting.requests += 1;
        Waiter { all: self.clone(), job, changed: waiting.changed.clone() }
    }

    /// Wakes those who wait for a job that changed. Called after the version was published.
    pub(crate) fn on_events(&self, events: &[Event]) {
        let jobs = self.jobs();
        if jobs.is_empty() {
            return;
        }
        let wakes = |event: &&Event| event.task.is_none() || event.lock.is_some();
        for job in events.iter().filter(wakes).filter_map(|event| event.job) {
            if let Some(waiting) = jobs.get(&job) {
                waiting.changed.notify_waiters();
            }
        }
    }

    pub(crate) fn wake_all(&self) {
        self.jobs().values().for_each(|waiting| waiting.changed.notify_waiters());
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut jobs = self.all.jobs();
        if let Some(waiting) = jobs.get_mut(&self.job) {
            waiting.requests -= 1;
            if waiting.requests == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::event::EventType;

    use super::*;

    #[tokio::test]
    async fn only_those_who_wait_for_the_job_wake() {
        let waiters = Arc::new(Waiters::default());
        let (one, other) = (waiters.enter(JobId(1)), waiters.enter(JobId(2)));
        let (mut woken, mut asleep) = (Box::pin(one.changed.notified()), Box::pin(other.changed.notified()));
        woken.as_mut().enable();
        asleep.as_mut().enable();
        waiters.on_events(&[Event { job: Some(JobId(1)), ..Event::new(EventType::JobSucceeded) }]);
        woken.await;
        assert!(!asleep.as_mut().enable());
        drop(asleep);
        let twin = waiters.enter(JobId(2));
        drop((one, other));
        assert_eq!(waiters.jobs().len(), 1);
        drop(twin);
        assert!(waiters.jobs().is_empty());
    }
}
