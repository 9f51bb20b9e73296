//! Requests that ask for the same of the same workers: where one of them finds nothing, none does.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::Resources;

use crate::book::facts::{Constraints, Facts};
use crate::book::gate::Gate;

/// Shapes with a number of their own; all others share the last one.
const NUMBERED_MAX: u32 = 63;

/// A set of shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shapes(u64);

const OTHERS: Shapes = Shapes(1 << NUMBERED_MAX);

impl Shapes {
    pub(crate) fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(crate) fn are_all_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Those that say something of all with the same number.
    pub(crate) fn but_others(self) -> Self {
        Self(self.0 & !OTHERS.0)
    }
}

/// Gives shapes their numbers: first come, first served.
#[derive(Debug, Default)]
pub(crate) struct ShapeNumbers(BTreeMap<Shape, u32>);

type Shape = (Option<Arc<Constraints>>, Option<Arc<[Gate]>>, Resources);

impl ShapeNumbers {
    /// What asks for nothing in particular is told apart by what it takes, which the index knows. What depends on where
    /// other elements are shares its chances with nobody.
    pub(crate) fn of(&mut self, facts: &Facts) -> Shapes {
        let is_plain = facts.constraints.is_none() && facts.gates.is_none();
        let is_social = facts.constraints.as_ref().is_some_and(|constraints| constraints.are_social());
        let shuns = facts.company.as_ref().is_some_and(|company| company.shuns_any());
        // A gang is no single request.
        if is_plain || is_social || shuns || facts.gang.is_some() {
            return OTHERS;
        }
        let key = (facts.constraints.clone(), facts.gates.clone(), facts.request.clone());
        if let Some(number) = self.0.get(&key) {
            return Shapes(1 << number);
        }
        let next = self.0.len() as u32;
        if next >= NUMBERED_MAX {
            return OTHERS;
        }
        self.0.insert(key, next);
        Shapes(1 << next)
    }
}
