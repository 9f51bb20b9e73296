//! What is ended for a task that found no room: attempts of lower priority, under `srtf` those that have longer to go
//! than the task will run, under `round-robin` those that have had their turn, or, for a task within its namespace's
//! quota, what other namespaces have borrowed. The worker is chosen where the least important is lost, and of that the
//! least work; it is kept for the task until that has started.
//!
//! Sources: victims of the lowest priority first, then the least work lost, as in Borg (Verma et al., "Large-scale
//! cluster management at Google with Borg", EuroSys 2015, section 2.5) and Slurm (`PreemptMode=REQUEUE`,
//! `preempt_youngest_first`). What is borrowed is reclaimed as in Kueue (`reclaimWithinCohort: Any`): from a namespace
//! no more than it holds beyond its quota.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_state::command::{Grounds, Preemption};
use quorate_state::queue::Queued;
use quorate_types::{Epoch, JobId, LogIndex, Name, Resources, Timestamp};

use crate::book::{Book, Crowding, Decision, Facts, Surroundings};
use crate::sight::Sight;

mod claims;
mod gang;
mod holdings;
mod levels;
mod offer;
mod search;

pub(crate) use claims::grounds;
use claims::{Claim, claimants};
use holdings::Holdings;
use levels::{Level, Levels, Ranking};
use offer::{Chance, Victim, chance};
use search::{Stop, with_turns_over};

/// Attempts, and steps of indexes, that one round looks at for victims: some milliseconds. The next round goes on.
const LOOKS_MAX: usize = 20_000;

/// Ends attempts for those that found no room.
#[derive(Debug)]
pub(crate) struct Preemptor {
    /// Where the last round stopped, if it looked at as much as it may.
    last: Option<Stop>,
    /// The version of the state when the first of the rounds began that go through all who may end others.
    begun_at: LogIndex,
    /// Much has changed since: those that came first then are looked at again.
    again: bool,
    /// What lower priorities hold.
    by_priority: Levels,
    /// What those hold that run on for longest.
    by_end: Levels,
}

impl Default for Preemptor {
    fn default() -> Self {
        let (by_priority, by_end) = (Levels::by(Ranking::Priority), Levels::by(Ranking::End));
        Self { last: None, begun_at: LogIndex(0), again: false, by_priority, by_end }
    }
}

/// What one round knows and has done.
struct Round<'a> {
    state: &'a State,
    decision: &'a Decision,
    /// For whom workers are held.
    held: BTreeMap<Epoch, Vec<(Queued, Facts)>>,
    /// Those who take back what is theirs and come later in the queue.
    later: BTreeSet<Queued>,
    /// Where attempts have had their turn, by when.
    over: Vec<Level>,
    holdings: Holdings,
    /// What has been ended so far, of each namespace.
    ended: BTreeMap<Name, Resources>,
    /// Where the last one stopped.
    resume: Option<Stop>,
    looks: usize,
}

impl Round<'_> {
    /// These are asked to end.
    fn note(&mut self, victims: &[Victim]) {
        self.holdings.note(victims);
        for victim in victims {
            self.ended.entry(victim.namespace.clone()).or_default().add(&victim.gives);
        }
    }
}

impl Preemptor {
    /// Something changed on the worker, or it went.
    pub(crate) fn note(&mut self, epoch: Epoch) {
        self.by_priority.note(epoch);
        self.by_end.note(epoch);
    }

    /// The service has another priority, or its elements other needs.
    pub(crate) fn note_service(&mut self, state: &State, job: JobId) {
        if self.by_priority.is_followed() || self.by_end.is_followed() {
            let hosts =
                state.job(job).into_iter().flat_map(|job| state.workers().filter(|worker| job.lives_on(worker)));
            hosts.for_each(|worker| self.note(worker.epoch));
        }
    }

