//! What the end of a job leads to: its concurrency key is free, other jobs go on, others are submitted.

use std::sync::Arc;

use quorate_types::status::JobState;
use quorate_types::{End, JobId, JobSpec};

use crate::flow::Flow;
use crate::outcome::Applied;
use crate::slots::SlotKey;
use crate::state::State;

impl State {
    /// Follows every job that has finished, until nothing follows any more.
    pub(super) fn follow_finished(&mut self, out: &mut Applied) {
        self.follow_vacated(out);
        while let Some(id) = out.finished.pop() {
            if let Some(key) = self.jobs.get(&id).and_then(|job| SlotKey::of(job)) {
                self.admit(&key, out);
            }
            self.resolve_awaited(id, out);
            self.submit_follow_ups(id, out);
            self.on_run_finished(id, out);
        }
    }

    /// The room that a full queue refuses to others was kept since the job that they follow was submitted.
    fn submit_follow_ups(&mut self, id: JobId, out: &mut Applied) {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.is_schedule()) else { return };
        let end = match job.header.state {
            JobState::Succeeded => End::Succeeded,
            JobState::Failed => End::Failed,
            JobState::Cancelled => End::Cancelled,
            JobState::Pending | JobState::Running | JobState::Paused => return,
        };
        let met = job.spec.then.iter().filter(|follow_up| follow_up.on.is_met_by(end));
        let specs: Vec<Arc<JobSpec>> = met.map(|follow_up| follow_up.job.clone()).collect();
        for spec in specs {
            let flow = Flow { follows: Some(id), ..Flow::of(&spec, out.time, out.time) };
            self.start_job(&spec, super::submit::weight(&spec), flow, out);
        }
    }
}
