//! Schedules: a job that is submitted again and again, by a calendar or at an interval.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// A schedule as a user writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    pub cron: Option<String>,
    pub every: Option<Span>,
    pub time_zone: Option<String>,
    pub overlap: Option<Overlap>,
    pub misfire: Option<Misfire>,
    pub misfire_window: Option<Span>,
    pub dst: Option<ClockChange>,
    pub jitter: Option<Span>,
    pub history: Option<u32>,
    pub paused: Option<bool>,
}

/// A valid schedule. The calendar's text is checked where calendars are known, at the edge of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// A cron expression; exactly one of this and `every` is there.
    pub cron: Option<String>,
    /// The interval between ticks, counted from the submission.
    pub every: Option<Span>,
    /// An IANA name.
    pub time_zone: String,
    pub overlap: Overlap,
    pub misfire: Misfire,
    /// Ticks that were missed longer ago are never made up for.
    pub misfire_window: Span,
    pub dst: ClockChange,
    /// Runs start up to so much after their tick.
    pub jitter: Span,
    /// Finished runs that are kept; older ones are forgotten.
    pub history: u32,
    pub paused: bool,
}

impl ScheduleSpec {
    fn calendar(&self) -> (Option<&str>, Option<Span>, &str, ClockChange, Span) {
        (self.cron.as_deref(), self.every, &self.time_zone, self.dst, self.jitter)
    }

    /// Whether both have the same ticks, and runs of them start at the same times.
    pub fn ticks_as(&self, other: &Self) -> bool {
        self.calendar() == other.calendar()
    }
}

/// What happens at a tick while a run before it has not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Both run.
    Allow,
    /// The new one does not take place.
    #[default]
    Skip,
    /// The new one waits; one at most.
    Queue,
    /// The older one is cancelled.
    Replace,
}

/// What happens with ticks that were due while nobody could act on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Misfire {
    /// The newest of them is made up for.
    #[default]
    Once,
    /// Each of them is.
    All,
    /// None is.
    Skip,
}

/// What happens to a fixed time when the clock is set forward over it, or back before it. A schedule whose
/// seconds, minutes or hours are open (`*`, `*/5`, `3/5`) follows the clock, whatever is chosen here: it has no
/// tick that the clock does not show, and one each time that the clock shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockChange {
    /// Once on any day, as with Debian's cron(8): what is skipped comes right after the gap, what comes
    /// twice only the first time.
    #[default]
    Once,
    /// What is skipped does not come; what comes twice only the first time.
    Skip,
    /// What is skipped comes right after the gap; what comes twice comes twice.
    Both,
}
