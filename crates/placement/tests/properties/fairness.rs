//! What fair share is fair about.

use proptest::prelude::*;
use quorate_placement::book::Facts;
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, Name, NamespaceRules, Policy, Resources, Timestamp};

use super::world::{World, facts, name};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Namespaces that want the same again and again: cores and memory of each task.
fn demands() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1..10u64, 1..10u64), 2..5)
}

const ALL: (u64, u64) = (1_000, 1_000);

/// How many tasks each gets of workers that have [`ALL`] together, if all want as many as they can get: on each worker.
fn shares(workers: u64, demands: &[(u64, u64)]) -> Vec<Vec<u64>> {
    weighted_shares(workers, &demands.iter().map(|demand| (1, *demand)).collect::<Vec<_>>())
}

/// The same, each with its weight.
fn weighted_shares(workers: u64, demands: &[(u32, (u64, u64))]) -> Vec<Vec<u64>> {
    let policy = Policy { queue: QueueOrder::FairShare, ..Policy::default() };
    let mut world = World::new(policy);
    let epochs: Vec<Epoch> =
        (0..workers).map(|_| world.join(Resources::new(ALL.0 / workers, ALL.1 / workers))).collect();
    let names: Vec<Name> = (0..demands.len()).map(|nth| name(&format!("n{nth}"))).collect();
    for (namespace, (weight, (cpu, memory))) in names.iter().zip(demands) {
        world.entitle(namespace, NamespaceRules { weight: *weight, ..NamespaceRules::default() });
        let mut facts = Facts::new(Timestamp(0), Resources::new(*cpu, *memory));
        facts.namespace = namespace.clone();
        world.submit(facts, 1_000);
    }
    let starts = world.plan();
    let on = |namespace: &Name, epoch: Epoch| {
        let theirs = starts.iter().filter(|start| world.waiting[&start.queued].facts.namespace == *namespace);
        theirs.filter(|start| start.epoch == epoch).count() as u64
    };
    names.iter().map(|namespace| epochs.iter().map(|epoch| on(namespace, *epoch)).collect()).collect()
}

/// How many tasks of this kind fit into so many of another kind on each worker.
fn could_run(demand: (u64, u64), of: (u64, u64), tasks: &[u64]) -> u64 {
    tasks.iter().map(|tasks| (tasks * of.0 / demand.0).min(tasks * of.1 / demand.1)).sum()
}

/// The same without the one that the other got last, wherever it is, in parts of the other's weight.
fn could_have(demand: (u32, (u64, u64)), of: (u32, (u64, u64)), theirs: &[u64]) -> u64 {
    let without = |last: usize| {
        let less = theirs.iter().enumerate().map(|(at, tasks)| tasks.saturating_sub(u64::from(at == last)));
        let scaled: Vec<u64> = less.map(|tasks| tasks * u64::from(demand.0) / u64::from(of.0)).collect();
        could_run(demand.1, of.1, &scaled)
    };
    (0..theirs.len()).map(without).min().unwrap()
}

/// What a namespace holds and what it used, in cores, as docs/policies.md has it.
#[derive(Clone, Copy, Default)]
struct Account {
    weight: f64,
    held: f64,
    used: f64,
}

impl Account {
    fn pass(&mut self, hours: f64) {
        let left = (-hours).exp2();
        self.used = self.used * left + self.held * (1.0 - left);
    }

