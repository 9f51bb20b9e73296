//! What workers are, as bits that an index can join: which of the conditions that tasks name a worker meets, and of
//! which taints it is free.

use std::cmp::Reverse;

use quorate_types::{Condition, Taint};

use crate::book::facts::{Constraints, Facts};
use crate::book::member::Worker;

/// How many conditions and taints have a bit. What is named beyond them is looked at worker by worker.
const BITS: usize = 128;
/// From so many on those that nobody names any more are worth forgetting.
const CROWDED: usize = 64;

/// A set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bits([u64; BITS / 64]);

impl Bits {
    fn one(at: usize) -> Self {
        let mut words = [0; BITS / 64];
        words[at / 64] = 1 << (at % 64);
        Self(words)
    }

    pub(crate) fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, other)| *mine |= other);
        self
    }

    #[inline]
    pub(crate) fn is_within(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, other)| mine & !other == 0)
    }
}

/// What a task asks of the labels and taints of its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) required: Bits,
    /// Sets of what it prefers, those that weigh most first and those that weigh the same together: among the workers
    /// that are one of them the policy chooses.
    pub(crate) preferred: Vec<Vec<Bits>>,
    /// What each condition that it prefers weighs.
    weights: Vec<(Bits, u32)>,
    /// Something has no bit.
    pub(crate) beyond: bool,
}

impl Needs {
    /// What all conditions weigh that it prefers and a worker with these traits does not meet.
    #[inline]
    pub(crate) fn unmet(&self, traits: Bits) -> u32 {
        self.weights.iter().filter(|(bit, _)| !bit.is_within(traits)).map(|(_, weight)| weight).sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Trait {
    Meets(Condition),
    IsFreeOf(Taint),
}

/// Which condition or taint has which bit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traits {
    known: Vec<Trait>,
    /// Some taint has no bit.
    taints_beyond: bool,
}

impl Traits {
    /// Gives the taints of a worker their bits; whether one is new.
    pub(crate) fn meet(&mut self, worker: &Worker) -> bool {
        let known = (self.known.len(), self.taints_beyond);
        for taint in &worker.taints {
            self.taints_beyond |= !self.learn(Trait::IsFreeOf(taint.clone()));
        }
        (self.known.len(), self.taints_beyond) != known
    }

    /// Gives the conditions that a task names their bits; whether one is new.
    pub(crate) fn name(&mut self, constraints: &Constraints) -> bool {
        let known = self.known.len();
        let preferred = constraints.prefers.iter().map(|preference| &preference.condition);
        for condition in constraints.requires.iter().chain(preferred) {
            self.learn(Trait::Meets(condition.clone()));
        }
        self.known.len() > known
    }

    /// Nobody names a condition any more.
    pub(crate) fn forget_conditions(&mut self) -> bool {
        let crowded = self.known.len() > CROWDED;
        if crowded {
            self.known.retain(|one| matches!(one, Trait::IsFreeOf(_)));
        }
        crowded
    }

    pub(crate) fn of(&self, worker: &Worker) -> Bits {
        let has = |one: &Trait| match one {
            Trait::Meets(condition) => condition.is_met_by(worker.labels()),
            Trait::IsFreeOf(taint) => !worker.taints.contains(taint),
        };
        let bits = (0..).zip(&self.known).filter(|(_, one)| has(one));
        bits.fold(Bits::default(), |all, (at, _)| all.with(Bits::one(at)))
    }

    pub(crate) fn needs(&self, facts: &Facts) -> Needs {
        let mut needs = Needs { beyond: self.taints_beyond, ..Needs::default() };
        let tolerations = facts.constraints.as_ref().map_or(&[][..], |constraints| &constraints.tolerations);
        for (at, one) in (0..).zip(&self.known) {
            if matches!(one, Trait::IsFreeOf(taint) if !taint.is_tolerated_by(tolerations)) {
                needs.required = needs.required.with(Bits::one(at));
            }
        }
        let Some(constraints) = &facts.constraints else { return needs };
        for condition in &constraints.requires {
            match self.bit(condition) {
                Some(bit) => needs.required = needs.required.with(bit),
                None => needs.beyond = true,
            }
        }
        let known = constraints.prefers.iter();
        needs.weights = known.filter_map(|one| Some((self.bit(&one.condition)?, u32::from(one.weight)))).collect();
        needs.preferred = sets(&needs.weights);
        needs
    }

    fn bit(&self, condition: &Condition) -> Option<Bits> {
        let named = |one: &Trait| matches!(one, Trait::Meets(known) if known == condition);
        self.known.iter().position(named).map(Bits::one)
    }

    /// False if there are no bits left.
    fn learn(&mut self, new: Trait) -> bool {
        if self.known.contains(&new) {
            return true;
        }
        let room = self.known.len() < BITS;
        if room {
            self.known.push(new);
        }
        room
    }
}

/// All sets of preferences but the empty one by what they weigh, those that weigh most first.
fn sets(weights: &[(Bits, u32)]) -> Vec<Vec<Bits>> {
    let mut sets = vec![(0, Bits::default())];
    for (bit, weight) in weights {
        let with: Vec<_> = sets.iter().map(|(sum, set)| (sum + weight, set.with(*bit))).collect();
        sets.extend(with);
    }
    sets.retain(|(_, set)| *set != Bits::default());
    sets.sort_by_key(|(sum, set)| (Reverse(*sum), *set));
    sets.chunk_by(|(one, _), (other, _)| one == other).map(|same| same.iter().map(|(_, set)| *set).collect()).collect()
}
