//! Preemption in a cluster that is full, to measure what it costs: a task that may end others finds out which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use quorate_placement::{Bounds, Planner};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal, Registration};
use quorate_types::job::JobRequest;
use quorate_types::policy::{PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{JobId, LogIndex, Name, ReplicaId, Resources, Span, Timestamp};
use serde_json::json;

/// Of each worker.
const CORES: u64 = 16;
/// Jobs that run, of eight priorities and each of another length.
const KINDS: u64 = 64;
/// Attempts that end before each claim, each to be followed by another.
const ENDS: usize = 16;

/// A state whose workers are full, and a leader that follows it.
#[derive(Debug)]
pub struct Claims {
    state: State,
    planner: Planner,
    jobs: u64,
    now: Timestamp,
    /// The worker whose attempt ended last.
    turn: u64,
}

impl Claims {
    /// Under `srtf` tasks end those that have longer to go, under other orders those of lower priority.
    ///
    /// # Errors
    /// If the jobs, which are written here, can't be read.
    pub fn new(queue: QueueOrder, workers: u64) -> anyhow::Result<Self> {
        let mut claims =
            Self { state: State::default(), planner: Planner::new(1), jobs: 0, now: Timestamp(0), turn: 0 };
        claims.apply(Command::ChangePolicy(PolicyChange { queue: Some(queue), ..PolicyChange::default() }));
        for number in 0..workers {
            claims.apply(Command::Register(Box::new(Registration {
                name: Name::new(&format!("w{number}"))?,
                labels: [].into(),
                taints: Vec::new(),
                host: String::new(),
                capacity: Resources::new(CORES * 1_000, 64 << 30),
                instance: 1,
                replaces: None,
                replica: ReplicaId(1),
                lease_ttl: Span(10_000),
            })));
        }
        // As many cores of each kind, by turns in tasks of one and of two, and then what is left.
        for kind in 0..KINDS {
            let cpu = 1 + kind % 2;
            claims.submit(20 + kind % 8, 3_000 + 37 * kind, cpu, (workers * CORES / KINDS / cpu).max(1))?;
        }
        while claims.start() > 0 {
            claims.now = claims.now.plus(Span::from_secs(1));
        }
        claims.fill()?;
        Ok(claims)
    }

    /// Some attempts end, and others start. Then a task of two cores comes that may end others, is told which, and is
    /// cancelled. Gives how long the leader's round took, and the number of those.
    ///
    /// # Errors
    /// If a job, which is written here, can't be read.
    pub fn claim(&mut self) -> anyhow::Result<(Duration, usize)> {
        self.now = self.now.plus(Span(10));
        self.change()?;
        let job = self.submit(90, 10, 2, 1)?;
        let started = Instant::now();
        let plan = self.planner.round(&self.state, self.now, Bounds::default());
        let took = started.elapsed();
        self.apply(Command::Cancel { job });
        Ok((took, plan.preemptions.len()))
    }

    fn change(&mut self) -> anyhow::Result<()> {
        for _ in 0..ENDS {
            let all = self.state.registrations().len() as u64;
            self.turn = (self.turn + 7_919) % all;
            let worker = self.state.workers().nth(self.turn as usize).cloned();
            let Some(worker) = worker else { continue };
            let Some((at, live)) = worker.holders().next() else { continue };
            let key =
                AttemptKey { job: at.job, task: at.task, index: at.index, attempt: live.number, fence: live.fence };
            let finished = Finished {
                ending: Ending::Exited(0),
                ran: Span(1),
                result: None,
                extension: None,
                stdout_tail: Vec::new(),
                stderr_tail: Vec::new(),
            };
            let what = Happening::Finished(Box::new(finished));
            let reports = vec![Report { key, what }];
            self.apply(Command::Report { worker: worker.name.clone(), epoch: worker.epoch, reports });
        }
        self.fill()
    }

    /// Tasks of one core take what is free.
    fn fill(&mut self) -> anyhow::Result<()> {
        let free = self.state.workers().map(|worker| worker.free().cpu_millis / 1_000).sum();
        if free > 0 {
            self.submit(20 + self.turn % 8, 3_000 + self.turn % 1_000, 1, free)?;
        }
        let _ = self.start();
        Ok(())
    }

    /// Starts what has room.
    fn start(&mut self) -> usize {
        let items = self.planner.round(&self.state, self.now, Bounds::default()).assignments;
        let started = items.len();
        self.apply(Command::Assign { items });
        started
    }

    /// How many attempts run.
    pub fn running(&self) -> usize {
        self.state.workers().map(|worker| worker.attempts.len()).sum()
    }

    fn submit(&mut self, priority: u64, seconds: u64, cpu: u64, count: u64) -> anyhow::Result<JobId> {
        let preempt = if priority > 50 { "lower" } else { "never" };
        let request: JobRequest = serde_json::from_value(json!({
            "priority": priority,
            "preempt": preempt,
            "tasks": [{
                "command": ["x"], "count": count, "expected": format!("{seconds}s"), "resources": {"cpu": cpu},
            }],
        }))?;
        let spec = request.validate().map_err(|errors| anyhow!("{errors:?}"))?;
        self.apply(Command::Submit(Arc::new(spec)));
        self.jobs += 1;
        Ok(JobId(self.jobs))
    }

    fn apply(&mut self, command: Command) {
        let index = LogIndex(self.state.index().0 + 1);
        let proposals = vec![Proposal { origin: None, command }];
        let _ = self.state.apply(index, &Entry { time: self.now, proposals });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_finds_what_to_end() {
        for queue in [QueueOrder::Priority, QueueOrder::Srtf] {
            let mut claims = Claims::new(queue, 30).unwrap();
            let running = claims.running();
            assert!(running > 30 * 8, "{running}");
            for _ in 0..3 {
                let (_, ended) = claims.claim().unwrap();
                assert!((1..=2).contains(&ended), "{queue}: {ended}");
                assert!(claims.running() > 30 * 8, "{}", claims.running());
            }
        }
    }
}
