//! The next match on a clock without a zone: every day has 24 hours, none is missing or comes twice.

use jiff::civil::{Date, DateTime, Time};

use crate::expression::Fields;

impl Fields {
    /// The first match at `from` or later; none up to the end of the year 9999.
    pub(crate) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let date = self.date_at_or_after(from.date())?;
        let begin = if date == from.date() { from.time() } else { Time::midnight() };
        match self.time_at_or_after(begin) {
            Some(time) => Some(date.to_datetime(time)),
            None => {
                let date = self.date_at_or_after(date.tomorrow().ok()?)?;
                Some(date.to_datetime(self.time_at_or_after(Time::midnight())?))
            }
        }
    }

    /// Whether there is a match at `from` or later, but before `end`.
    pub(crate) fn is_within(&self, from: DateTime, end: DateTime) -> bool {
        self.at_or_after(from).is_some_and(|time| time < end)
    }

    pub(crate) fn date_at_or_after(&self, mut date: Date) -> Option<Date> {
        loop {
            date = if !self.has_year(date.year()) {
                Date::new(self.year_after(date.year())?, 1, 1).ok()?
            } else if !self.months.contains(date.month().unsigned_abs().into()) {
                date.last_of_month().tomorrow().ok()?
            } else if self.days.contain(date) {
                return Some(date);
            } else {
                date.tomorrow().ok()?
            }
        }
    }

    fn has_year(&self, year: i16) -> bool {
        self.years.as_ref().is_none_or(|years| years.contains(&year))
    }

    fn year_after(&self, year: i16) -> Option<i16> {
        self.years.as_ref()?.range(year.checked_add(1)?..).next().copied()
    }

    /// The first match at `from` or later on the same day.
    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let [hour, minute, second] = [from.hour(), from.minute(), from.second()].map(|part| part.unsigned_abs().into());
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.at_or_after(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = self.minutes.at_or_after(minute + 1) {
                return time(hour, minute, self.seconds.at_or_after(0)?);
            }
        }
        let hour = self.hours.at_or_after(hour + 1)?;
        time(hour, self.minutes.at_or_after(0)?, self.seconds.at_or_after(0)?)
    }
}

fn time(hour: u16, minute: u16, second: u16) -> Option<Time> {
    let [hour, minute, second] = [hour, minute, second].map(i8::try_from);
    Time::new(hour.ok()?, minute.ok()?, second.ok()?, 0).ok()
}
