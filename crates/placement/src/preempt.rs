//! What is ended for a task that found no room: attempts of lower priority, or under `srtf` those that have longer to
//! go than the task will run. The worker is chosen where the least important is lost, and of that the least work; it is
//! kept for the task until that has started.
//!
//! Sources: victims of the lowest priority first, then the least work lost, as in Borg (Verma et al., "Large-scale
//! cluster management at Google with Borg", EuroSys 2015, section 2.5) and Slurm (`PreemptMode=REQUEUE`,
//! `preempt_youngest_first`).

use std::collections::BTreeMap;

use quorate_state::State;
use quorate_state::command::{Grounds, Preemption};
use quorate_state::job::{ElementKey, Job};
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::job::Preempt;
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, Resources, Timestamp};

use crate::book::{Book, Constraints, Crowding, Decision, Facts, Surroundings};
use crate::planner::Sight;

/// Attempts that one round looks at for victims: some milliseconds. The next round goes on with other workers.
const LOOKS_MAX: usize = 20_000;

/// Ends attempts for those that found no room.
#[derive(Debug, Default)]
pub(crate) struct Preemptor {
    /// The worker that was looked at last, where the bound ended the search.
    last: Option<(Queued, Epoch)>,
}

/// An attempt that could be ended. The first is ended first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    /// Lower priorities, or longer remaining times, have lower ranks.
    rank: u64,
    /// How long it has run.
    lost_ms: u64,
    item: Preemption,
    gives: Resources,
}

/// What would be ended on a worker. The least is chosen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    worst: u64,
    lost_ms: u64,
    victims: Vec<Victim>,
    epoch: Epoch,
}

/// What a worker can give a task.
enum Chance {
    /// What is ending there already is enough.
    Ending,
    Offer(Offer),
    None,
}

/// On whose behalf, and when.
struct Claim<'a> {
    queued: Queued,
    facts: &'a Facts,
    grounds: Grounds,
    now: Timestamp,
}

impl Claim<'_> {
    /// Whether the other one, for which a worker is kept, has the better right to it.
    fn gives_way_to(&self, other: &Facts) -> bool {
        match self.grounds {
            Grounds::LowerPriority => other.priority > self.facts.priority,
            Grounds::LongerToGo => other.expected.is_some() && other.expected < self.facts.expected,
        }
    }
}

impl Preemptor {
    /// What to end for those that wait and may preempt, in the queue's order; for one element of each.
    pub(crate) fn victims(
        &mut self,
        state: &State,
        book: &mut Book,
        decision: &Decision,
        now: Timestamp,
    ) -> Vec<Preemption> {
        let (mut items, mut looks) = (Vec::new(), 0);
        // Who has not been looked at may start in the next round without anybody's end.
        if !decision.looked || decision.more || decision.cut {
            return items;
        }
        let preempting = book.preempting();
        if preempting.is_empty() {
            return items;
        }
        let mut held: BTreeMap<Epoch, Vec<Facts>> = BTreeMap::new();
        for kept in book.kept() {
            held.entry(kept.epoch).or_default().extend(book.facts(kept.queued));
        }
        for queued in &preempting {
            let Some(facts) = book.facts(*queued).filter(|_| wants_more(state, book, decision, *queued)) else {
                continue;
            };
            let shorter = state.policy().queue == QueueOrder::Srtf && facts.expected.is_some();
            let grounds = match (shorter, facts.preempts) {
                (true, _) => Grounds::LongerToGo,
                (false, Preempt::Lower) => Grounds::LowerPriority,
                (false, Preempt::Never) => continue,
            };
            let claim = Claim { queued: *queued, facts: &facts, grounds, now };
            if let Chance::Offer(offer) = self.best(state, book, decision, &claim, &held, &mut looks) {
                book.earmark(offer.epoch, *queued);
                items.extend(offer.victims.into_iter().map(|victim| victim.item));
            }
            if looks >= LOOKS_MAX {
                // The rest has its turn even if nothing changes.
                book.look_again();
                break;
            }
        }
        items
    }

