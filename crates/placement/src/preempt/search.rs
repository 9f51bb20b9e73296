//! Where least is lost for a task: workers in the order in which what would have to end becomes more important.

use std::collections::BTreeSet;

use quorate_state::State;
use quorate_state::command::Grounds;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Timestamp};

use super::claims::Claim;
use super::levels::{Level, Levels};
use super::offer::{Chance, Offer, chance};
use super::{LOOKS_MAX, Preemptor, Round, siblings};
use crate::book::{Book, Crowding};
use crate::sight::Sight;

/// Offers that are compared, of those that end equally important work: among so many one is cheap that loses as little
/// as a hundredth of them does.
const OFFERS_MAX: usize = 64;
/// Where no more workers than these could take the task, it is they that are looked at, and not the levels of all.
const FEW: usize = 64;

/// Where the bound ended a search, for the next round.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) queued: Queued,
    /// None if it had not begun.
    grounds: Option<Grounds>,
    /// What was looked at last.
    after: Option<Level>,
    /// The workers that were looked at in vain.
    seen: BTreeSet<Epoch>,
    /// The best worker so far, if a better one may come.
    best: Option<Epoch>,
    /// Whether it goes through few workers, one by one.
    of_few: bool,
}

impl Stop {
    /// The search for this task has not begun, or not on these grounds.
    pub(super) fn before(queued: Queued, grounds: Option<Grounds>) -> Self {
        Self { queued, grounds, after: None, seen: BTreeSet::new(), best: None, of_few: false }
    }

    /// Whether it is the task's, on one of these grounds.
    pub(super) fn is_of(&self, queued: Queued, all: &[Grounds]) -> bool {
        self.queued == queued && self.grounds.is_none_or(|grounds| all.contains(&grounds))
    }

    /// On how many of its grounds the task has been looked at in vain.
    pub(super) fn done(&self, queued: Queued, all: &[Grounds]) -> usize {
        let of_this = self.grounds.filter(|_| self.queued == queued);
        of_this.and_then(|grounds| all.iter().position(|other| *other == grounds)).unwrap_or(0)
    }
}

/// Who is looked at.
enum Candidates<'a> {
    /// In order.
    Few(Vec<Epoch>),
    /// Those where turns are over.
    Over,
    All(&'a Levels),
}

impl Candidates<'_> {
    fn next(&self, book: &Book, round: &mut Round<'_>, claim: &Claim<'_>, after: Option<Level>) -> Option<Level> {
        match self {
            Self::Few(epochs) => {
                let at = epochs.partition_point(|epoch| after.is_some_and(|(_, after)| *epoch <= after));
                epochs.get(at).map(|epoch| (0, *epoch))
            }
            Self::Over => {
                let at = round.over.partition_point(|level| after.is_some_and(|after| *level <= after));
                round.over.get(at).copied()
            }
            Self::All(levels) => levels.first(book, after.as_ref(), &claim.facts.request, &mut round.looks),
        }
    }
}

/// Where attempts have had their turn by now: those first where something is ending anyway, then by when the first turn
/// was over.
pub(super) fn with_turns_over(state: &State, book: &Book, now: Timestamp) -> Vec<Level> {
    let is_ending = |epoch| state.worker_of(epoch).is_some_and(|worker| worker.attempts.values().any(|it| it.stopping));
    let over = book.with_turns_over(now, LOOKS_MAX).into_iter();
    let mut over: Vec<Level> = over.map(|(end, epoch)| (if is_ending(epoch) { 0 } else { end.0 }, epoch)).collect();
    over.sort_unstable();
    over
}

