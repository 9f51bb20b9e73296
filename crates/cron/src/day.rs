//! The two fields that choose days, and how they combine.

use jiff::civil::{Date, Weekday};

use crate::error::{Complaint, CronError, Field};
use crate::field::{self, List, Values};

/// Both fields of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    of_month: DaysOfMonth,
    of_week: DaysOfWeek,
    /// `+` before the weekdays: both fields must match, instead of either.
    needs_both: bool,
}

impl Days {
    pub(crate) fn parse(of_month: &str, of_week: &str) -> Result<Self, CronError> {
        let (of_week, needs_both) = match of_week.strip_prefix('+') {
            Some("") => return Err(Complaint::PlusAlone.about(Field::DayOfWeek, of_week)),
            Some(rest) => (rest, true),
            None => (of_week, false),
        };
        Ok(Self { of_month: DaysOfMonth::parse(of_month)?, of_week: DaysOfWeek::parse(of_week)?, needs_both })
    }

    /// POSIX: either field, if both restrict; else the one that does.
    pub(crate) fn contain(&self, date: Date) -> bool {
        match (self.of_month.is_star, self.of_week.is_star) {
            (true, true) => true,
            (true, false) => self.of_week.contain(date),
            (false, true) => self.of_month.contain(date),
            (false, false) if self.needs_both => self.of_month.contain(date) && self.of_week.contain(date),
            (false, false) => self.of_month.contain(date) || self.of_week.contain(date),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DaysOfMonth {
    values: Values,
    /// Days counted back from the last one, which is 0: `L` and `L-3`.
    before_last: Values,
    /// The weekday nearest to such a day of the month: `15W`.
    nearest: Values,
    /// The same to days counted back: `LW` and `L-3W`.
    nearest_before_last: Values,
    is_star: bool,
}

impl DaysOfMonth {
    fn parse(text: &str) -> Result<Self, CronError> {
        let mut days = Self::default();
        let mut list = List::default();
        for element in text.split(',') {
            days.add(element, &mut list).map_err(|complaint| complaint.about(Field::DayOfMonth, element))?;
        }
        days.values = list.values.into_iter().collect();
        days.is_star = list.is_star;
        Ok(days)
    }

    fn add(&mut self, element: &str, list: &mut List) -> Result<(), Complaint> {
        let (base, is_nearest) = match element.strip_suffix(['W', 'w']) {
            Some(base) => (base, true),
            None => (element, false),
        };
        if let Some(before) = base.strip_prefix(['L', 'l']) {
            let before = parse_before_last(before)?;
            if is_nearest {
                self.nearest_before_last.insert(before)
            } else {
                self.before_last.insert(before)
            }
            return Ok(());
        }
        if is_nearest {
            if !field::is_number(base) {
                return Err(Complaint::NearestWeekday);
            }
            self.nearest.insert(field::parse_value(Field::DayOfMonth, base)?);
            return Ok(());
        }
        list.add(Field::DayOfMonth, element)
    }

    fn contain(&self, date: Date) -> bool {
        let (day, last) = (date.day().unsigned_abs().into(), date.days_in_month().unsigned_abs().into());
        self.values.contains(day) || self.before_last.contains(last - day) || self.is_nearest(date, day, last)
    }

    /// Whether the date is the weekday nearest to a day that is named. Nearest is at most two days away.
    fn is_nearest(&self, date: Date, day: u16, last: u16) -> bool {
        let named = |day: u16| self.nearest.contains(day) || self.nearest_before_last.contains(last - day);
        (day.saturating_sub(2).max(1)..=(day + 2).min(last)).filter(|near| named(*near)).any(|near| {
            let from_sunday = date.weekday().to_sunday_zero_offset();
            let weekday = (i32::from(from_sunday) + i32::from(near) - i32::from(day)).rem_euclid(7);
            nearest_weekday(near, weekday, last) == day
        })
    }
}

/// The weekday (Monday to Friday) nearest to a day, within its month, as Quartz defines `W`.
/// `weekday` is that of `day`, from Sunday, which is 0.
const fn nearest_weekday(day: u16, weekday: i32, last: u16) -> u16 {
    match weekday {
        SATURDAY if day == 1 => 3,
        SATURDAY => day - 1,
        SUNDAY if day == last => day - 2,
        SUNDAY => day + 1,
        _ => day,
    }
}

const SUNDAY: i32 = 0;
const SATURDAY: i32 = 6;

/// What follows an `L`: nothing, or `-` and a number of days.
fn parse_before_last(text: &str) -> Result<u16, Complaint> {
    let Some(days) = text.strip_prefix('-') else {
        return if text.is_empty() { Ok(0) } else { Err(Complaint::DaysBeforeLast) };
    };
    let days = if field::is_number(days) { days.parse().ok() } else { None };
    days.filter(|days| (1..=30).contains(days)).ok_or(Complaint::DaysBeforeLast)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DaysOfWeek {
    values: Values,
    /// The first to fifth such weekday of the month: `5#2` is in the second set.
    occurrences: [Values; 5],
    /// The last such weekday of the month: `5L`.
    last: Values,
    is_star: bool,
}

impl DaysOfWeek {
    fn parse(text: &str) -> Result<Self, CronError> {
        let mut days = Self::default();
        let mut list = List::default();
        for element in text.split(',') {
            days.add(element, &mut list).map_err(|complaint| complaint.about(Field::DayOfWeek, element))?;
        }
        days.values = list.values.into_iter().collect();
        days.is_star = list.is_star;
        Ok(days)
    }

    fn add(&mut self, element: &str, list: &mut List) -> Result<(), Complaint> {
        let (base, occurrence) = match (element.split_once('#'), element.strip_suffix(['L', 'l'])) {
            (Some((base, occurrence)), _) => (base, occurrence),
            (None, Some("")) => return Err(Complaint::LastOfNoWeekday),
            (None, Some(base)) => (base, "L"),
            (None, None) => return list.add(Field::DayOfWeek, element),
        };
        let mut chosen = List::default();
        chosen.add(Field::DayOfWeek, base)?;
        if base.contains(['/', '*', '?']) {
            return Err(Complaint::NotAValue(base.to_owned()));
        }
        let set = match occurrence {
            "L" | "l" => &mut self.last,
            "1" | "2" | "3" | "4" | "5" => &mut self.occurrences[usize::from(occurrence.as_bytes()[0] - b'1')],
            _ => return Err(Complaint::Occurrence),
        };
        chosen.values.into_iter().for_each(|day| set.insert(day));
        Ok(())
    }

    fn contain(&self, date: Date) -> bool {
        let weekday = number(date.weekday());
        let occurrence = usize::from((date.day() - 1).unsigned_abs() / 7);
        self.values.contains(weekday)
            || self.occurrences[occurrence].contains(weekday)
            || (self.last.contains(weekday) && date.day() + 7 > date.days_in_month())
    }
}

fn number(weekday: Weekday) -> u16 {
    weekday.to_sunday_zero_offset().unsigned_abs().into()
}
