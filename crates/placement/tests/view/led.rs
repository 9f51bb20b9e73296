//! A cluster with a leader: rounds, applied, and what comes of them.

use std::fmt::Write;

use quorate_placement::{Bounds, Plan, Planner};
use quorate_state::command::{Command, Preemption};
use quorate_state::job::ElementKey;
use quorate_state::outcome::Outcome;
use quorate_state::worker::LiveAttempt;
use quorate_types::policy::{PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{JobId, Span, Timestamp};

use super::View;

/// A cluster with a leader that follows it.
pub struct Led {
    pub view: View,
    pub planner: Planner,
    pub now: Timestamp,
}

impl Led {
    pub fn new(queue: QueueOrder, workers: &[(&str, u32)]) -> Self {
        let view = workers.iter().fold(View::new(queue, PlacementOrder::BestFit), |view, (name, cpu)| {
            view.worker(name, &format!(r#"{{"cpu":{cpu}}}"#))
        });
        Self { view, planner: Planner::new(7), now: Timestamp(0) }
    }

    pub fn job(&mut self, fields: &str, task: &str) {
        let json = format!(r#"{{{fields},"tasks":[{{"name":"a","command":["x"],{task}}}]}}"#);
        self.view = View(self.view.0.clone()).job_at(self.now, &json);
    }

    pub fn at(&mut self, seconds: u64) {
        self.now = Timestamp(seconds * 1000);
    }

    /// A round, applied: all of it must be accepted. What was started and what is ended, as text.
    pub fn round(&mut self) -> String {
        let Plan { assignments, preemptions, .. } = self.planner.round(&self.view.0, self.now, Bounds::default());
        let mut text = String::new();
        for item in &assignments {
            let worker = &self.view.0.worker_of(item.epoch).unwrap().name;
            write!(text, "{}[{}]>{worker} ", item.job, item.index).unwrap();
        }
        for Preemption { job, index, by, .. } in &preemptions {
            write!(text, "{job}[{index}]!{by} ").unwrap();
        }
        let (starts, ends) = (assignments.len() as u32, preemptions.len() as u32);
        let ended = self.view.outcome_at(self.now, Command::Preempt { items: preemptions });
        assert_eq!(ended, Outcome::Preempted { stopped: ends, stale: 0 });
        let started = self.view.outcome_at(self.now, Command::Assign { items: assignments });
        assert_eq!(started, Outcome::Assigned { accepted: starts, stale: 0 });
        self.view.0.check().unwrap();
        text.trim_end().to_owned()
    }

    /// Everything that was asked to end has ended.
    pub fn confirm(&mut self) -> usize {
        self.confirm_some(usize::MAX)
    }

    /// So much of what was asked to end has ended.
    pub fn confirm_some(&mut self, most: usize) -> usize {
        let mut reports = Vec::new();
        for worker in self.view.0.workers() {
            for (at, live) in worker.attempts.iter().filter(|(_, live)| live.stopping) {
                let (job, task, index, attempt, fence) = (at.job, at.task, at.index, live.number, live.fence);
                let finished = Finished {
                    ending: Ending::Stopped,
                    ran: quorate_types::Span(1),
                    result: None,
                    extension: None,
                    stdout_tail: vec![],
                    stderr_tail: vec![],
                };
                let key = AttemptKey { job, task, index, attempt, fence };
                let what = Happening::Finished(Box::new(finished));
                reports.push((worker.name.clone(), worker.epoch, Report { key, what }));
            }
        }
        reports.truncate(most);
        let count = reports.len();
        for (worker, epoch, report) in reports {
            self.view.outcome_at(self.now, Command::Report { worker, epoch, reports: vec![report] });
        }
        count
    }

    /// The workers say that all they have runs.
    pub fn start(&mut self) {
        let workers: Vec<_> = self.view.0.workers().cloned().collect();
        for worker in workers {
            let report = |(at, live): (&ElementKey, &LiveAttempt)| {
                let (job, task, index, attempt, fence) = (at.job, at.task, at.index, live.number, live.fence);
                Report { key: AttemptKey { job, task, index, attempt, fence }, what: Happening::Started }
            };
            let reports = worker.attempts.iter().map(report).collect();
            let (epoch, worker) = (worker.epoch, worker.name.clone());
            self.view.outcome_at(self.now, Command::Report { worker, epoch, reports });
        }
    }

    /// What has run for as long as it is said to ends well: how many that are.
    pub fn finish(&mut self, runs_for: impl Fn(JobId) -> Span) -> usize {
        let mut reports = Vec::new();
        for worker in self.view.0.workers() {
            for (at, live) in worker.attempts.iter().filter(|(_, live)| !live.stopping) {
                let (job, task, index, attempt, fence) = (at.job, at.task, at.index, live.number, live.fence);
                let element = self.view.0.job(job).unwrap().task(task).unwrap().element(index).unwrap();
                let ran = self.now.since(element.current().unwrap().assigned_at);
                if ran >= runs_for(job) {
                    let ending = Ending::Exited(0);
                    let finished = Finished {
                        ending,
                        ran,
                        result: None,
                        extension: None,
                        stdout_tail: vec![],
                        stderr_tail: vec![],
                    };
                    let key = AttemptKey { job, task, index, attempt, fence };
                    reports.push((
                        worker.name.clone(),
                        worker.epoch,
                        Report { key, what: Happening::Finished(Box::new(finished)) },
                    ));
                }
            }
        }
        let count = reports.len();
        for (worker, epoch, report) in reports {
            self.view.outcome_at(self.now, Command::Report { worker, epoch, reports: vec![report] });
        }
        count
    }

    pub fn change(&mut self, json: &str) {
        let change: PolicyChange = serde_json::from_str(json).unwrap();
        self.view.outcome_at(self.now, Command::ChangePolicy(change));
    }

    /// A worker joins.
    pub fn worker(&mut self, name: &str, cpu: u32) {
        self.worker_of(name, &format!(r#"{{"cpu":{cpu}}}"#));
    }

    /// One with other kinds of resources too.
    pub fn worker_of(&mut self, name: &str, capacity: &str) {
        let registration = super::registration(name, capacity, &[], &[]);
        self.view.outcome_at(self.now, Command::Register(Box::new(registration)));
    }

    /// The used part of each worker, in hundredths.
    pub fn loads(&self) -> Vec<u64> {
        self.view.0.workers().map(|worker| worker.used.cpu_millis * 100 / worker.capacity.cpu_millis).collect()
    }

    pub fn state_of(&self, job: u64) -> TaskState {
        self.view.0.job(JobId(job)).unwrap().task(0).unwrap().state_of(quorate_types::TaskIndex(0)).unwrap()
    }
}