    fn share(&self) -> f64 {
        (self.held + self.used) / self.weight
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was used before: of those that wait, who has the lowest share starts.
    #[test]
    fn fair_share_starts_who_has_the_lowest_share(
        weights in prop::array::uniform3(1..6u32),
        jobs in prop::collection::vec((0..60u64, 0..3usize, 1..20u64, 1..200u64), 2..60),
    ) {
        let names = ["a", "b", "c"].map(name);
        let mut world = World::new(Policy { queue: QueueOrder::FairShare, ..Policy::default() });
        world.join(Resources::new(8_000, 0));
        let mut accounts = [Account::default(); 3];
        for ((namespace, weight), account) in names.iter().zip(weights).zip(&mut accounts) {
            world.entitle(namespace, NamespaceRules { weight, ..NamespaceRules::default() });
            account.weight = f64::from(weight);
        }
        let of = |namespace: &Name| names.iter().position(|name| name == namespace).unwrap();
        let mut coming = jobs.iter().scan(0, |at, job| { *at += job.0 * MINUTE; Some((Timestamp(*at), job)) }).peekable();
        while let Some(at) = world.next_end().into_iter().chain(coming.peek().map(|(at, _)| *at)).min() {
            let hours = at.since(world.now).0 as f64 / HOUR as f64;
            accounts.iter_mut().for_each(|account| account.pass(hours));
            world.advance(at);
            for (account, namespace) in accounts.iter_mut().zip(&names) {
                account.held = world.held(namespace).cpu_millis as f64 / 1_000.0;
            }
            while let Some((_, (_, namespace, count, run))) = coming.next_if(|(at, _)| *at <= world.now) {
                let mut facts = facts(1, Some(run * MINUTE));
                (facts.namespace, facts.submitted) = (names[*namespace].clone(), world.now);
                world.submit(facts, *count);
            }
            let mut waits = [0; 3];
            world.waiting.values().for_each(|task| waits[of(&task.facts.namespace)] += task.pending);
            let starts = world.plan();
            for start in &starts {
                let who = of(&world.waiting[&start.queued].facts.namespace);
                for other in (0..3).filter(|other| waits[*other] > 0) {
                    let (share, lower) = (accounts[who].share(), accounts[other].share());
                    prop_assert!(share <= lower + 1e-4, "{who} with {share} passes {other} with {lower} at {at:?}");
                }
                waits[who] -= 1;
                accounts[who].held += 1.0;
            }
            world.start(&starts);
        }
        prop_assert!(world.waiting.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody would rather have what another has, but for one task of the other's, and one on each worker: tasks cannot
    /// be divided. (With those that can, Ghodsi et al. 2011, theorem 2.)
    #[test]
    fn fair_share_leaves_nobody_envious(demands in demands(), workers in 1..5u64) {
        let tasks = shares(workers, &demands);
        for (own, demand) in tasks.iter().zip(&demands) {
            for (theirs, of) in tasks.iter().zip(&demands) {
                let own: u64 = own.iter().sum();
                let could = could_have((1, *demand), (1, *of), theirs);
                prop_assert!(could <= own + workers, "{demand:?} has {own}, and could have {could}: {tasks:?}");
            }
        }
    }

    /// Nobody would rather have what another has, scaled to its own weight. (Section 4.3.)
    #[test]
    fn weighted_fair_share_leaves_nobody_envious(
        demands in demands(),
        weights in prop::collection::vec(1..9u32, 5),
        workers in 1..5u64,
    ) {
        let weighted: Vec<(u32, (u64, u64))> = weights.iter().copied().zip(demands).collect();
        let tasks = weighted_shares(workers, &weighted);
        for (own, demand) in tasks.iter().zip(&weighted) {
            for (theirs, of) in tasks.iter().zip(&weighted) {
                let own: u64 = own.iter().sum();
                let could = could_have(*demand, *of, theirs);
                prop_assert!(could <= own + workers, "{demand:?} has {own}, and could have {could}: {tasks:?}");
            }
        }
    }

    /// Those that ask for the same get as much as their weights say: nobody more than a task above it, and nobody below
    /// it by more than its part of the one task that each of the others may be above.
    #[test]
    fn weights_give_shares_in_proportion(weights in prop::collection::vec(1..20u32, 2..5), workers in 1..5u64) {
        let weighted: Vec<(u32, (u64, u64))> = weights.iter().map(|weight| (*weight, (1, 1))).collect();
        let all: u64 = weights.iter().copied().map(u64::from).sum();
        let others = weights.len() as u64 - 1;
        let there = ALL.0 / workers * workers;
        for (weight, got) in weights.iter().zip(weighted_shares(workers, &weighted)) {
            // Everything times `all`, as shares are not whole tasks.
            let (weight, got) = (u64::from(*weight), got.iter().sum::<u64>() * all);
            let fair = weight * there;
            prop_assert!(got <= fair + all, "{weights:?}: {got} instead of {fair}, in parts of {all}");
            prop_assert!(fair <= got + others * weight, "{weights:?}: {got} instead of {fair}, in parts of {all}");
        }
    }

    /// Who asks for something else than it needs, more or less of either, gets no more tasks done, but for what a task
    /// of somebody else more or less leaves on a worker. (Theorem 3.)
    #[test]
    fn fair_share_rewards_no_lies(demands in demands(), lie in (1..16u64, 1..16u64), workers in 1..5u64) {
        let honest: u64 = shares(workers, &demands)[0].iter().sum();
        let lied: Vec<(u64, u64)> = [lie].into_iter().chain(demands[1..].iter().copied()).collect();
        // As if what it holds could be used for as many tasks as really fit.
        let useful = could_run(demands[0], lie, &shares(workers, &lied)[0]);
        let others = demands[1..].iter().map(|of| of.0.div_ceil(demands[0].0).max(of.1.div_ceil(demands[0].1)));
        let leaves = 1 + others.max().unwrap_or(0);
        prop_assert!(useful <= honest + workers * leaves, "{honest} became {useful}");
    }
}
