//! Random expressions as trees, with their text and, told apart from the crate's own code, their meaning.

use std::fmt;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Element {
    Star,
    Value(i16),
    Range(i16, i16),
    StarStep(i16),
    From(i16, i16),
    RangeStep(i16, i16, i16),
    /// Only days of the month: `L-n`, `L`; `nW`; `LW`.
    BeforeLast(i16),
    Nearest(i16),
    NearestLast,
    /// Only weekdays: `5#2`, `5L`.
    Occurrence(i16, i16),
    Last(i16),
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Star => write!(f, "*"),
            Self::Value(value) => write!(f, "{value}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::StarStep(step) => write!(f, "*/{step}"),
            Self::From(first, step) => write!(f, "{first}/{step}"),
            Self::RangeStep(first, last, step) => write!(f, "{first}-{last}/{step}"),
            Self::BeforeLast(0) => write!(f, "L"),
            Self::BeforeLast(days) => write!(f, "L-{days}"),
            Self::Nearest(day) => write!(f, "{day}W"),
            Self::NearestLast => write!(f, "LW"),
            Self::Occurrence(weekday, number) => write!(f, "{weekday}#{number}"),
            Self::Last(weekday) => write!(f, "{weekday}L"),
        }
    }
}

impl Element {
    /// Whether a field that begins with `min` and has this element holds `value`.
    fn covers(&self, value: i16, min: i16) -> bool {
        match *self {
            Self::Star => true,
            Self::Value(only) => value == only,
            Self::Range(first, last) => (first..=last).contains(&value),
            Self::StarStep(step) => (value - min) % step == 0,
            Self::From(first, step) => value >= first && (value - first) % step == 0,
            Self::RangeStep(first, last, step) => (first..=last).contains(&value) && (value - first) % step == 0,
            _ => false,
        }
    }

    fn covers_day(&self, date: Date) -> bool {
        let last = date.last_of_month();
        match *self {
            Self::BeforeLast(days) => date == last.saturating_sub(i64::from(days).days()),
            Self::Nearest(day) => {
                Date::new(date.year(), date.month(), day as i8).is_ok_and(|day| date == nearest_weekday(day))
            }
            Self::NearestLast => date == nearest_weekday(last),
            _ => self.covers(date.day().into(), 1),
        }
    }

    fn covers_weekday(&self, date: Date) -> bool {
        let weekday = i16::from(date.weekday().to_sunday_zero_offset());
        match *self {
            Self::Occurrence(day, number) => {
                let until = (1..=date.day()).map(|day| date.with().day(day).build().unwrap());
                weekday == day && until.filter(|earlier| earlier.weekday() == date.weekday()).count() == number as usize
            }
            Self::Last(day) => weekday == day && date.saturating_add(1.week()).month() != date.month(),
            _ => self.covers(weekday, 0),
        }
    }
}

/// By looking at every day of the month.
fn nearest_weekday(to: Date) -> Date {
    let days = (1..=to.days_in_month()).map(|day| to.with().day(day).build().unwrap());
    let weekdays = days.filter(|day| !matches!(day.weekday().to_sunday_zero_offset(), 0 | 6));
    weekdays.min_by_key(|day| (day.day() - to.day()).abs()).unwrap()
}

type List = Vec<Element>;

#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) seconds: Option<List>,
    pub(crate) minutes: List,
    pub(crate) hours: List,
    pub(crate) days: List,
    pub(crate) months: List,
    pub(crate) weekdays: List,
}

fn text(list: &List) -> String {
    list.iter().map(Element::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seconds) = &self.seconds {
            write!(f, "{} ", text(seconds))?;
        }
        let fields = [&self.minutes, &self.hours, &self.days, &self.months, &self.weekdays];
        f.write_str(&fields.map(text).join(" "))
    }
}

impl Expression {
    pub(crate) fn matches(&self, time: DateTime) -> bool {
        let covers = |list: &List, value: i8, min: i16| list.iter().any(|element| element.covers(value.into(), min));
        let of_month = self.days.iter().any(|element| element.covers_day(time.date()));
        let of_week = self.weekdays.iter().any(|element| element.covers_weekday(time.date()));
        let is_star = |list: &List| list.iter().any(|element| matches!(element, Element::Star | Element::StarStep(1)));
        let day = match (is_star(&self.days), is_star(&self.weekdays)) {
            (false, false) => of_month || of_week,
            (true, _) => of_week,
            (false, true) => of_month,
        };
        let second = self.seconds.as_ref().map_or(time.second() == 0, |seconds| covers(seconds, time.second(), 0));
        let hour = covers(&self.hours, time.hour(), 0);
        day && second && hour && covers(&self.minutes, time.minute(), 0) && covers(&self.months, time.month(), 1)
    }

    pub(crate) fn follows_clock(&self) -> bool {
        let open = |element: &Element| matches!(element, Element::Star | Element::StarStep(_) | Element::From(..));
        self.seconds.iter().flatten().chain(&self.minutes).chain(&self.hours).any(open)
    }
}

fn element(min: i16, max: i16) -> BoxedStrategy<Element> {
    let values = min..=max;
    let range = (values.clone(), values.clone()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        3 => values.clone().prop_map(Element::Value),
        1 => range.clone().prop_map(|(first, last)| Element::Range(first, last)),
        1 => (1..=max - min + 1).prop_map(Element::StarStep),
        1 => (values, 1..=max - min + 1).prop_map(|(first, step)| Element::From(first, step)),
        1 => (range, 1..=max - min + 1).prop_map(|((first, last), step)| Element::RangeStep(first, last, step)),
    ]
    .boxed()
}

fn list(element: impl Strategy<Value = Element> + 'static, stars: u32) -> BoxedStrategy<List> {
    prop_oneof![
        stars => Just(vec![Element::Star]),
        4 => prop::collection::vec(element, 1..4),
    ]
    .boxed()
}

/// Expressions that most often match around `hours`; with seconds, or without.
pub(crate) fn expressions(hours: (i16, i16), has_seconds: bool) -> impl Strategy<Value = Expression> {
    let day = prop_oneof![
        3 => element(1, 31),
        1 => (0..=30i16).prop_map(Element::BeforeLast),
        1 => (1..=31i16).prop_map(Element::Nearest),
        1 => Just(Element::NearestLast),
    ];
    let weekday = prop_oneof![
        3 => element(0, 6),
        1 => (0..=6i16, 1..=5i16).prop_map(|(day, number)| Element::Occurrence(day, number)),
        1 => (0..=6i16).prop_map(Element::Last),
    ];
    let seconds = if has_seconds { list(element(0, 59), 1).prop_map(Some).boxed() } else { Just(None).boxed() };
    let hour = prop_oneof![
        4 => (hours.0..=hours.1).prop_map(Element::Value),
        1 => element(0, 23),
    ];
    (seconds, list(element(0, 59), 1), list(hour, 2), list(day, 8), list(element(1, 12), 12), list(weekday, 8))
        .prop_map(|(seconds, minutes, hours, days, months, weekdays)| Expression {
            seconds,
            minutes,
            hours,
            days,
            months,
            weekdays,
        })
}
