//! The text of an expression: nicknames, how many fields there are, which is which.

use std::collections::BTreeSet;

use quorate_types::limits::CRON_BYTES_MAX;

use crate::day::Days;
use crate::error::{CronError, Field};
use crate::field::{self, Values};

/// What an expression says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) seconds: Values,
    pub(crate) minutes: Values,
    pub(crate) hours: Values,
    pub(crate) days: Days,
    pub(crate) months: Values,
    /// None: every year.
    pub(crate) years: Option<BTreeSet<i16>>,
    /// Seconds, minutes or hours are open (`*`, `*/5`, `3/5`), so that the schedule follows the clock. All
    /// others are fixed times. This is the distinction of Debian's cron (its flags MIN_STAR and HR_STAR).
    pub(crate) follows_clock: bool,
}

impl Fields {
    pub(crate) fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > CRON_BYTES_MAX {
            return Err(CronError::TooLong);
        }
        let text = text.trim();
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(CronError::ZoneInside);
        }
        let text = if text.starts_with('@') { spelled_out(text)? } else { text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        match fields[..] {
            [] => Err(CronError::Empty),
            [minute, hour, day, month, weekday] => Self::of(["0", minute, hour, day, month, weekday], None),
            [second, minute, hour, day, month, weekday] => Self::of([second, minute, hour, day, month, weekday], None),
            [second, minute, hour, day, month, weekday, year] => {
                Self::of([second, minute, hour, day, month, weekday], Some(year))
            }
            _ => Err(CronError::FieldCount(fields.len())),
        }
    }

    fn of([second, minute, hour, day, month, weekday]: [&str; 6], year: Option<&str>) -> Result<Self, CronError> {
        let seconds = field::parse(Field::Second, second)?;
        let minutes = field::parse(Field::Minute, minute)?;
        let hours = field::parse(Field::Hour, hour)?;
        let days = Days::parse(day, weekday)?;
        let months = field::parse(Field::Month, month)?;
        Ok(Self {
            follows_clock: seconds.is_open || minutes.is_open || hours.is_open,
            seconds: seconds.values.into_iter().collect(),
            minutes: minutes.values.into_iter().collect(),
            hours: hours.values.into_iter().collect(),
            days,
            months: months.values.into_iter().collect(),
            years: year.map(parse_years).transpose()?.flatten(),
        })
    }
}

fn parse_years(text: &str) -> Result<Option<BTreeSet<i16>>, CronError> {
    let list = field::parse(Field::Year, text)?;
    let years = || list.values.iter().filter_map(|year| i16::try_from(*year).ok()).collect();
    Ok((!list.is_star).then(years))
}

/// The five fields that a nickname stands for.
fn spelled_out(nickname: &str) -> Result<&'static str, CronError> {
    match nickname.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(CronError::Nickname(nickname.to_owned())),
    }
}
