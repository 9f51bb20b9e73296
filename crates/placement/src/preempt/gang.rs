//! Room for a whole gang: attempts of lower priority on the workers that it gets are ended all at once, or none is.
//!
//! The gang that waits first has a formation. It stays if what is in the way there is all of lower priority, and no
//! more important than in another one that is looked for: each member, the largest first, goes where least is lost with
//! what the worker has got already. What was made room in is kept for the gang until it starts.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::command::{Grounds, Preemption};
use quorate_state::job::ElementKey;
use quorate_types::{Epoch, Resources, Timestamp};

use super::claims::uncovered;
use super::{Chance, Claim, Round, Victim, chance, siblings};
use crate::book::{Book, Facts, Forming, Mate, Station};
use crate::sight::Sight;

/// Attempts that are looked at for one gang in one round: some tens of milliseconds.
const GANG_VICTIM_LOOKS_MAX: usize = 200_000;

/// What is lost on a worker: the rank of the most important, with nothing as the least, and the work of all.
type Loss = (Option<u64>, u64);

/// What to end so that the gang that waits first can start; nothing if that would not be enough.
pub(super) fn victims(book: &mut Book, round: &mut Round<'_>, now: Timestamp) -> Vec<Preemption> {
    let Some(forming) = book.preempting_gang() else { return Vec::new() };
    let Some(facts) = book.facts(forming.formation.queued) else { return Vec::new() };
    // What this plan has started may have taken what the gang needs besides room.
    let kept = book.kept_for(&facts.namespace);
    if book.spaces.times(&facts.namespace, &facts.at_once(), Some(&kept)) == 0 {
        return Vec::new();
    }
    let sight = Sight(round.state);
    if facts.gates.as_ref().is_some_and(|gates| round.decision.gauge.elements(gates, &sight, now) == 0) {
        return Vec::new();
    }
    let mut search = Search { book, round, forming: &forming, facts: &facts, now, looks: 0 };
    let formed = search.as_formed();
    if formed.as_ref().is_some_and(|(_, victims)| victims.is_empty()) {
        // It has begun to, or is about to start.
        return Vec::new();
    }
    let found = formed.into_iter().chain(search.elsewhere()).map(|found| (search.merged(&found.1), found));
    let found = found.filter(|(merged, _)| search.may_end(merged));
    // The first of those that are equal: what has been kept is kept.
    let Some((_, (places, victims))) = found.min_by_key(|(merged, _)| loss_of(merged)) else {
        if forming.formation.claimed {
            // Something that can't be ended has come in its way there.
            book.unclaim();
        }
        return Vec::new();
    };
    if victims.is_empty() && places == forming.formation.places {
        return Vec::new();
    }
    book.claim(forming.formation.queued, places);
    round.note(&victims);
    victims.into_iter().map(|victim| victim.item).collect()
}

fn loss_of(victims: &[Victim]) -> Loss {
    (victims.iter().map(|victim| victim.rank).max(), victims.iter().map(|victim| victim.lost_ms).sum())
}

struct Search<'a, 'r> {
    book: &'a Book,
    round: &'a Round<'r>,
    forming: &'a Forming,
    /// Of the task that stands for the gang.
    facts: &'a Facts,
    now: Timestamp,
    looks: usize,
}

/// Where the members go, and what is ended for them.
type Found = (Vec<Station>, Vec<Victim>);

impl Search<'_, '_> {
    /// The same, with what is of one gang as one, and with all that ends with it.
    fn merged(&self, victims: &[Victim]) -> Vec<Victim> {
        let mut merged: BTreeMap<ElementKey, Victim> = BTreeMap::new();
        for victim in victims {
            let Preemption { job, task, index, .. } = victim.item;
            let Some(of) = self.round.state.job(job) else { continue };
            let all = merged.entry(of.tally_of(&ElementKey { job, task, index })).or_insert_with(|| victim.clone());
            let Some(gang) = of.gang(task) else { continue };
            all.gives = Resources::default();
            let specs = gang.elements().filter_map(|(task, _)| of.task_spec(task));
            specs.for_each(|spec| all.gives.add(&spec.resources));
        }
        let mut merged: Vec<Victim> = merged.into_values().collect();
        merged.sort();
        merged
    }

    /// Whether no other namespace would be left with less than its quota by all of them together.
    fn may_end(&self, victims: &[Victim]) -> bool {
        let all = uncovered(self.round.state, victims.to_vec(), &self.facts.namespace, self.round.ended.clone());
        all.len() == victims.len()
    }

