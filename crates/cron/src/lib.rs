//! When a schedule is due: cron expressions on the wall clock of a time zone, and intervals.
//!
//! Layout: `expression` reads the text with `field` (one field's list) and `day` (the fields of days,
//! with `L`, `#` and `W`); `wall` finds the next match on a clock that has no zone; `zone` cuts real time
//! into stretches of one offset; `occurrence` joins the two under a rule for clock changes ([`Dst`]).
//! `every` is the interval, `calendar` either of them, `due` what a leader has to run now, `jitter` how
//! long it puts a run off, `error` what is wrong with a text.
//!
//! Invariants: nothing here reads a clock or the host's files, so that every replica computes the same ticks: the time
//! zones are those compiled in. Ticks of an expression are whole seconds; all ticks ascend strictly. A [`Cron`] that
//! parsed matches at least one date. Every search ends: with the last days of the year 9999 at the latest.
//!
//! docs/cron.md is what users read; docs/adr/0018-cron.md says why this is not a library.

mod calendar;
mod cron;
mod day;
mod due;
mod error;
mod every;
mod expression;
mod field;
mod jitter;
mod occurrence;
mod wall;
mod zone;

pub use calendar::Calendar;
pub use cron::{Cron, Ticks};
pub use due::{Due, LATE_AFTER, Misfire, MisfirePolicy, RUNS_MAX, due};
pub use error::{Complaint, CronError, Field, ZoneError};
pub use every::{Every, EveryError, SPAN_MIN};
pub use jitter::jitter;
pub use occurrence::Dst;
pub use zone::Zone;
