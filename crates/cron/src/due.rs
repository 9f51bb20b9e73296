//! What a leader has to run now, given what ran last: ticks on time, and what to do about those missed.

pub use quorate_types::schedule::Misfire;
use quorate_types::{Span, Timestamp};

use crate::calendar::Calendar;

/// A tick that is handled later than this was missed. An election takes less than a second, and a cluster
/// that starts again a few: their ticks are late, not missed.
pub const LATE_AFTER: Span = Span::from_secs(10);

/// So many runs of a schedule begin at once, at most; the rest comes with the next call. One schedule must not
/// fill a log entry alone.
pub const RUNS_MAX: usize = 100;

/// [`Misfire`], and how old a missed tick may be and still run; none means any age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MisfirePolicy {
    pub misfire: Misfire,
    pub window: Option<Span>,
}

/// What [`due`] answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The ticks to run, ascending. The last one is the `last` of the next call.
    pub run: Vec<Timestamp>,
    /// The tick after those; not later than now if there were more than [`RUNS_MAX`].
    pub next: Option<Timestamp>,
}

/// The ticks to run now. `last` is the newest tick that was run, or else when the schedule was made or
/// resumed: what is not later does not run again.
pub fn due(calendar: &Calendar, last: Timestamp, now: Timestamp, policy: MisfirePolicy) -> Due {
    let window = policy.window.map_or(Timestamp(0), |window| just_before(now, window));
    let late = just_before(now, LATE_AFTER);
    let mut due = Due::default();
    let mut after = match policy.misfire {
        Misfire::All => last.max(window.min(late)),
        Misfire::Once => {
            due.run.extend(calendar.latest(last.max(window), late));
            last.max(late)
        }
        Misfire::Skip => last.max(late),
    };
    loop {
        due.next = calendar.after(after);
        match due.next {
            Some(tick) if tick <= now && due.run.len() < RUNS_MAX => {
                due.run.push(tick);
                after = tick;
            }
            Some(_) | None => return due,
        }
    }
}

/// The moment after which ticks are at most `age` old.
fn just_before(now: Timestamp, age: Span) -> Timestamp {
    Timestamp(now.0.saturating_sub(age.0).saturating_sub(1))
}
