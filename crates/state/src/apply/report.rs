//! What workers report. Only the current attempt of the current registration counts.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::session::{Happening, Report};
use quorate_types::status::{AttemptState, TaskState};
use quorate_types::{Bug, Epoch, Name, is_planted};

use super::Result;
use crate::element::Progress;
use crate::job::ElementKey;
use crate::lifecycle::Change;
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    pub(super) fn report(&mut self, worker: &Name, epoch: Epoch, reports: &[Report], out: &mut Applied) -> Result {
        let current = self.worker_of(epoch).is_some_and(|found| found.name == *worker);
        if !current {
            return Err(Rejection::StaleEpoch);
        }
        for report in reports {
            self.edit(report.key.job, out, |change| change.on_report(report, epoch));
        }
        Ok(Outcome::Done)
    }
}

impl Change<'_> {
    fn on_report(&mut self, report: &Report, epoch: Epoch) {
        let key = &report.key;
        let attempt = self.element(key.task, key.index).and_then(|element| element.current());
        if !attempt.is_some_and(|attempt| attempt.is(key, epoch) || is_planted(Bug::StaleReport)) {
            return;
        }
        match &report.what {
            Happening::Started => self.on_started(report),
            Happening::Progress { millis, message } => self.on_progress(report, *millis, message),
            Happening::Finished(finished) => self.finish_attempt(key, finished),
            Happening::Healthy => self.on_healthy(&ElementKey::from(key)),
        }
    }

    fn on_started(&mut self, report: &Report) {
        let (task, index, now) = (report.key.task, report.key.index, self.now());
        let Some(attempt) = self.element_mut(task, index).and_then(|e| e.current_mut()) else { return };
        attempt.started_at.get_or_insert(now);
        if attempt.state != AttemptState::Assigned {
            return;
        }
        attempt.state = AttemptState::Running;
        self.mark_running(now);
        self.move_element(task, index, TaskState::Running);
        self.emit(EventType::TaskRunning, task, index, None);
        self.on_service_started(&ElementKey::from(&report.key));
        if is_planted(Bug::NeedsOnlyStarted) {
            let plan = self.job.plan.clone();
            plan.dependents(task).for_each(|edge| self.meet(edge.task));
        }
    }

    fn on_progress(&mut self, report: &Report, millis: u16, message: &str) {
        if let Some(element) = self.element_mut(report.key.task, report.key.index) {
            element.progress = Some(Progress { millis: millis.min(1000), message: Arc::from(message) });
            self.job.header.changed = self.out.index;
        }
    }
}
