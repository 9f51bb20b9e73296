//! What must hold: at any time, and in the end.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use axum::http::StatusCode;
use quorate_types::LogIndex;
use quorate_types::event::Cursor;

use super::{CHECK_PAUSE, World};
use crate::client::Client;
use crate::history::Violation;
use crate::replica::Answer;

impl World {
    /// Every event since `from`, once and in order; or the word that they are gone.
    pub(super) fn check_events(&mut self, from: LogIndex, answer: &Answer) -> Result<(), Violation> {
        if answer.status == StatusCode::GONE {
            let text = String::from_utf8_lossy(&answer.body);
            let first = text.split("before index ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let first = first.ok_or_else(|| format!("events are gone, and nobody says from where on: {text}"))?;
            // Nobody may have them any more; what comes after must be there.
            self.watched = self.watched.max(LogIndex(first));
        }
        if !answer.status.is_success() {
            return Ok(());
        }
        let until = crate::client::index_of(answer).ok_or("events without an index")?;
        let text = String::from_utf8_lossy(&answer.body);
        let cursor = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            event["cursor"].as_str()?.parse::<Cursor>().ok()
        };
        let told: Vec<Cursor> = text.lines().filter_map(cursor).collect();
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let known = applied.events.range(from..).take_while(|(index, _)| **index <= until);
        let known = known.flat_map(|(index, count)| {
            let index = *index;
            (0..*count).map(move |nth| Cursor { index, nth: nth as u32 })
        });
        if !known.eq(told.iter().copied()) {
            return Err(format!("the events from {from} to {until} have gaps, or some came twice"));
        }
        self.counts.events += told.len() as u64;
        self.watched = self.watched.max(LogIndex(until.0 + 1));
        Ok(())
    }

    /// Looks at what must hold at any time.
    pub(super) fn look(&mut self) -> Result<(), Violation> {
        if let Some(panic) = crate::panics::take() {
            return Err(format!("a panic: {panic}"));
        }
        if let Some(violation) = self.applied.lock().unwrap_or_else(PoisonError::into_inner).violation.take() {
            return Err(violation);
        }
        if self.now >= self.next_check {
            self.next_check = self.now + CHECK_PAUSE;
            for replica in self.replicas.values().filter_map(|replica| Some((replica.id, replica.handle()?))) {
                let (id, handle) = replica;
                handle.version().state.check().map_err(|e| format!("the state of replica {id}: {e}"))?;
            }
        }
        let mut news = Vec::new();
        for replica in self.replicas.values() {
            if let Some(handle) = replica.handle() {
                let leadership = *handle.leadership().borrow();
                if leadership.local {
                    news.push((leadership.term, replica.id));
                }
            }
            let Some(failure) = replica.failure() else {
                self.failed.remove(&replica.id);
                continue;
            };
            if replica.disk.is_healthy() {
                return Err(format!("replica {} went down although its disk is well: {failure}", replica.id));
            }
            if self.failed.insert(replica.id) {
                self.trace.line(format_args!("replica {} stopped by itself: {failure}", replica.id));
            }
        }
        for (term, id) in news {
            match self.leaders.get(&term) {
                Some(known) if *known != id => {
                    return Err(format!("replicas {known} and {id} both lead in term {term}"));
                }
                Some(_) => {}
                None => {
                    self.trace.line(format_args!("replica {id} leads in term {term}"));
                    self.leaders.insert(term, id);
                }
            }
        }
        Ok(())
    }

    /// After everything was healed, and clients have ended what they began: all replicas agree, and what was
    /// accepted is there.
    pub(crate) fn drained(&mut self) -> Result<(), Violation> {
        if !self.clients.iter().all(Client::is_idle) {
            return Err("clients still wait for answers".into());
        }
        let mut digests = BTreeMap::new();
        for replica in self.replicas.values() {
            let Some(handle) = replica.handle() else { return Err(format!("replica {} is not up", replica.id)) };
            let state = handle.version().state.clone();
            state.check().map_err(|e| format!("the state of replica {}: {e}", replica.id))?;
            for (key, job) in self.history.accepted() {
                if !state.knows_job(*job) {
                    return Err(format!(
                        "job {job} of key {key} was accepted, and replica {} does not know it",
                        replica.id
                    ));
                }
            }
            let totals = state.job_states();
            let live: u64 = totals.iter().filter(|(job_state, _)| !job_state.is_finished()).map(|(_, n)| n).sum();
            if live > 0 {
                return Err(format!("replica {} has jobs that do not end: {totals:?}", replica.id));
            }
            digests.insert(replica.id, (state.index(), state.digest()));
        }
        let mut values = digests.values();
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(format!("the replicas differ at the end: {digests:?}"));
        }
        Ok(())
    }
}
