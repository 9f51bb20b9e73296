//! Amounts of the kinds of resources that are measured: cpu, memory, and the first others that workers offered.

use quorate_types::{Name, Resources};

use crate::limits::SCHEDULING_KINDS_MAX;

/// Millicores, bytes, and thousandths of other things.
pub(super) type Units = [u64; SCHEDULING_KINDS_MAX];
/// The same times milliseconds.
pub(super) type Work = [f64; SCHEDULING_KINDS_MAX];

const OTHERS_FROM: usize = 2;

/// The other kinds, by their place.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds(Vec<Name>);

/// Whether all amounts have to be taken anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    Nothing,
    Kind,
}

impl Kinds {
    /// A worker offers these. What finds no place any more is not measured.
    pub(super) fn learn(&mut self, capacity: &Resources) -> Learned {
        let known = self.0.len();
        for kind in capacity.other_millis.keys() {
            if self.0.len() + OTHERS_FROM < SCHEDULING_KINDS_MAX && !self.0.contains(kind) {
                self.0.push(kind.clone());
            }
        }
        if self.0.len() > known { Learned::Kind } else { Learned::Nothing }
    }

    pub(super) fn units(&self, resources: &Resources) -> Units {
        let mut units = [0; SCHEDULING_KINDS_MAX];
        (units[0], units[1]) = (resources.cpu_millis, resources.memory_bytes);
        for (unit, kind) in units[OTHERS_FROM..].iter_mut().zip(&self.0) {
            *unit = resources.other(kind);
        }
        units
    }

    /// With their places.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        ["cpu", "memory"].into_iter().chain(self.0.iter().map(Name::as_str)).enumerate()
    }
}

pub(super) fn add_work(sum: &mut Work, units: &Units, ms: f64) {
    sum.iter_mut().zip(units).for_each(|(sum, units)| *sum += *units as f64 * ms);
}

pub(super) fn add_all(sum: &mut Work, more: &Work) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
