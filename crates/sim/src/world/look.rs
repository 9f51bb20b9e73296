//! What must hold: at any time, and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use axum::http::StatusCode;
use quorate_state::State;
use quorate_types::event::Cursor;
use quorate_types::{LogIndex, ReplicaId};

use super::{CHECK_PAUSE, World};
use crate::client::Client;
use crate::history::Violation;
use crate::replica::{Answer, Fate};

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
        if let Some(complaint) = self.complaint.take() {
            return Err(complaint);
        }
        if let Some(panic) = crate::panics::take() {
            return Err(format!("a panic: {panic}"));
        }
        self.look_at_results()?;
        if let Some(handle) = self.leader().and_then(|id| self.replicas.get(&id)?.handle()) {
            let version = handle.version();
            if version.index != self.counted {
                self.counted = version.index;
                let states = version.state.job_states();
                self.unfinished = states.iter().filter(|(state, _)| !state.is_finished()).map(|(_, n)| n).sum();
            }
        }
        if self.now >= self.next_check {
            self.next_check = self.now + CHECK_PAUSE;
            self.check_state()?;
        }
        let mut news = Vec::new();
        for replica in self.replicas.values() {
            news.extend(replica.leads().map(|term| (term, replica.id)));
            let Some(failure) = replica.failure() else {
                self.failed.remove(&replica.id);
                continue;
            };
            let removed = replica.fate == Fate::Leaves && failure.contains("was removed");
            if replica.disk.is_healthy() && !replica.disk.is_damaged() && !removed {
                return Err(format!("replica {} went down although its disk is well: {failure}", replica.id));
            }
            if self.failed.insert(replica.id) {
                self.counts.noticed += u64::from(replica.disk.is_damaged());
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

    /// The state of one replica as a whole; of the next one the next time.
    fn check_state(&mut self) -> Result<(), Violation> {
        self.checks += 1;
        let nth = self.checks % self.replicas.len();
        let Some((id, handle)) = self.replicas.values().nth(nth).and_then(|r| Some((r.id, r.handle()?))) else {
            return Ok(());
        };
        handle.version().state.check().map_err(|e| format!("the state of replica {id}: {e}"))
    }

    /// What was accepted since the last look must be what really happened.
    fn look_at_results(&mut self) -> Result<(), Violation> {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(violation) = applied.violation.take() {
            return Err(violation);
        }
        std::mem::take(&mut applied.news).iter().try_for_each(|attempt| self.physical.check(attempt))
    }

    /// Whether everything has come to an end: clients and jobs are done, and all replicas agree. `Some` says
    /// what has not.
    pub(crate) fn drained(&mut self) -> Result<Option<String>, Violation> {
        if !self.clients.iter().all(Client::is_idle) {
            return Ok(Some("clients still wait for answers".into()));
        }
        if !self.errands.is_empty() {
            return Ok(Some("operators still change the membership".into()));
        }
        let mut digests = BTreeMap::new();
        for replica in self.replicas.values() {
            let Some(handle) = replica.handle() else { return Ok(Some(format!("replica {} is not up", replica.id))) };
            let state = handle.version().state.clone();
            let totals = state.job_states();
            let live: u64 = totals.iter().filter(|(job_state, _)| !job_state.is_finished()).map(|(_, n)| n).sum();
            if live > 0 {
                return Ok(Some(format!("replica {} has jobs that do not end: {totals:?}", replica.id)));
            }
            digests.insert(state.index(), (replica.id, state));
        }
        let (true, Some((_, state))) = (digests.len() == 1, digests.pop_first().map(|(_, found)| found)) else {
            return Ok(Some(format!("replicas are at different indexes: {:?}", digests.keys())));
        };
        if let Some(resource) = state.resources(None, 1).find(|resource| resource.held > 0) {
            return Err(format!("everything has ended, and something is held: {resource:?}"));
        }
        if let Some(lock) = state.locks(None, None).next() {
            return Err(format!("everything has ended, and somebody has a lock: {lock:?}"));
        }
        self.compare(&state)?;
        Ok(self.archives_differ())
    }

    /// Whether replicas keep different records of finished jobs; some may still have to be written.
    fn archives_differ(&self) -> Option<String> {
        let mut sound = self.replicas.values().filter(|replica| !replica.disk.is_damaged());
        let first = sound.next()?;
        let archive = first.disk.archive();
        let other = sound.find(|other| other.disk.archive() != archive)?;
        Some(format!("the archives of the replicas {} and {} differ", first.id, other.id))
    }

    /// All replicas are at the same index, `state` is of one of them.
    fn compare(&self, state: &State) -> Result<(), Violation> {
        let digest = state.digest();
        for replica in self.replicas.values() {
            let Some(handle) = replica.handle() else { continue };
            let version = handle.version();
            version.state.check().map_err(|e| format!("the state of replica {}: {e}", replica.id))?;
            if version.state.index() == state.index() && version.state.digest() != digest {
                return Err(format!("replica {} has another digest at index {}", replica.id, state.index()));
            }
        }
        self.compare_results(state)?;
        self.compare_follow_ups(state)?;
        self.compare_members()?;
        let unknown = self.history.accepted().iter().find(|(_, job)| !state.knows_job(**job));
        match unknown {
            Some((key, job)) => Err(format!("job {job} of key {key} was accepted, and nobody knows it")),
            None => Ok(()),
        }
    }

    /// As many accepted results as the jobs say.
    fn compare_results(&self, state: &State) -> Result<(), Violation> {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        for job in state.jobs() {
            let (id, succeeded) = (job.id(), job.header.counts.succeeded);
            let accepted = applied.results(id);
            if accepted != succeeded {
                return Err(format!(
                    "job {id} says that {succeeded} tasks succeeded, and {accepted} results were accepted"
                ));
            }
        }
        Ok(())
    }

    /// The members are those whom the operators left.
    fn compare_members(&self) -> Result<(), Violation> {
        let there: BTreeSet<ReplicaId> = self.replicas.keys().copied().collect();
        for replica in self.replicas.values() {
            let Some(handle) = replica.handle() else { continue };
            let voters: BTreeSet<ReplicaId> =
                handle.status().members.iter().filter(|member| member.voter).map(|member| member.id).collect();
            if voters != there {
                return Err(format!("replica {} says that {voters:?} vote, and {there:?} are there", replica.id));
            }
        }
        Ok(())
    }
}
