//! Who may end others, and what is not theirs to end.

use std::collections::BTreeMap;

use quorate_state::State;
use quorate_state::command::Grounds;
use quorate_state::queue::Queued;
use quorate_types::job::Preempt;
use quorate_types::policy::QueueOrder;
use quorate_types::{Name, Resources, Span, Timestamp};

use super::levels::{rank_of_end, rank_of_priority};
use super::{Round, Victim};
use crate::book::spaces::Tier;
use crate::book::{Book, Facts};

/// Who may end others, on which grounds: first those whose namespace has lent what they need, then those of whom the
/// policy or their job says so.
pub(super) fn claimants(state: &State, book: &Book) -> Vec<(Queued, Vec<Grounds>)> {
    let reclaiming = book.reclaiming().into_iter().filter(|_| has_borrowers(state));
    let reclaiming = reclaiming.map(|queued| (queued, vec![Grounds::Borrowed]));
    let preempting = book.preempting().into_iter().filter_map(|queued| {
        let facts = book.facts(queued)?;
        Some((queued, grounds(state.policy().queue, &facts).collect()))
    });
    reclaiming.chain(preempting).collect()
}

/// On whose behalf, and when.
pub(super) struct Claim<'a> {
    pub(super) queued: Queued,
    pub(super) facts: &'a Facts,
    pub(super) grounds: Grounds,
    pub(super) now: Timestamp,
}

impl Claim<'_> {
    /// Whether what has this rank may be ended, and with it all that has a lower one; or more is to be known.
    pub(super) fn may_end(&self, rank: u64) -> bool {
        match self.grounds {
            Grounds::LowerPriority => rank < rank_of_priority(self.facts.priority),
            Grounds::LongerToGo => {
                let expected = self.facts.expected.unwrap_or(Span(u64::MAX));
                rank == 0 || rank < rank_of_end(self.now.plus(expected).0)
            }
            Grounds::TurnOver | Grounds::Borrowed | Grounds::Rebalance => true,
        }
    }

    /// Whether the other one, for which a worker is kept, has the better right to it.
    pub(super) fn gives_way_to(&self, round: &Round<'_>, book: &Book, (queued, other): &(Queued, Facts)) -> bool {
        match self.grounds {
            // Of two who take back what is theirs the first one does: else each would wait for the other.
            Grounds::Borrowed => {
                let is_other = other.namespace != self.facts.namespace && !round.later.contains(queued);
                is_other && book.spaces.tier(other) == Tier::Covered
            }
            Grounds::LowerPriority => other.priority > self.facts.priority,
            Grounds::LongerToGo => other.expected.is_some() && other.expected < self.facts.expected,
            // Its turns are those of its siblings as well.
            Grounds::TurnOver => {
                let of = |queued| round.holdings.of_task(round.state, book, queued);
                other.turn < self.facts.turn && of(*queued) <= of(self.queued)
            }
            // Nothing is moved for a claim.
            Grounds::Rebalance => true,
        }
    }
}

/// Whether any namespace may hold something that it borrowed.
fn has_borrowers(state: &State) -> bool {
    let has_own = |name: &Name, held: &Resources| state.rules_of(name).is_some_and(|it| it.quota.contains(held));
    state.spaces().iter().any(|(name, space)| space.live > 0 && !has_own(name, &space.held))
}

/// On which grounds a task may end others, the first of them first.
pub(crate) fn grounds(queue: QueueOrder, facts: &Facts) -> impl Iterator<Item = Grounds> {
    let lower = (facts.preempts == Preempt::Lower).then_some(Grounds::LowerPriority);
    let (first, then) = match queue {
        QueueOrder::Srtf if facts.expected.is_some() => (Some(Grounds::LongerToGo), None),
        QueueOrder::RoundRobin => (Some(Grounds::TurnOver), lower),
        QueueOrder::Srtf
        | QueueOrder::Fifo
        | QueueOrder::Priority
        | QueueOrder::Sjf
        | QueueOrder::LeastWork
        | QueueOrder::Deadline
        | QueueOrder::CriticalPath
        | QueueOrder::FairShare
        | QueueOrder::Multifactor
        | QueueOrder::AgedSjf => (lower, None),
    };
    first.into_iter().chain(then)
}

/// Without those that are within the quota of another namespace, when those before them have ended.
pub(super) fn uncovered(
    state: &State,
    victims: Vec<Victim>,
    own: &Name,
    mut ended: BTreeMap<Name, Resources>,
) -> Vec<Victim> {
    if state.rules().is_empty() {
        return victims;
    }
    let may_end = |victim: &Victim| {
        let before = ended.entry(victim.namespace.clone()).or_default();
        if victim.namespace != *own && state.is_covered_without(&victim.namespace, &victim.gives, before) {
            return false;
        }
        before.add(&victim.gives);
        true
    };
    victims.into_iter().filter(may_end).collect()
}
