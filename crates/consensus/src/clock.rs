//! The leader's clock: the wall clock once, at takeover, and from then on a clock that only runs forward.
//!
//! So a wall clock that jumps moves nobody's timers, and time in the state never runs backwards: a new
//! leader begins at the later of its wall clock and the state's time.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use quorate_types::{Span, Timestamp};

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
    /// The time of the leader in `term`, when the state's time is `state_now`.
    pub(crate) fn now(&self, term: u64, state_now: Timestamp) -> Timestamp {
        let mut reign = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = reign.map(|reign| reign.now()).unwrap_or_default();
        match *reign {
            Some(present) if present.term == term => earlier.max(state_now),
            Some(_) | None => {
                let base = Timestamp::from_wall_clock().max(state_now).max(earlier);
                *reign = Some(Reign { term, base, since: Instant::now() });
                base
            }
        }
    }
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
}
