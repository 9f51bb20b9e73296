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
use quorate_types::{Epoch, Name, Resources, Timestamp};

use crate::book::{Book, Crowding, Decision, Facts, Surroundings};
use crate::sight::Sight;

mod claims;
mod gang;
mod holdings;
mod levels;
mod offer;

pub(crate) use claims::grounds;
use claims::{Claim, claimants};
use holdings::Holdings;
use levels::{Level, Levels, Ranking};
use offer::{Chance, Offer, Victim, chance};

/// Attempts that one round looks at for victims: some milliseconds. The next round goes on with other workers.
const LOOKS_MAX: usize = 20_000;

/// Offers that are compared for one task, of those that cost equally important work.
const OFFERS_MAX: usize = 64;

/// Where the bound ended the search: for whom, why, and which level was looked at last.
type Stop = (Queued, Grounds, Option<Level>);

/// Ends attempts for those that found no room.
#[derive(Debug)]
pub(crate) struct Preemptor {
    last: Option<Stop>,
    by_priority: Levels,
    by_end: Levels,
}

impl Default for Preemptor {
    fn default() -> Self {
        Self { last: None, by_priority: Levels::by(Ranking::Priority), by_end: Levels::by(Ranking::End) }
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

    /// Jobs have other priorities.
    pub(crate) fn note_all(&mut self) {
        self.by_priority.note_all();
        self.by_end.note_all();
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
        // Who has not been looked at may start in the next round without anybody's end.
        if !decision.looked || decision.more || decision.cut || !book.has_claimants() {
            return items;
        }
        let mut claimants = claimants(state, book);
        // Where the last round stopped this one goes on.
        let resume = self.last.take();
        let first = resume.and_then(|(last, ..)| claimants.iter().position(|(queued, _)| *queued == last));
        claimants.drain(..first.unwrap_or(0));
        let mut held: BTreeMap<Epoch, Vec<(Queued, Facts)>> = BTreeMap::new();
        for kept in book.kept() {
            held.entry(kept.epoch).or_default().extend(book.facts(kept.queued).map(|facts| (kept.queued, facts)));
        }
        let over = book.with_turns_over(now, LOOKS_MAX).into_iter().map(|(end, epoch)| (end.0, epoch)).collect();
        let holdings = Holdings::of(state, book, decision);
        let later = claimants.iter().filter(|(_, grounds)| grounds.contains(&Grounds::Borrowed));
        let later = later.map(|(queued, _)| *queued).collect();
        let ended = BTreeMap::new();
        let mut round = Round { state, decision, held, later, over, holdings, ended, resume, looks: 0 };
        items.extend(gang::victims(book, &mut round, now));
        for (queued, grounds) in claimants {
            round.later.remove(&queued);
            let wants_more = |facts: &Facts| wants_more(state, book, decision, queued, facts, now);
            let Some(facts) = book.facts(queued).filter(wants_more) else { continue };
            let kept = book.kept_for(&facts.namespace);
            if book.spaces.times(&facts.namespace, &facts.request, Some(&kept)) == 0 {
                continue;
            }
            for grounds in grounds {
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
            if round.looks >= LOOKS_MAX {
                // The rest has its turn even if nothing changes.
                self.last.get_or_insert((queued, Grounds::Rebalance, None));
                book.look_again();
                break;
            }
        }
        items
    }

    /// The best chance that any worker gives.
    fn best(&mut self, book: &mut Book, round: &mut Round<'_>, claim: &Claim<'_>) -> Chance {
        let state = round.state;
        let levels = match claim.grounds {
            Grounds::TurnOver => None,
            Grounds::LongerToGo => Some(&mut self.by_end),
            Grounds::LowerPriority | Grounds::Borrowed | Grounds::Rebalance => Some(&mut self.by_priority),
        };
        if levels.is_none() && round.over.is_empty() {
            return Chance::None;
        }
        let sight = Sight(state);
        let crowding = siblings(book, round.decision, claim.queued, &sight);
        round.looks += 1;
        if !book.has_able(claim.queued, &crowding) {
            return Chance::None;
        }
        let levels = levels.map(|levels| {
            levels.settle(state, book);
            &*levels
        });
        let is_claims = |(queued, grounds, _): &Stop| (*queued, *grounds) == (claim.queued, claim.grounds);
        let mut after = round.resume.filter(is_claims).and_then(|(.., level)| level);
        let (mut best, mut offers, mut seen): (Option<Offer>, usize, BTreeSet<Epoch>) = (None, 0, BTreeSet::new());
        loop {
            let next = match levels {
                Some(levels) => levels.first(book, after.as_ref(), &claim.facts.request),
                None => round
                    .over
                    .get(round.over.partition_point(|level| after.is_some_and(|after| *level <= after)))
                    .copied(),
            };
            let Some(level @ (rank, epoch)) = next.filter(|(rank, _)| claim.may_end(*rank)) else { break };
            if offers >= OFFERS_MAX || best.as_ref().is_some_and(|best| best.worst < rank) {
                break;
            }
            if round.looks >= LOOKS_MAX {
                self.last = Some((claim.queued, claim.grounds, after));
                break;
            }
            after = Some(level);
            round.looks += 1;
            let Some(worker) = state.worker_of(epoch).filter(|_| seen.insert(epoch)) else { continue };
            let earmark = book.earmarked_for(epoch);
            if earmark.is_some_and(|earmark| earmark.queued != claim.queued)
                || book.is_claimed_from(epoch, claim.queued)
                || !book.could_take(epoch, claim.queued, &crowding)
                || round
                    .held
                    .get(&epoch)
                    .is_some_and(|others| others.iter().any(|other| claim.gives_way_to(round, book, other)))
            {
                continue;
            }
            let promised = earmark.map_or(0, |earmark| earmark.elements);
            round.looks += worker.attempts.len();
            match chance(round, book, claim, worker, promised) {
                Chance::Ending => {
                    book.earmark(epoch, claim.queued);
                    return Chance::Ending;
                }
                Chance::Offer(offer) => {
                    offers += 1;
                    best = best.into_iter().chain([offer]).min();
                }
                Chance::None => {}
            }
        }
        best.map_or(Chance::None, Chance::Offer)
    }
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
