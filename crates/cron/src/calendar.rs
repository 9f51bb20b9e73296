//! What makes a schedule tick: an expression or an interval.

use quorate_types::{Span, Timestamp};

use crate::cron::Cron;
use crate::every::Every;
use crate::occurrence::Dst;
use crate::zone::Zone;

/// When a schedule ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Calendar {
    Cron { cron: Cron, zone: Zone, dst: Dst },
    Every(Every),
}

impl Calendar {
    /// The first tick that is later than `after`.
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone, dst } => cron.after(zone, *dst, after),
            Self::Every(every) => every.after(after),
        }
    }

    /// The last tick that is later than `after`, but not later than `until`. It halves the time between, so
    /// it takes some forty searches at most, however many ticks lie there.
    pub(crate) fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let tick_between = |after: Timestamp| self.after(after).filter(|tick| *tick <= until);
        let mut latest = tick_between(after)?;
        // No tick is later than `latest` but not later than `until`, once these two meet.
        let mut empty_from = until;
        while latest < empty_from {
            let middle = latest.plus(Span(empty_from.since(latest).0 / 2));
            match tick_between(middle) {
                Some(tick) => latest = tick,
                None => empty_from = middle,
            }
        }
        Some(latest)
    }
}
