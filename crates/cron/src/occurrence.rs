//! The next tick in real time: where the fields match, on a clock that is set forward and back.

use jiff::Timestamp;
use jiff::civil::DateTime;
pub use quorate_types::schedule::ClockChange as Dst;

use crate::expression::Fields;
use crate::zone::{Stretch, Zone};

/// [`Dst`], for a schedule of which it is known whether it follows the clock.
#[derive(Clone, Copy, Debug)]
struct Rule {
    makes_up_for_gaps: bool,
    repeats: bool,
}

impl Rule {
    const fn of(dst: Dst, follows_clock: bool) -> Self {
        match (dst, follows_clock) {
            (_, true) => Self { makes_up_for_gaps: false, repeats: true },
            (Dst::Once, false) => Self { makes_up_for_gaps: true, repeats: false },
            (Dst::Skip, false) => Self { makes_up_for_gaps: false, repeats: false },
            (Dst::Both, false) => Self { makes_up_for_gaps: true, repeats: true },
        }
    }
}

/// The first tick at `from` or later; `from` is a whole second. None up to the end of the year 9999.
pub(crate) fn at_or_after(fields: &Fields, zone: &Zone, dst: Dst, mut from: Timestamp) -> Option<Timestamp> {
    let rule = Rule::of(dst, fields.follows_clock);
    loop {
        let stretch = zone.stretch(from);
        if rule.makes_up_for_gaps && stretch.skips_before(from, fields) {
            return Some(from);
        }
        let shown = fields.at_or_after(stretch.shown(from, rule))?;
        let tick = stretch.offset.to_timestamp(shown).ok()?;
        let Some(end) = stretch.end.filter(|end| *end <= tick) else { return Some(tick) };
        // Stretch by stretch, even if the match is far: a clock that is set back shows earlier matches again.
        from = end;
    }
}

impl Stretch {
    /// Whether it begins at `from`, by setting the clock forward over a match.
    fn skips_before(&self, from: Timestamp, fields: &Fields) -> bool {
        let Some(begin) = self.begin.filter(|begin| begin.at == from) else { return false };
        fields.is_within(begin.unchanged, self.offset.to_datetime(from))
    }

    /// What the clock shows at `from`; or, should it have shown that before and not count again, the first
    /// that it has not shown yet.
    fn shown(&self, from: Timestamp, rule: Rule) -> DateTime {
        let shown = self.offset.to_datetime(from);
        match self.begin {
            Some(begin) if !rule.repeats => shown.max(begin.unchanged),
            Some(_) | None => shown,
        }
    }
}
