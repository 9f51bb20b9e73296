//! What a worker can give a task, and what would have to end for it.

use std::collections::BTreeMap;

use quorate_state::State;
use quorate_state::command::{Grounds, Preemption};
use quorate_state::job::{ElementKey, Job};
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::{Epoch, Name, Resources, Timestamp};

use super::Round;
use super::claims::{Claim, uncovered};
use super::levels::{rank_of_end, rank_of_priority};
use crate::book::Book;

/// An attempt that could be ended. The first is ended first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Victim {
    /// Lower priorities, longer remaining times, or earlier ends of turns, have lower ranks.
    pub(super) rank: u64,
    /// How long it has run.
    pub(super) lost_ms: u64,
    pub(super) item: Preemption,
    pub(super) gives: Resources,
    pub(super) namespace: Name,
}

/// What would be ended on a worker. The least is chosen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offer {
    pub(super) worst: u64,
    pub(super) lost_ms: u64,
    pub(super) victims: Vec<Victim>,
    pub(super) epoch: Epoch,
}

/// What a worker can give a task.
pub(super) enum Chance {
    /// What is ending there already is enough.
    Ending,
    Offer(Offer),
    None,
}

/// What the worker can give: first what it has and what is ending, less what is promised, then victims.
pub(super) fn chance(round: &Round<'_>, book: &Book, claim: &Claim<'_>, worker: &Worker, promised: u32) -> Chance {
    let state = round.state;
    let request = &claim.facts.request;
    // What the decision has just given away is not there any more.
    let free = book.left_on(worker.epoch).cloned().unwrap_or_default();
    let mut room = free.clone();
    // What is of one gang ends together, wherever it runs: if one of them may be ended, all are.
    let mut together: BTreeMap<ElementKey, (Option<Victim>, Resources)> = BTreeMap::new();
    for (key, live) in worker.holders() {
        let Some(job) = state.job(key.job) else { continue };
        let Some(spec) = job.task_spec(key.task) else { continue };
        if live.stopping {
            room.add(&spec.resources);
            continue;
        }
        let (victim, gives) = together.entry(job.tally_of(key)).or_default();
        gives.add(&spec.resources);
        let Some(rank) = rank_for(book, claim, job, key) else { continue };
        let item = Preemption {
            job: key.job,
            task: key.task,
            index: key.index,
            attempt: live.number,
            epoch: worker.epoch,
            by: claim.queued.job,
            grounds: claim.grounds,
        };
        let of_one = || {
            let (lost_ms, namespace) = (lost_with(state, job, *key, claim.now), job.spec.namespace.clone());
            Victim { rank, lost_ms, item, gives: Resources::default(), namespace }
        };
        let victim = victim.get_or_insert_with(of_one);
        victim.rank = victim.rank.min(rank);
    }
    let whole = |(victim, gives): (Option<Victim>, Resources)| victim.map(|victim| Victim { gives, ..victim });
    let mut victims: Vec<Victim> = together.into_values().filter_map(whole).collect();
    for _ in 0..promised {
        if !request.fits(&room) {
            // What is kept here is not free yet: one thing after the other.
            return Chance::None;
        }
        room.subtract(request);
    }
    if request.fits(&room) {
        return if free == room { Chance::None } else { Chance::Ending };
    }
    victims.sort();
    if claim.grounds == Grounds::TurnOver {
        round.holdings.spare(state, book, claim.queued, &mut victims);
    }
    let victims = uncovered(state, victims, &claim.facts.namespace, round.ended.clone());
    fewest(victims, room, request).map_or(Chance::None, |victims| {
        let worst = victims.iter().map(|victim| victim.rank).max().unwrap_or(0);
        let lost_ms = victims.iter().map(|victim| victim.lost_ms).sum();
        Chance::Offer(Offer { worst, lost_ms, victims, epoch: worker.epoch })
    })
}

/// How important the attempt is, if the task may end it.
fn rank_for(book: &Book, claim: &Claim<'_>, job: &Job, key: &ElementKey) -> Option<u64> {
    match claim.grounds {
        Grounds::LowerPriority => {
            (job.spec.priority < claim.facts.priority).then(|| rank_of_priority(job.spec.priority))
        }
        // An element does not give way to its sibling: that would go on for ever.
        Grounds::LongerToGo | Grounds::TurnOver if is_sibling(*key, claim.queued) => None,
        // What never ends by itself would have to make room again and again.
        Grounds::TurnOver if job.is_service() => None,
        Grounds::TurnOver => book.turn_end_of(*key).filter(|end| *end <= claim.now).map(|end| end.0),
        Grounds::LongerToGo => {
            let (end, expected) = (book.end_of(*key)?, claim.facts.expected?);
            (end.since(claim.now) > expected).then(|| rank_of_end(end.0))
        }
        Grounds::Borrowed => (job.spec.namespace != claim.facts.namespace).then(|| rank_of_priority(job.spec.priority)),
        Grounds::Rebalance => None,
    }
}

/// As many from the front as are needed, without those that are not.
fn fewest(victims: Vec<Victim>, mut room: Resources, request: &Resources) -> Option<Vec<Victim>> {
    let mut chosen = Vec::new();
    for victim in victims {
        if request.fits(&room) {
            break;
        }
        room.add(&victim.gives);
        chosen.push(victim);
    }
    if !request.fits(&room) {
        return None;
    }
    // The last ones weigh most: those come off first, where the others are enough.
    for at in (0..chosen.len()).rev() {
        let without = room.clone().minus(&chosen[at].gives);
        if request.fits(&without) {
            room = without;
            chosen.remove(at);
        }
    }
    Some(chosen)
}

fn is_sibling(key: ElementKey, queued: Queued) -> bool {
    (key.job, key.task) == (queued.job, queued.task)
}

/// How long an attempt has run, and the others of its gang.
fn lost_with(state: &State, job: &Job, key: ElementKey, now: Timestamp) -> u64 {
    let ran = |key| started_at(state, key).map_or(0, |since| now.since(since).0);
    let Some(gang) = job.gang(key.task) else { return ran(key) };
    gang.elements().map(|(task, index)| ran(ElementKey { task, index, ..key })).sum()
}

fn started_at(state: &State, key: ElementKey) -> Option<Timestamp> {
    let attempt = state.job(key.job)?.task(key.task)?.element(key.index)?.current()?;
    Some(attempt.started_at.unwrap_or(attempt.assigned_at))
}