    /// The best chance that any worker gives.
    fn best(
        &mut self,
        state: &State,
        book: &mut Book,
        decision: &Decision,
        claim: &Claim<'_>,
        held: &BTreeMap<Epoch, Vec<Facts>>,
        looks: &mut usize,
    ) -> Chance {
        let sight = Sight(state);
        let crowding = siblings(state, book, decision, claim.queued, &sight);
        *looks += 1;
        if !book.has_able(claim.queued, &crowding) {
            return Chance::None;
        }
        let after = self.last.take().filter(|(queued, _)| *queued == claim.queued).map(|(_, epoch)| epoch);
        let behind = state.registrations().iter().filter(|(epoch, _)| after.is_none_or(|after| **epoch > after));
        let mut best: Option<Offer> = None;
        for (epoch, name) in behind {
            if *looks >= LOOKS_MAX {
                self.last = Some((claim.queued, *epoch));
                break;
            }
            let Some(worker) = state.worker(name) else { continue };
            *looks += 1;
            let earmark = book.earmarked_for(*epoch);
            if earmark.is_some_and(|earmark| earmark.queued != claim.queued)
                || !book.could_take(*epoch, claim.queued, &crowding)
                || held.get(epoch).is_some_and(|others| others.iter().any(|other| claim.gives_way_to(other)))
            {
                continue;
            }
            let promised = earmark.map_or(0, |earmark| earmark.elements);
            *looks += worker.attempts.len();
            match chance(state, book, claim, worker, promised) {
                Chance::Ending => {
                    book.earmark(*epoch, claim.queued);
                    return Chance::Ending;
                }
                Chance::Offer(offer) => best = best.into_iter().chain([offer]).min(),
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
        for (key, _) in worker.attempts.iter().filter(|(_, live)| live.stopping) {
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

/// Where elements of the job are, will be by this decision, and have room kept.
fn siblings<'a>(state: &State, book: &Book, decision: &Decision, queued: Queued, sight: &'a Sight<'_>) -> Crowding<'a> {
    let mut crowding = Crowding::new(sight);
    let starts = decision.starts.iter().map(|start| (start.queued, start.epoch, 1));
    let earmarks = book.all_earmarks().into_iter().map(|(epoch, earmark)| (earmark.queued, epoch, earmark.elements));
    for (other, epoch, elements) in starts.chain(earmarks).filter(|(other, ..)| other.job == queued.job) {
        let constraints = state
            .job(other.job)
            .and_then(|job| Constraints::of(job.task_spec(other.task)?, job.apart(other.task).collect()));
        if let (Some(constraints), Some(worker)) = (constraints, book.worker_of(epoch)) {
            (0..elements).for_each(|_| crowding.add(other, &constraints, worker));
        }
    }
    crowding
}

/// Whether elements of the task wait for whom nothing is kept yet.
fn wants_more(state: &State, book: &Book, decision: &Decision, queued: Queued) -> bool {
    let started = decision.starts.iter().filter(|start| start.queued == queued).count() as u64;
    Sight(state).pending(queued) > started + book.earmarks_of(queued)
}

/// What the worker can give: first what it has and what is ending, less what is promised, then victims.
fn chance(state: &State, book: &Book, claim: &Claim<'_>, worker: &Worker, promised: u32) -> Chance {
    let request = &claim.facts.request;
    // What the decision has just given away is not there any more.
    let free = book.left_on(worker.epoch).cloned().unwrap_or_default();
    let mut room = free.clone();
    // What is of one gang ends together, wherever it runs.
    let mut victims: BTreeMap<ElementKey, Victim> = BTreeMap::new();
    for (key, live) in &worker.attempts {
        let Some(job) = state.job(key.job) else { continue };
        let Some(spec) = job.task_spec(key.task) else { continue };
        if live.stopping {
            room.add(&spec.resources);
            continue;
        }
        if let Some(victim) = victims.get_mut(&job.tally_of(key)) {
            victim.gives.add(&spec.resources);
            continue;
        }
        let rank = match claim.grounds {
            Grounds::LowerPriority if job.spec.priority < claim.facts.priority => u64::from(job.spec.priority),
            // An element does not give way to its sibling: that would go on for ever.
            Grounds::LongerToGo if (key.job, key.task) == (claim.queued.job, claim.queued.task) => continue,
            Grounds::LongerToGo => match (book.remaining(*key, claim.now), claim.facts.expected) {
                (Some(remaining), Some(expected)) if remaining > expected => u64::MAX - remaining.0,
                _ => continue,
            },
            Grounds::LowerPriority => continue,
        };
        let item = Preemption {
            job: key.job,
            task: key.task,
            index: key.index,
            attempt: live.number,
            epoch: worker.epoch,
            by: claim.queued.job,
            grounds: claim.grounds,
        };
        let lost_ms = lost_with(state, job, *key, claim.now);
        victims.insert(job.tally_of(key), Victim { rank, lost_ms, item, gives: spec.resources.clone() });
    }
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
    let mut victims: Vec<Victim> = victims.into_values().collect();
    victims.sort();
    fewest(victims, room, request).map_or(Chance::None, |victims| {
        let worst = victims.iter().map(|victim| victim.rank).max().unwrap_or(0);
        let lost_ms = victims.iter().map(|victim| victim.lost_ms).sum();
        Chance::Offer(Offer { worst, lost_ms, victims, epoch: worker.epoch })
    })
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
