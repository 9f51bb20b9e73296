//! Intervals: a tick every so long since a beginning, in real time. Clock changes don't concern them.

use quorate_types::{Span, Timestamp};

/// A schedule that ticks more often would be a loop, and each tick is a job.
pub const SPAN_MIN: Span = Span(quorate_types::limits::EVERY_MS_MIN);

/// A tick at `anchor` and at every multiple of `span` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    anchor: Timestamp,
    span: Span,
}

/// Why a length of time is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interval must be at least {SPAN_MIN}")]
pub struct EveryError;

impl Every {
    /// # Errors
    /// If the interval is shorter than [`SPAN_MIN`].
    pub fn new(anchor: Timestamp, span: Span) -> Result<Self, EveryError> {
        if span < SPAN_MIN { Err(EveryError) } else { Ok(Self { anchor, span }) }
    }

    /// The first tick that is later than `after`; none once time has run out of milliseconds.
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        if after < self.anchor {
            return Some(self.anchor);
        }
        let passed = after.since(self.anchor).0 / self.span.0;
        let next = (passed + 1).checked_mul(self.span.0)?;
        self.anchor.0.checked_add(next).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_on_the_multiples_since_the_anchor() {
        let every = Every::new(Timestamp(1_000_500), Span::from_secs(90)).unwrap();
        for (after, tick) in [
            (0, 1_000_500),
            (1_000_499, 1_000_500),
            (1_000_500, 1_090_500),
            (1_090_499, 1_090_500),
            (1_090_500, 1_180_500),
            (1_000_500 + 90_000 * 1_000_000, 1_000_500 + 90_000 * 1_000_001),
        ] {
            assert_eq!(every.after(Timestamp(after)), Some(Timestamp(tick)), "after {after}");
        }
        assert_eq!(every.after(Timestamp(u64::MAX)), None);
    }

    #[test]
    fn too_short_is_refused() {
        assert_eq!(Every::new(Timestamp(0), Span(999)), Err(EveryError));
        assert_eq!(EveryError.to_string(), "an interval must be at least 1s");
    }
}
