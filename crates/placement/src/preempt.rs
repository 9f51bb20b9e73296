//! What is ended for a task that found no room: attempts of lower priority, or under `srtf` those that have longer to
//! go than the task will run. The worker is chosen where the least important is lost, and of that the least work; it is
//! kept for the task until that has started.
//!
//! Sources: victims of the lowest priority first, then the least work lost, as in Borg (Verma et al., "Large-scale
//! cluster management at Google with Borg", EuroSys 2015, section 2.5) and Slurm (`PreemptMode=REQUEUE`,
//! `preempt_youngest_first`).

use quorate_state::State;
use quorate_state::command::{Grounds, Preemption};
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::job::Preempt;
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, Resources, Timestamp};

use crate::book::{Book, Decision, Facts, Surroundings};
use crate::planner::Sight;

/// Attempts that one round looks at for victims: some milliseconds. The next round goes on with other workers.
const LOOKS_MAX: usize = 20_000;

/// Ends attempts for those that found no room.
#[derive(Debug, Default)]
pub(crate) struct Preemptor {
    /// The worker that was looked at last, where the bound ended the search.
    last: Option<Epoch>,
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
        if !decision.looked {
            return Vec::new();
        }
        for queued in &book.preempting() {
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
            match self.best(state, book, &claim, &mut looks) {
                Chance::Ending | Chance::None => {}
                Chance::Offer(offer) => {
                    book.earmark(offer.epoch, *queued);
                    items.extend(offer.victims.into_iter().map(|victim| victim.item));
                }
            }
            if looks >= LOOKS_MAX {
                break;
            }
        }
        items
    }

    /// The best chance that any worker gives.
    fn best(&mut self, state: &State, book: &mut Book, claim: &Claim<'_>, looks: &mut usize) -> Chance {
        let after = self.last.take();
        let registrations = state.registrations();
        let ahead = registrations.iter().filter(|(epoch, _)| after.is_none_or(|after| **epoch > after));
        let behind = registrations.iter().filter(|(epoch, _)| after.is_some_and(|after| **epoch <= after));
        let mut best: Option<Offer> = None;
        for (epoch, name) in ahead.chain(behind) {
            if *looks >= LOOKS_MAX {
                self.last = Some(*epoch);
                break;
            }
            let Some(worker) = state.worker(name) else { continue };
            *looks += 1;
            let earmark = book.earmarked_for(*epoch);
            if earmark.is_some_and(|earmark| earmark.queued != claim.queued)
                || !book.could_take(*epoch, claim.queued, &Sight(state))
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

/// Whether elements of the task wait for whom nothing is kept yet.
fn wants_more(state: &State, book: &Book, decision: &Decision, queued: Queued) -> bool {
    let started = decision.starts.iter().filter(|start| start.queued == queued).count() as u64;
    Sight(state).pending(queued) > started + book.earmarks_of(queued)
}

/// What the worker can give: first what it has and what is ending, less what is promised, then victims.
fn chance(state: &State, book: &Book, claim: &Claim<'_>, worker: &Worker, promised: u32) -> Chance {
    let request = &claim.facts.request;
    let mut room = worker.free();
    let mut victims: Vec<Victim> = Vec::new();
    for (key, live) in &worker.attempts {
        let Some(job) = state.job(key.job) else { continue };
        let Some(spec) = job.task_spec(key.task) else { continue };
        if live.stopping {
            room.add(&spec.resources);
            continue;
        }
        let since = started_at(state, *key).unwrap_or(claim.now);
        let rank = match claim.grounds {
            Grounds::LowerPriority if job.spec.priority < claim.facts.priority => u64::from(job.spec.priority),
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
        victims.push(Victim { rank, lost_ms: claim.now.since(since).0, item, gives: spec.resources.clone() });
    }
    for _ in 0..promised {
        if !request.fits(&room) {
            // What is kept here is not free yet: one thing after the other.
            return Chance::None;
        }
        room.subtract(request);
    }
    if request.fits(&room) {
        return if worker.free() == room { Chance::None } else { Chance::Ending };
    }
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

fn started_at(state: &State, key: ElementKey) -> Option<Timestamp> {
    let attempt = state.job(key.job)?.task(key.task)?.element(key.index)?.current()?;
    Some(attempt.started_at.unwrap_or(attempt.assigned_at))
}