impl Preemptor {
    /// The best chance that any worker gives.
    pub(super) fn best(&mut self, book: &mut Book, round: &mut Round<'_>, claim: &Claim<'_>) -> Chance {
        let sight = Sight(round.state);
        let crowding = siblings(book, round.decision, claim.queued, &sight);
        let is_claims = |stop: &Stop| (stop.queued, stop.grounds) == (claim.queued, Some(claim.grounds));
        let mut stop = match round.resume.take_if(|stop| is_claims(stop)) {
            Some(stop) => stop,
            None => Stop::before(claim.queued, Some(claim.grounds)),
        };
        let candidates = match self.candidates(book, round, claim, &crowding) {
            Ok(candidates) => candidates,
            Err(Unsettled) => {
                self.last = Some(stop);
                return Chance::None;
            }
        };
        let of_few = matches!(candidates, Candidates::Few(_));
        if std::mem::replace(&mut stop.of_few, of_few) != of_few {
            // They stand in another order.
            stop.after = None;
        }
        match search(book, round, claim, &crowding, &candidates, &mut stop) {
            Found::Ending(epoch) => {
                book.earmark(epoch, claim.queued);
                Chance::Ending
            }
            Found::All(best) => best.map_or(Chance::None, Chance::Offer),
            // Its next element begins anew.
            Found::Some(Some(best)) if stop.after.is_some_and(|(rank, _)| best.worst <= rank) => {
                self.last = Some(Stop::before(claim.queued, Some(claim.grounds)));
                Chance::Offer(best)
            }
            // What costs more than what has been passed may not be the least.
            Found::Some(best) => {
                self.last = Some(Stop { best: best.map(|best| best.epoch), ..stop });
                Chance::None
            }
        }
    }

    fn candidates(
        &mut self,
        book: &mut Book,
        round: &mut Round<'_>,
        claim: &Claim<'_>,
        crowding: &Crowding<'_>,
    ) -> Result<Candidates<'_>, Unsettled> {
        if claim.grounds == Grounds::TurnOver {
            return Ok(Candidates::Over);
        }
        if let Some(mut able) = book.able(claim.queued, crowding, FEW, &mut round.looks) {
            able.sort_unstable();
            return Ok(Candidates::Few(able));
        }
        let levels = match claim.grounds {
            Grounds::LongerToGo => &mut self.by_end,
            Grounds::LowerPriority | Grounds::Borrowed | Grounds::TurnOver | Grounds::Rebalance => {
                &mut self.by_priority
            }
        };
        levels.settle(round.state, book, &mut round.looks).then_some(Candidates::All(levels)).ok_or(Unsettled)
    }
}

/// What a search has come to.
enum Found {
    /// What is ending there already is enough.
    Ending(Epoch),
    /// The best of all.
    All(Option<Offer>),
    /// The best of those that were looked at before the bound.
    Some(Option<Offer>),
}

fn search(
    book: &Book,
    round: &mut Round<'_>,
    claim: &Claim<'_>,
    crowding: &Crowding<'_>,
    candidates: &Candidates<'_>,
    stop: &mut Stop,
) -> Found {
    let (mut best, mut offers): (Option<Offer>, usize) = (None, 0);
    if let Some(epoch) = stop.best.take() {
        match look_at(book, round, claim, crowding, epoch) {
            Chance::Ending => return Found::Ending(epoch),
            Chance::Offer(offer) => best = Some(offer),
            Chance::None => {}
        }
    }
    while let Some(level @ (rank, epoch)) = candidates.next(book, round, claim, stop.after)
        && claim.may_end(rank)
    {
        // What comes is no better, or, of what is as good, enough has been seen.
        if best.as_ref().is_some_and(|best| best.worst < rank) || offers >= OFFERS_MAX {
            break;
        }
        if round.looks >= LOOKS_MAX {
            return Found::Some(best);
        }
        stop.after = Some(level);
        round.looks += 1;
        if stop.seen.contains(&epoch) {
            continue;
        }
        match look_at(book, round, claim, crowding, epoch) {
            Chance::Ending => return Found::Ending(epoch),
            Chance::Offer(offer) => {
                offers += usize::from(offer.worst <= rank);
                best = best.into_iter().chain([offer]).min();
            }
            Chance::None => drop(stop.seen.insert(epoch)),
        }
    }
    Found::All(best)
}

/// To bring the levels up to date takes more looks than there are left.
struct Unsettled;

/// What one worker can give, if it may be asked.
fn look_at(book: &Book, round: &mut Round<'_>, claim: &Claim<'_>, crowding: &Crowding<'_>, epoch: Epoch) -> Chance {
    let Some(worker) = round.state.worker_of(epoch) else { return Chance::None };
    let earmark = book.earmarked_for(epoch);
    let gives_way = |others: &Vec<_>| others.iter().any(|other| claim.gives_way_to(round, book, other));
    if earmark.is_some_and(|earmark| earmark.queued != claim.queued)
        || book.is_claimed_from(epoch, claim.queued)
        || !book.could_take(epoch, claim.queued, crowding)
        || round.held.get(&epoch).is_some_and(gives_way)
    {
        return Chance::None;
    }
    round.looks += worker.attempts.len();
    chance(round, book, claim, worker, earmark.map_or(0, |earmark| earmark.elements))
}
