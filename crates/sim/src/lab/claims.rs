//! Preemption in a cluster that is full, to measure what it costs: a task that may end others finds out which.

use std::sync::Arc;

use anyhow::anyhow;
use quorate_placement::{Bounds, Planner};
use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal, Registration};
use quorate_types::job::JobRequest;
use quorate_types::policy::{PolicyChange, QueueOrder};
use quorate_types::{JobId, LogIndex, Name, ReplicaId, Resources, Span, Timestamp};
use serde_json::json;

/// Of each worker.
const CORES: u64 = 16;
/// Priorities, and lengths, of what runs.
const KINDS: u64 = 8;

/// A state whose workers are full, and a leader that follows it.
#[derive(Debug)]
pub struct Claims {
    state: State,
    planner: Planner,
    claims: u64,
}

impl Claims {
    /// Under `srtf` tasks end those that have longer to go, under other orders those of lower priority.
    ///
    /// # Errors
    /// If the jobs, which are written here, can't be read.
    pub fn new(queue: QueueOrder, workers: u64) -> anyhow::Result<Self> {
        let mut claims = Self { state: State::default(), planner: Planner::new(1), claims: 0 };
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
        // As many cores of each kind, by turns in tasks of one and of two.
        for kind in 0..KINDS {
            let cpu = 1 + kind % 2;
            claims.submit(20 + kind, 3_000 + 100 * kind, cpu, workers * CORES / KINDS / cpu)?;
        }
        loop {
            let plan = claims.planner.round(&claims.state, Timestamp(0), Bounds::default());
            if plan.assignments.is_empty() {
                break;
            }
            claims.apply(Command::Assign { items: plan.assignments });
        }
        Ok(claims)
    }

    /// A task of two cores comes that may end others, is told which, and is cancelled. Gives the number of those.
    ///
    /// # Errors
    /// If the job, which is written here, can't be read.
    pub fn claim(&mut self) -> anyhow::Result<usize> {
        let job = self.submit(90, 10, 2, 1)?;
        let plan = self.planner.round(&self.state, Timestamp(0), Bounds::default());
        self.apply(Command::Cancel { job });
        Ok(plan.preemptions.len())
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
        self.claims += 1;
        Ok(JobId(self.claims))
    }

    fn apply(&mut self, command: Command) {
        let index = LogIndex(self.state.index().0 + 1);
        let proposals = vec![Proposal { origin: None, command }];
        let _ = self.state.apply(index, &Entry { time: Timestamp(0), proposals });
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
                let ended = claims.claim().unwrap();
                assert!((1..=2).contains(&ended), "{queue}: {ended}");
                assert_eq!(claims.running(), running);
            }
        }
    }
}
