//! How far a queue of proposals is behind, and when it is better to refuse the next one at once.
//!
//! A bound on their number and bytes alone would be too much for a slow disk and for large jobs: what waits
//! for longer than its client does is written in vain, and a queue that is full of such proposals does no
//! useful work at all. So a queue also refuses new jobs while what comes out of it has waited for too long. What
//! the next entries can take may always wait, so that the disk never runs dry; and so may everything but new jobs,
//! since what is under way must be able to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_state::command::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::options::Limits;

/// What has waited for longer is late. Two queues, one here and one at the leader, stay well within
/// [`propose_wait`](crate::Timing).
const QUEUED_MAX: Duration = Duration::from_secs(1);
/// For so long after the leader refused a proposal the next jobs are not even sent there.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Backlog {
    is_late: Arc<AtomicBool>,
    /// When the leader, at the end of this queue, refused something for the last time.
    refused: Arc<Mutex<Option<Instant>>>,
    commands: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Backlog {
    /// Of a queue from which so many entries or frames may be under way.
    pub(super) fn new(limits: &Limits, in_flight: usize) -> Self {
        Self {
            is_late: Arc::default(),
            refused: Arc::default(),
            commands: limits.entry_commands_max,
            bytes: in_flight * limits.entry_bytes_soft,
            bytes_max: limits.queued_proposal_bytes,
        }
    }

    /// One that was queued then is the next to be worked on.
    pub(super) fn note(&self, queued: Instant) {
        self.is_late.store(queued.elapsed() > QUEUED_MAX, Ordering::Relaxed);
    }

    pub(super) fn note_refusal(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether this would come too late.
    pub(super) fn refuses<T>(&self, command: &Command, queue: &mpsc::Sender<T>, room: &Semaphore) -> bool {
        is_new_job(command) && self.refuses_jobs(queue, room)
    }

    pub(super) fn refuses_jobs<T>(&self, queue: &mpsc::Sender<T>, room: &Semaphore) -> bool {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_some_and(|refused| refused.elapsed() < REFUSED_PAUSE) {
            return true;
        }
        self.is_late.load(Ordering::Relaxed)
            && (queue.max_capacity() - queue.capacity() >= self.commands
                || self.bytes_max - room.available_permits() >= self.bytes)
    }
}

/// What is refused first, since it fills memory: new jobs, and those that come back to it. Everything else has to do with
/// jobs that are there: they must be able to end.
pub(super) fn is_new_job(command: &Command) -> bool {
    matches!(
        command,
        Command::Submit(_) | Command::RunNow { .. } | Command::ChangeSchedule { .. } | Command::RetryArchived { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_queue_refuses_while_it_is_late() {
        let limits = Limits { entry_commands_max: 2, ..Limits::default() };
        let (backlog, room) =
            (Backlog::new(&limits, limits.entries_in_flight), Semaphore::new(limits.queued_proposal_bytes));
        let (queue, _receiver) = mpsc::channel(8);
        let (job, other) = (Command::Submit(Arc::new(job())), Command::NameCluster { id: 1 });
        for _ in 0..4 {
            queue.try_send(()).unwrap();
        }
        backlog.note(Instant::now());
        assert!(!backlog.refuses(&job, &queue, &room), "long, but not late");
        backlog.note(Instant::now().checked_sub(QUEUED_MAX * 2).unwrap());
        assert!(backlog.refuses(&job, &queue, &room));
        assert!(!backlog.refuses(&other, &queue, &room), "no new job");
        let (empty, _receiver) = mpsc::channel::<()>(8);
        assert!(!backlog.refuses(&job, &empty, &room), "late, but empty");
        let _large = room.try_acquire_many(limits.entry_bytes_soft as u32 * 4).unwrap();
        assert!(backlog.refuses(&job, &empty, &room), "late, and full of bytes");
        backlog.note(Instant::now());
        assert!(!backlog.refuses(&job, &queue, &room), "it has caught up");
        backlog.note_refusal();
        assert!(backlog.refuses(&job, &empty, &room), "the leader has too much to do");
        tokio::time::sleep(REFUSED_PAUSE).await;
        assert!(!backlog.refuses(&job, &empty, &room), "perhaps it can again");
    }

    fn job() -> quorate_types::JobSpec {
        let command = Some(vec!["true".to_owned()]);
        quorate_types::job::JobRequest { command, ..Default::default() }.validate().unwrap()
    }
}
