//! What is wrong with an expression or the name of a zone, and where.

use std::fmt;

use quorate_types::limits::CRON_BYTES_MAX;

/// A field of an expression, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

impl Field {
    /// The least value and the greatest, both included. Sunday is 0 and 7.
    pub const fn bounds(self) -> (u16, u16) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
            Self::Year => (1, 9999),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("the expression is empty")]
    Empty,
    #[error("the expression is longer than {CRON_BYTES_MAX} bytes")]
    TooLong,
    #[error(
        "{0} fields: five are needed (minute, hour, day of month, month, day of week), six with seconds before them, \
         seven with a year after them"
    )]
    FieldCount(usize),
    #[error(
        "{0} is unknown: there are @yearly (or @annually), @monthly, @weekly, @daily (or @midnight) and @hourly; an \
         interval is \"every\": \"90s\", not @every"
    )]
    Nickname(String),
    #[error("the time zone is not part of the expression: give it as time_zone (--time-zone)")]
    ZoneInside,
    #[error("{field} field, {element:?}: {complaint}")]
    Element { field: Field, element: String, complaint: Complaint },
    #[error("it never matches: no date from 1970 to 9999 has that day, month, weekday and year")]
    NeverMatches,
}

/// What is wrong with one element of a field's list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    #[error("nothing between two commas, or before or after one")]
    Missing,
    #[error("{0:?} is neither a number nor a name that this field has")]
    NotAValue(String),
    #[error("{value} is not within {min} to {max}")]
    OutOfBounds { value: u16, min: u16, max: u16 },
    #[error("the range ends before it begins (only those of hours, months and weekdays go round)")]
    Backwards,
    #[error("a range has one beginning and one end")]
    NotARange,
    #[error("the step must be a whole number from 1 to {max}")]
    Step { max: u16 },
    #[error("a step follows *, a value or a range, with one slash")]
    NotStepped,
    #[error("the occurrence after # must be 1 to 5, or L for the last")]
    Occurrence,
    #[error("L alone says no weekday: 5L is the last Friday of the month")]
    LastOfNoWeekday,
    #[error("L- takes 1 to 30 days before the last one")]
    DaysBeforeLast,
    #[error("W follows one day of the month, as in 15W or LW")]
    NearestWeekday,
    #[error("+ (both fields of days must match) is followed by weekdays")]
    PlusAlone,
}

/// Why a zone or a time is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    #[error("{0:?} is no IANA time zone, such as \"Europe/Berlin\" or \"UTC\"")]
    Unknown(String),
    #[error(
        "{0:?} is no time: RFC 3339 as in \"2026-03-29T01:30:00+01:00\" or \"2026-03-29T00:30:00Z\", or without an \
         offset, as in \"2026-03-29T01:30:00\", by the clock of the time zone"
    )]
    NoTime(String),
    #[error("{0:?} is before 1970")]
    TooEarly(String),
}
