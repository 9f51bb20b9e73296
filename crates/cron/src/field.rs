//! One field of an expression: a list of values, ranges and steps.

use crate::error::{Complaint, CronError, Field};

/// One field's values as a set of bits: those below 64, thus all but years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(u64);

impl Values {
    pub(crate) fn insert(&mut self, value: u16) {
        debug_assert!(value < 64, "{value} is no value of this field");
        self.0 |= 1 << value;
    }

    pub(crate) const fn contains(self, value: u16) -> bool {
        value < 64 && self.0 & (1 << value) != 0
    }

    /// The least value that is `from` or more.
    pub(crate) fn at_or_after(self, from: u16) -> Option<u16> {
        let rest = if from < 64 { self.0 & (u64::MAX << from) } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros() as u16)
    }
}

impl FromIterator<u16> for Values {
    fn from_iter<I: IntoIterator<Item = u16>>(values: I) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
}

/// What a list said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) values: Vec<u16>,
    /// It restricts nothing: one of its elements is `*` or `?`, without a step.
    pub(crate) is_star: bool,
    /// An element has no end of its own: `*`, `*/5` or `3/5`. Such a field follows the clock.
    pub(crate) is_open: bool,
}

/// Reads a field that has no more than values, ranges and steps.
pub(crate) fn parse(field: Field, text: &str) -> Result<List, CronError> {
    let mut list = List::default();
    for element in text.split(',') {
        list.add(field, element).map_err(|complaint| complaint.about(field, element))?;
    }
    Ok(list)
}

impl Complaint {
    pub(crate) fn about(self, field: Field, element: &str) -> CronError {
        CronError::Element { field, element: element.to_owned(), complaint: self }
    }
}

impl List {
    /// Adds one element: `*`, `7`, `2-5`, any of them with `/2` behind it.
    pub(crate) fn add(&mut self, field: Field, element: &str) -> Result<(), Complaint> {
        if element.is_empty() {
            return Err(Complaint::Missing);
        }
        let (base, step) = match element.split_once('/') {
            None => (element, None),
            Some((base, step)) => (base, Some(parse_step(field, step)?)),
        };
        let span = Span::parse(field, base, step.is_some())?;
        self.is_star |= matches!(base, "*" | "?") && step.unwrap_or(1) == 1;
        self.is_open |= span.is_open;
        self.values.extend(span.values(field, step.unwrap_or(1)));
        Ok(())
    }
}

/// From where to where; the end may lie before the beginning where the field goes round.
struct Span {
    first: u16,
    last: u16,
    is_open: bool,
}

impl Span {
    fn parse(field: Field, base: &str, has_step: bool) -> Result<Self, Complaint> {
        let (min, max) = span_bounds(field);
        if matches!(base, "*" | "?") {
            return Ok(Self { first: min, last: max, is_open: true });
        }
        if base.is_empty() {
            return Err(Complaint::NotStepped);
        }
        let Some((first, last)) = base.split_once('-') else {
            let first = wrap(field, parse_value(field, base)?);
            return Ok(Self { first, last: if has_step { max } else { first }, is_open: has_step });
        };
        if first.is_empty() || last.is_empty() || last.contains('-') {
            return Err(Complaint::NotARange);
        }
        let (first, last) = (parse_value(field, first)?, parse_value(field, last)?);
        if first > last && cycle(field).is_none() {
            return Err(Complaint::Backwards);
        }
        Ok(Self { first, last, is_open: false })
    }

    fn values(&self, field: Field, step: u16) -> Vec<u16> {
        let length = match cycle(field) {
            Some(cycle) if self.first > self.last => (self.last + cycle - self.first) % cycle,
            Some(_) | None => self.last - self.first,
        };
        (0..=length).step_by(usize::from(step)).map(|offset| wrap(field, self.first + offset)).collect()
    }
}

/// What `*` covers: a week has seven days, although Sunday has two numbers.
const fn span_bounds(field: Field) -> (u16, u16) {
    match field {
        Field::DayOfWeek => (0, 6),
        Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month | Field::Year => field.bounds(),
    }
}

/// How many values it takes to go round, in the fields whose ranges may (22-2, NOV-FEB, FRI-MON).
const fn cycle(field: Field) -> Option<u16> {
    match field {
        Field::Hour => Some(24),
        Field::Month => Some(12),
        Field::DayOfWeek => Some(7),
        Field::Second | Field::Minute | Field::DayOfMonth | Field::Year => None,
    }
}

/// Carries what is past the end to the beginning: 7 is Sunday, thus 0.
const fn wrap(field: Field, value: u16) -> u16 {
    let (min, _) = field.bounds();
    match cycle(field) {
        Some(cycle) => (value - min) % cycle + min,
        None => value,
    }
}

fn parse_step(field: Field, text: &str) -> Result<u16, Complaint> {
    if text.contains('/') {
        return Err(Complaint::NotStepped);
    }
    let (min, max) = span_bounds(field);
    let max = max - min + 1;
    let step = if is_number(text) { text.parse().ok() } else { None };
    step.filter(|step| (1..=max).contains(step)).ok_or(Complaint::Step { max })
}

/// A number or a name of the field.
pub(crate) fn parse_value(field: Field, text: &str) -> Result<u16, Complaint> {
    let not_a_value = || Complaint::NotAValue(text.to_owned());
    if !is_number(text) {
        return parse_name(field, text).ok_or_else(not_a_value);
    }
    let value = text.parse().map_err(|_| not_a_value())?;
    let (min, max) = field.bounds();
    if (min..=max).contains(&value) { Ok(value) } else { Err(Complaint::OutOfBounds { value, min, max }) }
}

/// Digits only: `parse` would also take `+5`.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_name(field: Field, text: &str) -> Option<u16> {
    const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let (names, first): (&[&str], u16) = match field {
        Field::Month => (&MONTHS, 1),
        Field::DayOfWeek => (&WEEKDAYS, 0),
        Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Year => return None,
    };
    (first..).zip(names).find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(value, _)| value)
}
