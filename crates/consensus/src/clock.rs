//! The leader's clock: the wall clock once, at takeover, and from then on a clock that only runs forward.
//!
//! So a wall clock that jumps moves nobody's timers, and time in the state never runs backwards: a new
//! leader begins at the later of its wall clock and the state's time.
//!
//! Forward there is a bound too: a takeover moves time by at most a year. Time can't be taken back, and it
//! drives retention: one leader whose wall clock stands at the end of its epoch would drop the archive, and
//! the cluster would keep its false time for good. The bound is wide, since time stands still in the state
//! while nothing is written: after a quiet month a takeover rightly moves it by a month. A cluster that was
//! off for longer than a year begins behind and catches up a year with each takeover; timers are only late
//! then. The first leader of a cluster has no time to compare with, and is believed.

use quorate_types::{Span, Timestamp};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

use crate::host;

/// How far a takeover may move time.
const LEAP_MAX: Span = Span::from_secs(366 * 24 * 3600);

#[derive(Debug, Default)]
pub(crate) struct LeaderClock(Mutex<Option<Reign>>);

#[derive(Clone, Copy, Debug)]
struct Reign {
    term: u64,
    base: Timestamp,
    since: Instant,
}

impl Reign {
    fn now(&self) -> Timestamp {
        self.base.plus(Span::from(self.since.elapsed()))
    }
}

impl LeaderClock {
    /// The time of the leader in `term`, when the state is complete and its time is `state_now`.
    pub(crate) fn now(&self, term: u64, state_now: Timestamp) -> Timestamp {
        let mut reign = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = reign.map(|reign| reign.now()).unwrap_or_default();
        match *reign {
            Some(present) if present.term == term => earlier.max(state_now),
            Some(_) | None => {
                let base = take_over(host::wall_clock(), state_now.max(earlier));
                *reign = Some(Reign { term, base, since: Instant::now() });
                base
            }
        }
    }
}

/// Where a leader's time begins.
fn take_over(wall_clock: Timestamp, known: Timestamp) -> Timestamp {
    let latest = known.plus(LEAP_MAX);
    if known == Timestamp::default() || wall_clock <= latest {
        return wall_clock.max(known);
    }
    tracing::error!(
        wall_clock = %wall_clock, cluster_time = %known, begins_at = %latest,
        "the wall clock is more than a year ahead of the cluster's time; check it, the cluster follows by a year only"
    );
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let clock = LeaderClock::default();
        let ahead = Timestamp(Timestamp::from_wall_clock().0 + 3_600_000);
        let first = clock.now(1, ahead);
        assert!(first >= ahead);
        let second = clock.now(1, Timestamp(0));
        assert!(second >= first);
        let third = clock.now(2, Timestamp(0));
        assert!(third >= second, "a new term of the same replica goes on from its own clock");
        assert!(third.since(ahead) < Span::from_secs(60));
    }

    #[test]
    fn a_takeover_moves_time_by_a_year_at_most() {
        let (year, now) = (LEAP_MAX.0, 1_700_000_000_000);
        let table = [
            ("a fresh cluster", now, 0, now),
            ("in order", now + 50, now, now + 50),
            ("behind", now - year, now, now),
            ("half a year off", now + year / 2, now, now + year / 2),
            ("to the day", now + year, now, now + year),
            ("a false century", now + 100 * year, now, now + year),
            ("the end of time", u64::MAX, now, now + year),
        ];
        for (what, wall_clock, known, expected) in table {
            assert_eq!(take_over(Timestamp(wall_clock), Timestamp(known)), Timestamp(expected), "{what}");
        }
    }
}
