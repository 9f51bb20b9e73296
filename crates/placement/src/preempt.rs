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
use quorate_state::job::{ElementKey, Job};
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::{Epoch, Name, Resources, Timestamp};

use crate::book::{Book, Crowding, Decision, Facts, Surroundings};
use crate::sight::Sight;

mod claims;
mod gang;
mod holdings;

pub(crate) use claims::grounds;
use claims::{Claim, claimants, uncovered};
use holdings::Holdings;

/// Attempts that one round looks at for victims: some milliseconds. The next round goes on with other workers.
const LOOKS_MAX: usize = 20_000;

/// Ends attempts for those that found no room.
#[derive(Debug, Default)]
pub(crate) struct Preemptor {
    /// The worker that was looked at last, where the bound ended the search, for whom and why.
    last: Option<(Queued, Grounds, Epoch)>,
}

/// An attempt that could be ended. The first is ended first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    /// Lower priorities, longer remaining times, or earlier ends of turns, have lower ranks.
    rank: u64,
    /// How long it has run.
    lost_ms: u64,
    item: Preemption,
    gives: Resources,
    namespace: Name,
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

/// What one round knows and has done.
struct Round<'a> {
    state: &'a State,
    decision: &'a Decision,
    /// For whom workers are held.
    held: BTreeMap<Epoch, Vec<(Queued, Facts)>>,
    /// Those who take back what is theirs and come later in the queue.
    later: BTreeSet<Queued>,
    /// Where attempts have had their turn.
    over: Vec<Epoch>,
    holdings: Holdings,
    /// What has been ended so far, of each namespace.
    ended: BTreeMap<Name, Resources>,
    /// Where the last one stopped.
    resume: Option<(Queued, Grounds, Epoch)>,
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
        let (over, holdings) = (book.with_turns_over(now, LOOKS_MAX), Holdings::of(state, book, decision));
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
                self.last.get_or_insert((queued, Grounds::Rebalance, Epoch(0)));
                book.look_again();
                break;
            }
        }
        items
    }

    /// The best chance that any worker gives.
    fn best(&mut self, book: &mut Book, round: &mut Round<'_>, claim: &Claim<'_>) -> Chance {
        let state = round.state;
        let over = match claim.grounds {
            Grounds::TurnOver if round.over.is_empty() => return Chance::None,
            Grounds::TurnOver => Some(round.over.iter().copied()),
            Grounds::LowerPriority | Grounds::LongerToGo | Grounds::Borrowed | Grounds::Rebalance => None,
        };
        let sight = Sight(state);
        let crowding = siblings(book, round.decision, claim.queued, &sight);
        round.looks += 1;
        if !book.has_able(claim.queued, &crowding) {
            return Chance::None;
        }
        let of_claim =
            |(queued, grounds, _): &(Queued, Grounds, Epoch)| (*queued, *grounds) == (claim.queued, claim.grounds);
        let after = round.resume.filter(of_claim).map(|(.., epoch)| epoch);
        let all = over.is_none().then(|| state.registrations().keys().copied());
        let epochs: Vec<Epoch> = over.into_iter().flatten().chain(all.into_iter().flatten()).collect();
        let mut best: Option<Offer> = None;
        for epoch in epochs.into_iter().filter(|epoch| after.is_none_or(|after| *epoch > after)) {
            if round.looks >= LOOKS_MAX {
                self.last = Some((claim.queued, claim.grounds, epoch));
                break;
            }
            let Some(worker) = state.worker_of(epoch) else { continue };
            round.looks += 1;
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

/// What the worker can give: first what it has and what is ending, less what is promised, then victims.
fn chance(round: &Round<'_>, book: &Book, claim: &Claim<'_>, worker: &Worker, promised: u32) -> Chance {
    let state = round.state;
    let request = &claim.facts.request;
    // What the decision has just given away is not there any more.
    let free = book.left_on(worker.epoch).cloned().unwrap_or_default();
    let mut room = free.clone();
    // What is of one gang ends together, wherever it runs.
    let mut victims: BTreeMap<ElementKey, Victim> = BTreeMap::new();
    for (key, live) in worker.holders() {
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
            Grounds::LongerToGo | Grounds::TurnOver if is_sibling(*key, claim.queued) => continue,
            // What never ends by itself would have to make room again and again.
            Grounds::TurnOver if job.is_service() => continue,
            Grounds::TurnOver => match book.turn_end_of(*key) {
                Some(end) if end <= claim.now => end.0,
                Some(_) | None => continue,
            },
            Grounds::LongerToGo => match (book.remaining(*key, claim.now), claim.facts.expected) {
                (Some(remaining), Some(expected)) if remaining > expected => u64::MAX - remaining.0,
                _ => continue,
            },
            Grounds::Borrowed if job.spec.namespace != claim.facts.namespace => u64::from(job.spec.priority),
            Grounds::LowerPriority | Grounds::Borrowed | Grounds::Rebalance => continue,
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
        let (lost_ms, namespace) = (lost_with(state, job, *key, claim.now), job.spec.namespace.clone());
        let victim = Victim { rank, lost_ms, item, gives: spec.resources.clone(), namespace };
        victims.insert(job.tally_of(key), victim);
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
