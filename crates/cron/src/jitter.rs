//! Spreading runs that would all begin at the same moment.

use quorate_types::{Span, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// By how much the run of a tick is put off: 0 to `most`, both included. It follows from the schedule and the
/// tick alone, so that a new leader waits for the same moment.
pub fn jitter(schedule: u64, tick: Timestamp, most: Span) -> Span {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&schedule.to_le_bytes());
    key[8..].copy_from_slice(&tick.0.to_le_bytes());
    match most.0.checked_add(1) {
        Some(choices) => Span(xxh3_64(&key) % choices),
        None => Span(xxh3_64(&key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::from_secs(60);

    /// Another number would make a leader of a new version wait for another moment than the old one did.
    #[test]
    fn the_delay_is_the_same_for_ever() {
        let delays =
            [(1, 0), (1, 60_000), (2, 60_000)].map(|(schedule, tick)| jitter(schedule, Timestamp(tick), MINUTE));
        assert_eq!(delays, [Span(1101), Span(43_340), Span(18_420)]);
    }

    #[test]
    fn delays_fill_what_is_allowed() {
        let delays = || (0..10_000).map(|schedule| jitter(schedule, Timestamp(0), MINUTE).0);
        assert!(delays().all(|delay| delay <= MINUTE.0));
        let mean = delays().sum::<u64>() / 10_000;
        assert!((29_000..31_000).contains(&mean), "mean {mean}");
        assert_eq!(jitter(1, Timestamp(0), Span(0)), Span(0));
    }
}
