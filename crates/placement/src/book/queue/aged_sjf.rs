//! Shortest job first with ageing: a task counts as submitted later by three hours for each time that its expected run
//! time doubles, counted from a quarter of an hour on, and by ten minutes for each point of priority that it lacks. As
//! all age alike, the rank is a point in time and never changes.
//!
//! The logarithm is that of Carastan-Santos and de Camargo, "Obtaining dynamic scheduling policies with simulation and
//! machine learning" (SC'17), whose policy F1 adds up log(time) × processors and log(submission). Theirs puts large
//! requests back; this one spares them (by the fourth root of the share of the largest worker that they leave over),
//! since they can't be filled in beside others and are what starves when small ones come first. The three numbers were
//! chosen on KTH-SP2, on the Lublin trace, and on forty-two variants of both (other users, loads, weeks and estimates),
//! by the mean and the largest bounded slowdown; their neighbours do about as well. docs/policies.md has the figures.
//!
//! Bound: a task is overtaken only by what was submitted less than its own lateness after it: 6 h 58 min if an hour is
//! expected, 19 h 48 min if a day is, and at most 16 h 40 min more for its priority.

use quorate_types::Span;

use crate::book::Facts;

/// What one doubling of the expected time is worth in waiting.
const DOUBLING: Span = Span::from_secs(3 * 3_600);
/// Times much shorter than this are all alike.
const SHORT: Span = Span::from_secs(15 * 60);
/// What is expected of a task of which nobody knows anything. It must not wait for ever.
const UNKNOWN: Span = Span::from_secs(24 * 3_600);
/// A point of priority, as under the order `priority`: ten minutes.
const POINT_MS: u64 = 600_000;
/// Binary digits of a logarithm behind the point.
const LOG_BITS: u32 = 16;
/// Those of a share.
const SHARE_BITS: u32 = 20;

/// When it was submitted, later by what it lacks. `size` is in 1/2²⁰.
pub(super) fn rank(facts: &Facts, size: u64) -> u64 {
    let priority = u64::from(100_u8.saturating_sub(facts.priority)) * POINT_MS;
    let lateness = lateness_ms(facts.expected.unwrap_or(UNKNOWN), size);
    facts.submitted.0.saturating_add(priority).saturating_add(lateness)
}

/// `DOUBLING` × log₂(1 + expected ÷ `SHORT`) × (1 − size)^¼.
fn lateness_ms(expected: Span, size: u64) -> u64 {
    let doublings = log2(expected.0.saturating_add(SHORT.0)) - log2(SHORT.0);
    let spare = (1_u64 << SHARE_BITS).saturating_sub(size);
    let root = |share: u64| (share << SHARE_BITS).isqrt();
    let late = u128::from(doublings) * u128::from(DOUBLING.0) * u128::from(root(root(spare)));
    (late >> (LOG_BITS + SHARE_BITS)) as u64
}

/// The binary logarithm in 1/2¹⁶, rounded down; of 0 that of 1. Digit by digit: squaring doubles the logarithm.
fn log2(value: u64) -> u64 {
    let whole = value.max(1).ilog2();
    // From 1 up to 2, in 1/2³¹.
    let mut rest = if whole > 31 { value >> (whole - 31) } else { value.max(1) << (31 - whole) };
    let mut log = u64::from(whole);
    for _ in 0..LOG_BITS {
        rest = (rest * rest) >> 31;
        let digit = rest >> 32;
        rest >>= digit;
        log = log << 1 | digit;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_exact_for_powers_and_close_for_others() {
        for (value, log) in [(0, 0.0), (1, 0.0), (2, 1.0), (1 << 40, 40.0), (1 << 63, 63.0)] {
            assert_eq!(log2(value), (log * 65_536.0) as u64, "{value}");
        }
        for value in [3_u64, 10, 900_000, 90_000_001, u64::MAX] {
            let exact = (value as f64).log2() * 65_536.0;
            assert!((log2(value) as f64 - exact).abs() < 3.0, "{value}: {} {exact}", log2(value));
        }
    }

    #[test]
    fn lateness_is_what_the_page_says() {
        const HOUR_MS: u64 = 3_600_000;
        let minutes = |hours: u64, size: u64| lateness_ms(Span(hours * HOUR_MS), size) / 60_000;
        // 6 h 57.9 min and 19 h 48.0 min of what takes no more than a bit of a worker; nothing of what takes it whole.
        assert_eq!((minutes(0, 0), minutes(1, 0), minutes(24, 0)), (0, 417, 1187));
        assert_eq!((minutes(24, 1 << 20), minutes(24, 2 << 20)), (0, 0));
        // A sixteenth is left over: half of it.
        assert_eq!(minutes(24, (1 << 20) - (1 << 16)), 593);
        assert!(lateness_ms(Span(u64::MAX), 0) < 200 * HOUR_MS);
    }
}