    /// What to end for those that wait and may preempt, in the queue's order; for one element of each.
    pub(crate) fn victims(
        &mut self,
        state: &State,
        book: &mut Book,
        decision: &Decision,
        now: Timestamp,
    ) -> Vec<Preemption> {
        let mut items = Vec::new();
        self.again = false;
        if !book.has_claimants() {
            self.last = None;
            return items;
        }
        // Who has not been looked at may start in the next round without anybody's end.
        if !decision.looked || decision.more {
            return items;
        }
        let mut claimants = claimants(state, book);
        if decision.cut {
            let kept: BTreeSet<Queued> = book.kept().into_iter().map(|kept| kept.queued).collect();
            claimants.retain(|(queued, _)| kept.contains(queued));
        }
        // Where the last round stopped this one goes on.
        let resume = self.last.take();
        if resume.is_none() {
            self.begun_at = state.index();
        }
        let resumed = resume.is_some();
        let stands = |stop: &Stop| claimants.iter().position(|(queued, grounds)| stop.is_of(*queued, grounds));
        let first = resume.as_ref().and_then(stands);
        claimants.drain(..first.unwrap_or(0));
        let held = held(book);
        let over = with_turns_over(state, book, now);
        let holdings = Holdings::of(state, book, decision);
        let later = claimants.iter().filter(|(_, grounds)| grounds.contains(&Grounds::Borrowed));
        let later = later.map(|(queued, _)| *queued).collect();
        let ended = BTreeMap::new();
        let mut round = Round { state, decision, held, later, over, holdings, ended, resume, looks: 0 };
        items.extend(gang::victims(book, &mut round, now));
        for (queued, grounds) in claimants {
            if round.looks >= LOOKS_MAX {
                self.last.get_or_insert_with(|| Stop::before(queued, grounds.first().copied()));
                break;
            }
            round.later.remove(&queued);
            let wants_more = |facts: &Facts| wants_more(state, book, decision, queued, facts, now);
            let Some(facts) = book.facts(queued).filter(wants_more) else { continue };
            let kept = book.kept_for(&facts.namespace);
            if book.spaces.times(&facts.namespace, &facts.request, Some(&kept)) == 0 {
                continue;
            }
            let done = round.resume.as_ref().map_or(0, |stop| stop.done(queued, &grounds));
            for grounds in grounds.into_iter().skip(done) {
                if round.looks >= LOOKS_MAX {
                    self.last.get_or_insert_with(|| Stop::before(queued, Some(grounds)));
                    break;
                }
                if grounds == Grounds::Borrowed && !book.is_covered(queued, &kept) {
                    continue;
                }
                let claim = Claim { queued, facts: &facts, grounds, now };
                match self.best(book, &mut round, &claim) {
                    Chance::Offer(offer) => {
                        book.earmark(offer.epoch, queued);
                        round.note(&offer.victims);
                        items.extend(offer.victims.into_iter().map(|victim| victim.item));
                        break;
                    }
                    Chance::Ending => break,
                    Chance::None => {}
                }
            }
        }
        self.again = resumed && self.last.is_none() && state.index() != self.begun_at;
        if self.goes_on() {
            // The rest has its turn even if nothing changes.
            book.look_again();
        }
        items
    }

    /// Whether a search stopped at its bound, and goes on in the next round.
    pub(crate) fn goes_on(&self) -> bool {
        self.last.is_some() || self.again
    }
}

/// The workers that the decision kept, and for whom.
fn held(book: &Book) -> BTreeMap<Epoch, Vec<(Queued, Facts)>> {
    let mut held: BTreeMap<Epoch, Vec<(Queued, Facts)>> = BTreeMap::new();
    for kept in book.kept() {
        held.entry(kept.epoch).or_default().extend(book.facts(kept.queued).map(|facts| (kept.queued, facts)));
    }
    held
}

/// Drops earmarks whose room will not come: what was to end there has not been asked to, or the task can't go there any
/// more.
pub(crate) fn review(state: &State, book: &mut Book) {
    let sight = Sight(state);
    let crowding = Crowding::new(&sight);
    for (epoch, earmark) in book.all_earmarks() {
        let worker = state.worker_of(epoch).filter(|_| book.could_take(epoch, earmark.queued, &crowding));
        let (Some(worker), Some(facts)) = (worker, book.facts(earmark.queued)) else {
            book.unmark(epoch);
            continue;
        };
        let mut room = worker.free();
        for (key, _) in worker.holders().filter(|(_, live)| live.stopping) {
            let spec = state.job(key.job).and_then(|job| job.task_spec(key.task));
            spec.into_iter().for_each(|spec| room.add(&spec.resources));
        }
        for _ in 0..earmark.elements {
            if !facts.request.fits(&room) {
                book.unmark(epoch);
                break;
            }
            room.subtract(&facts.request);
        }
    }
}

/// Where elements of the job, and of others that mind it, are, will be by this decision, and have room kept.
fn siblings<'a>(book: &Book, decision: &Decision, queued: Queued, sight: &'a Sight<'_>) -> Crowding<'a> {
    let mut crowding = Crowding::new(sight);
    let starts = decision.starts.iter().map(|start| (start.queued, start.epoch, 1));
    let earmarks = book.all_earmarks().into_iter().map(|(epoch, earmark)| (earmark.queued, epoch, earmark.elements));
    let has_company = book.facts(queued).is_some_and(|facts| facts.company.is_some());
    for (other, epoch, elements) in starts.chain(earmarks).filter(|(other, ..)| has_company || other.job == queued.job)
    {
        if let (Some(facts), Some(worker)) = (book.facts(other), book.worker_of(epoch)) {
            (0..elements).for_each(|_| crowding.add(other, &facts, worker));
        }
    }
    crowding
}

/// Whether elements of the task wait for whom nothing is kept yet, and for nothing but room.
fn wants_more(state: &State, book: &Book, decision: &Decision, queued: Queued, facts: &Facts, now: Timestamp) -> bool {
    let started = decision.starts.iter().filter(|start| start.queued == queued).count() as u64;
    let (sight, kept) = (Sight(state), book.earmarks_of(queued));
    let pass = facts.gates.as_ref().map_or(u64::MAX, |gates| decision.gauge.elements(gates, &sight, now));
    sight.pending(queued) > started + kept && pass > kept
}
