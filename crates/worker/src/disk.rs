//! The threads that do the agent's work on the disk, so that a slow disk never delays a heartbeat.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use quorate_types::inputs::Inputs;
use quorate_types::session::{AttemptKey, Definition};
use tokio::sync::mpsc;

use crate::error::WorkerError;
use crate::host;
use crate::leftovers;
use crate::spool::{Observation, Spool, lock};
use crate::table::Leftover;
use crate::watchdog::wire::Spawn;

/// Two, so that one slow removal does not hold up every start.
const THREADS: usize = 2;

#[derive(Debug)]
pub(crate) enum Job {
    Prepare { key: AttemptKey, definition: Arc<Definition>, inputs: Vec<Arc<Inputs>> },
    Collect { key: AttemptKey },
    Discard { key: AttemptKey },
    RecordGroup { key: AttemptKey, pid: i32 },
    Observe { keys: Vec<AttemptKey> },
    Prune,
}

#[derive(Debug)]
pub(crate) enum Done {
    Prepared { key: AttemptKey, outcome: Result<Box<Spawn>, String> },
    Collected { key: AttemptKey, leftover: Leftover },
    Observed(Vec<Observation>),
}

/// Who does the work.
#[derive(Debug)]
enum Jobs {
    Threads(Sender<Job>),
    /// A simulation has one thread for everything.
    Task(mpsc::UnboundedSender<Job>),
}

/// Both queues are bounded by the attempts of the table, which has at most one job waiting for each.
#[derive(Debug)]
pub(crate) struct Disk {
    jobs: Jobs,
    pub(crate) done: mpsc::UnboundedReceiver<Done>,
}

impl Disk {
    pub(crate) fn start(spool: &Arc<Spool>) -> Result<Self, WorkerError> {
        let (done_sender, done) = mpsc::unbounded_channel();
        if host::is_simulated() {
            let (jobs, mut queue) = mpsc::unbounded_channel();
            let spool = Arc::clone(spool);
            tokio::spawn(async move {
                while let Some(job) = queue.recv().await {
                    host::hand_off().await;
                    if let Some(result) = carry_out(&spool, job) {
                        // Who waits for it may have gone.
                        let _ = done_sender.send(result);
                    }
                }
            });
            return Ok(Self { jobs: Jobs::Task(jobs), done });
        }
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (spool, queue, done) = (Arc::clone(spool), Arc::clone(&queue), done_sender.clone());
            let thread = thread::Builder::new().name("quorate-spool".into());
            let started = thread.spawn(move || work(&spool, &queue, &done));
            started.map_err(WorkerError::file("start a thread for", spool_name()))?;
        }
        Ok(Self { jobs: Jobs::Threads(jobs), done })
    }

    pub(crate) fn submit(&self, job: Job) {
        match &self.jobs {
            // Both end only when this sender is gone.
            Jobs::Threads(jobs) => drop(jobs.send(job)),
            Jobs::Task(jobs) => drop(jobs.send(job)),
        }
    }
}

fn spool_name() -> &'static str {
    crate::spool::ATTEMPTS
}

fn work(spool: &Spool, queue: &Mutex<Receiver<Job>>, done: &mpsc::UnboundedSender<Done>) {
    loop {
        let job = lock(queue).recv();
        let Ok(job) = job else { return };
        // Nobody listens any more when the agent is leaving; what is queued is still tidied up.
        if let Some(result) = carry_out(spool, job) {
            let _ = done.send(result);
        }
    }
}

fn carry_out(spool: &Spool, job: Job) -> Option<Done> {
    match job {
        Job::Prepare { key, definition, inputs } => {
            let outcome = spool.prepare(key, &definition, &inputs).map(Box::new);
            Some(Done::Prepared { key, outcome })
        }
        Job::Collect { key } => Some(Done::Collected { key, leftover: spool.collect(key) }),
        Job::Observe { keys } => Some(Done::Observed(spool.observe(&keys))),
        Job::Discard { key } => {
            spool.discard(key);
            None
        }
        Job::RecordGroup { key, pid } => {
            leftovers::record_group(&spool.path(&key), pid);
            None
        }
        Job::Prune => {
            spool.prune();
            None
        }
    }
}
