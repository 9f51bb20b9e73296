//! How long orders let a task wait.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_state::queue::Queued;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::{Policy, Resources, Span, Timestamp};

use super::world::{World, facts, name};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// A hundred points of priority, ten minutes each.
const PRIORITY_BOUND: u64 = 1_000 * MINUTE;
/// Three hours for each doubling of a quarter of an hour up to 2,000 minutes: log₂(1 + 2,000 ÷ 15) = 7.07 of them.
const AGED_SJF_BOUND: u64 = 1_274 * MINUTE;
/// The sum of the weights of `multifactor`.
const MULTIFACTOR_BOUND: u64 = (1_000 + 4 * 60 + 12 * 60) * MINUTE;

/// When each was submitted, in the order in which they started on one worker without backfill.
fn starts(queue: QueueOrder, jobs: &[(u64, u8, u64, u64, u8)]) -> Vec<(Timestamp, Timestamp, Queued)> {
    let mut world = World::new(Policy { queue, ..Policy::default() });
    world.join(Resources::new(8_000, 0));
    let (mut order, mut next, mut due) = (Vec::new(), 0, Timestamp(0));
    let mut submitted: BTreeMap<Queued, Timestamp> = BTreeMap::new();
    loop {
        due = if next < jobs.len() { due } else { Timestamp(u64::MAX) };
        let at = world.next_end().map_or(due, |end| end.min(due));
        if at == Timestamp(u64::MAX) {
            return order;
        }
        world.advance(at);
        while next < jobs.len() && due <= world.now {
            let (_, priority, cores, run, namespace) = jobs[next];
            let mut facts = facts(cores, Some(run * MINUTE));
            facts.namespace = name(["a", "b", "c"][namespace as usize]);
            (facts.submitted, facts.priority) = (world.now, priority);
            facts.deadline = deadline(world.now, run);
            submitted.insert(world.submit(facts, 1), world.now);
            next += 1;
            due = jobs.get(next).map_or(due, |(after, ..)| world.now.plus(Span(after * MINUTE)));
        }
        let starts = world.plan();
        order.extend(starts.iter().map(|start| (submitted[&start.queued], world.now, start.queued)));
        world.start(&starts);
    }
}

/// Of most, some hours after they came.
fn deadline(submitted: Timestamp, run: u64) -> Option<Timestamp> {
    (!run.is_multiple_of(5)).then(|| submitted.plus(Span(run * run % 3_001 * MINUTE)))
}

/// Nobody starts before someone who was there more than `bound` earlier and waits.
fn overtakes_within(order: &[(Timestamp, Timestamp, Queued)], bound: u64) -> Result<(), TestCaseError> {
    for (nth, (submitted, _, queued)) in order.iter().enumerate() {
        for (later, _, overtaken) in &order[nth + 1..] {
            let ahead = (later.0 + bound, overtaken) < (submitted.0, queued);
            prop_assert!(!ahead, "{queued:?} of {submitted:?} overtook {overtaken:?} of {later:?}");
        }
    }
    Ok(())
}

fn jobs() -> impl Strategy<Value = Vec<(u64, u8, u64, u64, u8)>> {
    prop::collection::vec((0..300u64, 0..=100u8, 1..9u64, 1..2_000u64, 0..3u8), 2..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fifo_on_one_worker_overtakes_nobody(jobs in jobs()) {
        overtakes_within(&starts(QueueOrder::Fifo, &jobs), 0)?;
    }

    #[test]
    fn priority_overtakes_only_by_what_came_within_its_bound(jobs in jobs()) {
        overtakes_within(&starts(QueueOrder::Priority, &jobs), PRIORITY_BOUND)?;
    }

    #[test]
    fn aged_sjf_overtakes_only_by_what_came_within_its_bound(jobs in jobs()) {
        overtakes_within(&starts(QueueOrder::AgedSjf, &jobs), PRIORITY_BOUND + AGED_SJF_BOUND)?;
    }

    /// Who was there with a deadline is overtaken by earlier ones only, and who has none by all that have one, and by
    /// nobody who came later without.
    #[test]
    fn deadline_overtakes_only_by_earlier_ones(jobs in jobs()) {
        let order = starts(QueueOrder::Deadline, &jobs);
        // Jobs are numbered as they come.
        let came: BTreeMap<Queued, Timestamp> = order.iter().map(|(submitted, _, queued)| (*queued, *submitted)).collect();
        let runs: BTreeMap<Queued, u64> = came.keys().copied().zip(jobs.iter().map(|job| job.3)).collect();
        let due = |queued: &Queued| deadline(came[queued], runs[queued]).map_or(u64::MAX, |at| at.0);
        for (nth, (_, at, queued)) in order.iter().enumerate() {
            for (submitted, _, overtaken) in order[nth + 1..].iter().filter(|(submitted, ..)| submitted <= at) {
                let fair = (due(queued), queued) < (due(overtaken), overtaken);
                prop_assert!(fair, "{queued:?} overtook {overtaken:?} of {submitted:?}");
            }
        }
    }

    #[test]
    fn multifactor_overtakes_only_by_what_came_within_its_bound(jobs in jobs()) {
        overtakes_within(&starts(QueueOrder::Multifactor, &jobs), MULTIFACTOR_BOUND)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A large task starts although small ones never cease to come: the worker that it waits for empties.
    #[test]
    fn small_tasks_do_not_starve_a_large_one(
        queue in prop::sample::select(&[
            QueueOrder::Fifo,
            QueueOrder::Priority,
            QueueOrder::FairShare,
            QueueOrder::AgedSjf,
            QueueOrder::RoundRobin,
            QueueOrder::Deadline,
            QueueOrder::Multifactor,
        ][..]),
        backfill in prop::sample::select(Backfill::ALL),
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in 1..4usize,
        runs in prop::collection::vec(1..100u64, 400),
    ) {
        let mut world = World::new(Policy { queue, backfill, placement, ..Policy::default() });
        for _ in 0..workers {
            world.join(Resources::new(4_000, 0));
        }
        let mut large = None;
        for (nth, run) in runs.iter().enumerate() {
            // Long enough for what waits to be the oldest by more than any bound.
            world.advance(Timestamp(nth as u64 * 5 * HOUR));
            let facts = |cores, run: u64| {
                let mut facts = facts(cores, Some(run * HOUR));
                facts.deadline = Some(world.now.plus(Span(1_000 * HOUR)));
                (facts.submitted, facts.turn) = (world.now, world.now);
                facts
            };
            let (small, mut big) = (facts(1, *run), facts(4, 10));
            world.submit(small, workers as u64);
            if nth == 50 {
                big.namespace = name("other");
                large = Some(world.submit(big, 1));
            }
            let starts = world.plan();
            world.start(&starts);
        }
        prop_assert!(!world.waiting.contains_key(&large.unwrap()));
    }

}
