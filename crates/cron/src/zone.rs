//! Time zones: what clocks showed and will show, from the IANA database that is compiled in.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use quorate_types::Timestamp;

use crate::error::ZoneError;

/// Not that of the host: replicas must agree, whatever their hosts have installed.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// An IANA time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A length of real time in which the clock has one offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) offset: Offset,
    pub(crate) begin: Option<Begin>,
    /// Not part of it any more.
    pub(crate) end: Option<jiff::Timestamp>,
}

/// How a stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) at: jiff::Timestamp,
    /// What the clock would have shown, had it not been changed.
    pub(crate) unchanged: DateTime,
}

impl Zone {
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of such a name, in any case: `Europe/Berlin`, `utc`.
    ///
    /// # Errors
    /// If the database knows no such name.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        DATABASE.get(name).map(Self).map_err(|_| ZoneError::Unknown(name.to_owned()))
    }

    /// A time as people write it: RFC 3339 with an offset or `Z`, or without, by this zone's clock. A time
    /// that this clock skips is taken as if it had not been set forward yet, one that it shows twice as the first.
    ///
    /// # Errors
    /// If the text is no such time, or one before 1970.
    pub fn read(&self, text: &str) -> Result<Timestamp, ZoneError> {
        let time = text.parse::<jiff::Timestamp>().or_else(|_| self.0.to_timestamp(text.parse::<DateTime>()?));
        let time = time.map_err(|_| ZoneError::NoTime(text.to_owned()))?;
        let ms = u64::try_from(time.as_millisecond()).map_err(|_| ZoneError::TooEarly(text.to_owned()))?;
        Ok(Timestamp(ms))
    }

    /// RFC 3339 with this zone's offset, to the second: `2026-03-29T03:00:00+02:00`.
    pub fn show(&self, time: Timestamp) -> String {
        let time = seconds_of(time);
        time.display_with_offset(self.0.to_offset(time)).to_string()
    }

    /// The stretch that a moment is part of.
    pub(crate) fn stretch(&self, moment: jiff::Timestamp) -> Stretch {
        let just_after = moment.saturating_add(jiff::SignedDuration::from_nanos(1));
        let begin = just_after.ok().and_then(|after| self.0.preceding(after).next()).map(|change| {
            let at = change.timestamp();
            let before = at.saturating_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(at);
            Begin { at, unchanged: self.0.to_offset(before).to_datetime(at) }
        });
        let end = self.0.following(moment).next().map(|change| change.timestamp());
        Stretch { offset: self.0.to_offset(moment), begin, end }
    }
}

/// The whole second that a time lies in.
pub(crate) fn seconds_of(time: Timestamp) -> jiff::Timestamp {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
}

impl FromStr for Zone {
    type Err = ZoneError;
    fn from_str(name: &str) -> Result<Self, ZoneError> {
        Self::parse(name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}
