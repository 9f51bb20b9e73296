//! A cron expression, as others of the workspace see it.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use quorate_types::Timestamp;

use crate::error::CronError;
use crate::expression::Fields;
use crate::occurrence::{self, Dst};
use crate::zone::{self, Zone};

/// A cron expression of five, six or seven fields, or a nickname. docs/cron.md has its grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    fields: Fields,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says which field is wrong, and how; also for an expression that matches no date from 1970 to 9999.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields = Fields::parse(text)?;
        // Two milliseconds at most: the months of eight thousand years are looked at.
        fields.date_at_or_after(Date::constant(1970, 1, 1)).ok_or(CronError::NeverMatches)?;
        Ok(Self { text: text.trim().to_owned(), fields })
    }

    /// The first tick that is later than `after`, in milliseconds UTC. None when none follows: its years have
    /// passed, or the clock of the zone never shows such a time again.
    ///
    /// The search goes to the end of the year 9999.
    pub fn after(&self, zone: &Zone, dst: Dst, after: Timestamp) -> Option<Timestamp> {
        let from = zone::seconds_of(after).checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
        let tick = occurrence::at_or_after(&self.fields, zone, dst, from)?;
        u64::try_from(tick.as_millisecond()).ok().map(Timestamp)
    }

    /// All ticks that are later than `after`, in order.
    pub fn ticks<'a>(&'a self, zone: &'a Zone, dst: Dst, after: Timestamp) -> Ticks<'a> {
        Ticks { cron: self, zone, dst, after }
    }
}

/// The ticks of an expression in a zone, ascending.
#[derive(Clone, Debug)]
pub struct Ticks<'a> {
    cron: &'a Cron,
    zone: &'a Zone,
    dst: Dst,
    after: Timestamp,
}

impl Iterator for Ticks<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.after = self.cron.after(self.zone, self.dst, self.after)?;
        Some(self.after)
    }
}

impl FromStr for Cron {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
