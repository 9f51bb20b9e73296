//! What messages, the watchdog and the disk do to the table, and what the table has done.

use quorate_types::Span;
use quorate_types::session::{AttemptKey, Definition, ToWorker};
use quorate_types::status::Ending;
use tokio::time::Instant;

use super::registration::Link;
use super::{Agent, EVENTS_IN_A_ROW};
use crate::clock::Boottime;
use crate::disk::{Done, Job};
use crate::error::WorkerError;
use crate::output::Request;
use crate::spool::Observation;
use crate::table::Action;
use crate::watchdog::wire::{Event, Order, Spawn};

impl Agent {
    pub(super) fn on_message(&mut self, message: ToWorker) {
        self.health.on_heard(Instant::now());
        match message {
            ToWorker::Assigned { index, all, work } => {
                let actions = self.table.on_assigned(index, &all, work, Boottime::now());
                self.carry_out(actions);
            }
            ToWorker::Changed { index, work } => {
                let actions = self.table.on_changed(index, work, Boottime::now());
                self.carry_out(actions);
            }
            ToWorker::HeartbeatAck { seq } => self.lease.on_acknowledged(seq),
            ToWorker::ReportsCommitted { seq, index } => self.table.on_reports_committed(seq, index),
            ToWorker::Fenced => self.end_registration("the cluster ended it"),
            ToWorker::ReadOutput { request, key, stream, read } => {
                if let Link::Up(session) = &self.link {
                    self.outputs.answer(Request { request, key, stream, read }, session.outgoing.clone());
                }
            }
            ToWorker::Welcome { .. } | ToWorker::Refused { .. } => self.reconnect("a greeting came twice"),
        }
    }

    /// Takes `first` and what else has come from the watchdog.
    pub(super) async fn on_events(&mut self, first: Event) -> Result<(), WorkerError> {
        self.on_event(first).await?;
        for _ in 1..EVENTS_IN_A_ROW {
            let Ok(event) = self.keeper.events.try_recv() else { break };
            self.on_event(event).await?;
        }
        Ok(())
    }

    async fn on_event(&mut self, event: Event) -> Result<(), WorkerError> {
        match event {
            Event::Ready => {}
            Event::Spawned { key, pid } => self.on_spawned(key, pid),
            Event::NotStarted { key, detail } => {
                let action = self.table.on_not_started(key, Ending::NotStarted(detail));
                self.carry_out([action]);
            }
            Event::Unable { key, detail } => {
                tracing::warn!(job = %key.job, error = detail, "this worker can't start an attempt");
                let action = self.table.on_not_started(key, Ending::Unable(detail));
                self.carry_out([action]);
            }
            Event::Exited { key, status, ordered, ran_ms } => {
                self.registration.groups().remove(&key);
                let action = self.table.on_exited(key, status, ordered, Span(ran_ms));
                self.carry_out([action]);
            }
            Event::AllEnded { round } => self.on_all_ended(round).await?,
            Event::Lapsed { deadline } => self.on_lapsed(deadline),
            Event::Pong { seq } => self.health.on_pong(seq),
            Event::Probed { key, well } => {
                let action = self.table.on_probed(key, well, Boottime::now());
                self.carry_out(action);
            }
        }
        Ok(())
    }

    fn on_spawned(&mut self, key: AttemptKey, pid: i32) {
        let action = self.table.on_spawned(key, Boottime::now());
        self.carry_out(action);
        if !self.keeper.namespaced {
            self.registration.groups().insert(key, pid);
            self.disk.submit(Job::RecordGroup { key, pid });
        }
    }

    /// Takes `first` and what else the disk has done.
    pub(super) fn on_disk_done(&mut self, first: Option<Done>) {
        first.into_iter().for_each(|done| self.on_done(done));
        for _ in 1..EVENTS_IN_A_ROW {
            let Ok(done) = self.disk.done.try_recv() else { break };
            self.on_done(done);
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Prepared { key, outcome } => self.on_prepared(key, outcome),
            Done::Collected { key, leftover } => self.table.on_collected(key, leftover),
            Done::Observed(observations) => self.on_observed(observations),
        }
    }

    fn on_prepared(&mut self, key: AttemptKey, outcome: Result<Box<Spawn>, String>) {
        let (outcome, spawn) = match outcome {
            Ok(spawn) => (Ok(()), Some(spawn)),
            Err(detail) => (Err(detail), None),
        };
        match (self.table.on_prepared(key, outcome), spawn) {
            (Some(Action::Spawn { .. }), Some(spawn)) => self.keeper.order(Order::Spawn(spawn)),
            (action, _) => self.carry_out(action),
        }
    }

    fn on_observed(&mut self, observations: Vec<Observation>) {
        self.observing = false;
        for Observation { key, over_limit, progress } in observations {
            if let Some((millis, message)) = progress {
                self.table.on_progress(key, millis, message);
            }
            if over_limit {
                let action = self.table.on_output_limit(key);
                self.carry_out(action);
            }
        }
    }

    fn probe(&mut self, key: AttemptKey, definition: &Definition) {
        let Some((spawn, timeout)) = self.spool.probe(key, definition) else {
            // What can't be asked is not well. Without an answer it would never be asked again.
            let action = self.table.on_probed(key, false, Boottime::now());
            return self.carry_out(action);
        };
        self.keeper.order(Order::Probe { spawn: Box::new(spawn), timeout_ms: timeout.0 });
    }

    pub(super) fn carry_out(&mut self, actions: impl IntoIterator<Item = Action>) {
        for action in actions {
            match action {
                Action::Prepare { key, definition, inputs } => {
                    self.disk.submit(Job::Prepare { key, definition, inputs });
                }
                Action::Terminate { key, grace } => {
                    let grace_ms = Span::from(grace).0;
                    self.keeper.order(Order::Terminate { key, grace_ms });
                }
                Action::Kill { key } => self.keeper.order(Order::Kill { key }),
                Action::Move { key, motion } => self.keeper.order(Order::Move { key, motion }),
                Action::Probe { key, definition } => self.probe(key, &definition),
                Action::Collect { key } => self.disk.submit(Job::Collect { key }),
                Action::Discard { key } => self.disk.submit(Job::Discard { key }),
                // It needs what was prepared and is carried out where that arrives.
                Action::Spawn { .. } => {}
            }
        }
    }
}