    /// On the workers of the formation.
    fn as_formed(&mut self) -> Option<Found> {
        let mut loads: BTreeMap<Epoch, Resources> = BTreeMap::new();
        for Station { mate, epoch } in &self.forming.formation.places {
            loads.entry(*epoch).or_default().add(&self.forming.gang.get(*mate)?.entry.facts.request);
        }
        let mut all = Vec::new();
        for (epoch, load) in loads {
            all.extend(self.make_room(epoch, &load)?.1);
        }
        Some((self.forming.formation.places.clone(), all))
    }

    /// On whatever workers least is lost.
    fn elsewhere(&mut self) -> Option<Found> {
        let sight = Sight(self.round.state);
        let mut crowding = siblings(self.book, self.round.decision, self.forming.formation.queued, &sight);
        let mut loads: BTreeMap<Epoch, (Resources, Vec<Victim>)> = BTreeMap::new();
        let mut places = Vec::new();
        for (at, mate) in self.book.largest_first(&self.forming.gang) {
            let mut open = BTreeSet::new();
            for epoch in self.round.state.registrations().keys().copied() {
                open.extend(self.loss_with(epoch, mate, &loads).map(|(loss, _)| (loss, epoch)));
            }
            for _ in 0..mate.count {
                let epoch = loop {
                    let (_, epoch) = open.pop_first()?;
                    if self.book.could_host(epoch, mate.queued, &mate.entry, &crowding) {
                        break epoch;
                    }
                };
                let (_, victims) = self.loss_with(epoch, mate, &loads)?;
                let load = loads.entry(epoch).or_default();
                load.0.add(&mate.entry.facts.request);
                load.1 = victims;
                crowding.add(mate.queued, &mate.entry.facts, self.book.worker_of(epoch)?);
                places.push(Station { mate: at, epoch });
                open.extend(self.loss_with(epoch, mate, &loads).map(|(loss, _)| (loss, epoch)));
            }
        }
        places.sort_unstable();
        Some((places, loads.into_values().flat_map(|(_, victims)| victims).collect()))
    }

    /// What is lost on the worker with one more member on it.
    fn loss_with(
        &mut self,
        epoch: Epoch,
        mate: &Mate,
        loads: &BTreeMap<Epoch, (Resources, Vec<Victim>)>,
    ) -> Option<(Loss, Vec<Victim>)> {
        let mut load = loads.get(&epoch).map(|(load, _)| load.clone()).unwrap_or_default();
        load.add(&mate.entry.facts.request);
        self.make_room(epoch, &load)
    }

    /// What is ended on the worker to have so much room there; none if that is not enough, or not the gang's to have.
    fn make_room(&mut self, epoch: Epoch, load: &Resources) -> Option<(Loss, Vec<Victim>)> {
        let worker = self.round.state.worker_of(epoch)?;
        // What is lost with a gang is looked up member by member.
        let gang_of = |at: &ElementKey| self.round.state.job(at.job).and_then(|job| job.gang(at.task));
        let size = |at: &ElementKey| gang_of(at).map_or(1, |gang| gang.tasks.iter().map(|(_, count)| *count).sum());
        self.looks += 1 + worker.attempts.keys().map(size).map(|size: u32| size as usize).sum::<usize>();
        if self.looks >= GANG_VICTIM_LOOKS_MAX || self.book.earmarked_for(epoch).is_some() {
            return None;
        }
        let facts = Facts { request: load.clone(), ..self.facts.clone() };
        let claim = Claim {
            queued: self.forming.formation.queued,
            facts: &facts,
            grounds: Grounds::LowerPriority,
            now: self.now,
        };
        let mut others = self.round.held.get(&epoch).into_iter().flatten();
        if others.any(|other| other.0 != claim.queued && claim.gives_way_to(self.round, self.book, other)) {
            return None;
        }
        if self.book.left_on(epoch).is_some_and(|free| load.fits(free)) {
            return Some(((None, 0), Vec::new()));
        }
        match chance(self.round, self.book, &claim, worker, 0) {
            Chance::Ending => Some(((None, 0), Vec::new())),
            Chance::Offer(offer) => Some(((Some(offer.worst), offer.lost_ms), offer.victims)),
            Chance::None => None,
        }
    }
}
