//! Where a task may run, and where it would rather: conditions on workers' labels, taints that keep tasks off a
//! worker, and bounds on how many elements come together.
//!
//! Conditions are texts for people: `zone=eu`, `zone!=eu`, `ssd`, `!spot`, `mem_gb>=64`, `arch in (x86_64,arm64)`,
//! `arch not in (arm64)`. Numbers have up to three decimals and are compared exactly.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::job::TaskSpec;
use crate::limits::{CONDITION_VALUES_MAX, LABEL_VALUE_BYTES_MAX};
use crate::name::Name;

/// The label that every worker has: its name, unless it has one of its own.
pub const WORKER_LABEL: &str = "worker";

/// Something that must be true of a worker's labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    pub label: Name,
    pub test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Test {
    Has,
    HasNot,
    In(Vec<String>),
    /// Also true of a worker without the label.
    NotIn(Vec<String>),
    /// A comparison with thousandths; false of what is no number.
    Compares(Comparison, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// A condition that is worth so much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Preference {
    pub condition: Condition,
    /// From 1 to 100.
    pub weight: u8,
}

/// What keeps tasks off a worker that don't tolerate it: `dedicated=ml` or `spot`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    pub key: Name,
    pub value: Option<String>,
}

/// The taint that a task doesn't mind: `dedicated=ml`, or `dedicated` whatever its value.
pub type Toleration = Taint;

/// At most so many elements of the task may be live on workers with one value of the label. A worker without the label
/// gets none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub label: Name,
    pub max: u32,
}

/// The labels of a worker, with the one that every worker has.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub worker: &'a Name,
    pub labels: &'a BTreeMap<Name, String>,
}

impl<'a> Labels<'a> {
    pub fn get(&self, label: &Name) -> Option<&'a str> {
        let own = self.labels.get(label).map(String::as_str);
        own.or_else(|| (label.as_str() == WORKER_LABEL).then_some(self.worker.as_str()))
    }
}

impl Condition {
    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        const REST: usize = 16;
        let values = match &self.test {
            Test::In(all) | Test::NotIn(all) => all.iter().map(|value| value.len() + 8).sum(),
            Test::Has | Test::HasNot | Test::Compares(..) => 0,
        };
        self.label.as_str().len() + values + REST
    }

    pub fn is_met_by(&self, labels: Labels<'_>) -> bool {
        let value = labels.get(&self.label);
        let is_in = |all: &[String]| value.is_some_and(|value| all.iter().any(|one| one == value));
        match &self.test {
            Test::Has => value.is_some(),
            Test::HasNot => value.is_none(),
            Test::In(all) => is_in(all),
            Test::NotIn(all) => !is_in(all),
            Test::Compares(comparison, bound) => value.and_then(thousandths).is_some_and(|n| match comparison {
                Comparison::AtLeast => n >= *bound,
                Comparison::AtMost => n <= *bound,
                Comparison::Above => n > *bound,
                Comparison::Below => n < *bound,
            }),
        }
    }
}

impl Taint {
    /// Whether a task with these tolerations may run where this taint is.
    pub fn is_tolerated_by(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|one| one.key == self.key && (one.value.is_none() || one.value == self.value))
    }
}

impl TaskSpec {
    /// Whether a worker is what the task requires, and has no taint that it doesn't tolerate.
    pub fn suits<'a>(&self, labels: Labels<'_>, taints: impl IntoIterator<Item = &'a Taint>) -> bool {
        self.requires.iter().all(|condition| condition.is_met_by(labels))
            && taints.into_iter().all(|taint| taint.is_tolerated_by(&self.tolerations))
    }
}

/// A decimal number in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    // Enough for bytes of memory, and far from overflow when multiplied.
    const DIGITS_MAX: usize = 15;
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole, DIGITS_MAX) || !is_number(fraction, 3) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<3}").parse().ok()?;
    Some(sign * (whole * 1000 + fraction))
}

fn write_thousandths(f: &mut fmt::Formatter<'_>, n: i64) -> fmt::Result {
    let sign = if n < 0 { "-" } else { "" };
    let (whole, fraction) = (n.unsigned_abs() / 1000, n.unsigned_abs() % 1000);
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    let decimals = format!("{fraction:03}");
    write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = &self.label;
        match &self.test {
            Test::Has => write!(f, "{label}"),
            Test::HasNot => write!(f, "!{label}"),
            Test::In(all) if all.len() == 1 => write!(f, "{label}={}", all[0]),
            Test::In(all) => write!(f, "{label} in ({})", all.join(",")),
            Test::NotIn(all) if all.len() == 1 => write!(f, "{label}!={}", all[0]),
            Test::NotIn(all) => write!(f, "{label} not in ({})", all.join(",")),
            Test::Compares(comparison, n) => {
                write!(f, "{label}{}", comparison.as_str())?;
                write_thousandths(f, *n)
            }
        }
    }
}

impl Comparison {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::Below => "<",
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Two characters before one, so that `>=` is not read as `>`.
        const OPERATORS: [(&str, Option<Comparison>); 6] = [
            ("!=", None),
            (">=", Some(Comparison::AtLeast)),
            ("<=", Some(Comparison::AtMost)),
            ("=", None),
            (">", Some(Comparison::Above)),
            ("<", Some(Comparison::Below)),
        ];
        let text = text.trim();
        if let Some((label, values)) = set(text) {
            let (label, negated) = label.strip_suffix(" not").map_or((label, false), |label| (label, true));
            let values = values_of(values)?;
            let test = if negated { Test::NotIn(values) } else { Test::In(values) };
            return Ok(Self { label: label_of(label)?, test });
        }
        let first = |operator: (&'static str, Option<Comparison>)| Some((text.find(operator.0)?, operator));
        let found = OPERATORS.into_iter().filter_map(first).min_by_key(|(at, operator)| (*at, 2 - operator.0.len()));
        let Some((at, (operator, comparison))) = found else {
            let negated = text.strip_prefix('!');
            let test = if negated.is_some() { Test::HasNot } else { Test::Has };
            return Ok(Self { label: label_of(negated.unwrap_or(text))?, test });
        };
        let (label, value) = (label_of(&text[..at])?, text[at + operator.len()..].trim());
        let test = match comparison {
            Some(comparison) => Test::Compares(comparison, number_of(value)?),
            None if operator == "!=" => Test::NotIn(vec![value_of(value)?]),
            None => Test::In(vec![value_of(value)?]),
        };
        Ok(Self { label, test })
    }
}

/// `label in (a,b)` as its label, perhaps with ` not`, and what stands between the brackets.
fn set(text: &str) -> Option<(&str, &str)> {
    let (label, values) = text.strip_suffix(')')?.split_once('(')?;
    Some((label.trim_end().strip_suffix(" in")?.trim_end(), values))
}

fn label_of(text: &str) -> Result<Name, String> {
    Name::new(text.trim()).map_err(|e| format!("the label {:?} {e}", text.trim()))
}

fn value_of(text: &str) -> Result<String, String> {
    let fits = (1..=LABEL_VALUE_BYTES_MAX).contains(&text.len());
    if !fits || text.contains(['(', ')', ',']) {
        return Err(format!("a value has 1 to {LABEL_VALUE_BYTES_MAX} bytes without brackets and commas"));
    }
    // `zone==eu`, `mem=>64`, `zone=~e.*` and `zone=eu && !spot` are slips; nobody's labels have such values.
    if text.starts_with(['=', '<', '>', '~', '!']) {
        return Err(format!("the value {text:?} begins with an operator: give =, !=, >=, <=, > or <"));
    }
    if text.contains("&&") || text.contains("||") {
        return Err(format!("the value {text:?} joins conditions: list them one by one, of which all must hold"));
    }
    Ok(text.to_owned())
}

fn values_of(text: &str) -> Result<Vec<String>, String> {
    let values: Vec<String> = text.split(',').map(|value| value_of(value.trim())).collect::<Result<_, _>>()?;
    if values.len() > CONDITION_VALUES_MAX {
        return Err(format!("more than {CONDITION_VALUES_MAX} values"));
    }
    Ok(values)
}

fn number_of(text: &str) -> Result<i64, String> {
    thousandths(text).ok_or_else(|| format!("{text:?} is not a number with up to three decimals"))
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => write!(f, "{}", self.key),
        }
    }
}

impl FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        Ok(Self { key: label_of(key)?, value: value.map(|value| value_of(value.trim())).transpose()? })
    }
}

/// A text for people, fields for machines.
macro_rules! text_or_fields {
    ($name:ident { $first:ident: $first_type:ty, $second:ident: $second_type:ty }) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return serializer.collect_str(self);
                }
                (&self.$first, &self.$second).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
                }
                let ($first, $second): ($first_type, $second_type) = Deserialize::deserialize(deserializer)?;
                Ok(Self { $first, $second })
            }
        }
    };
}

text_or_fields!(Condition { label: Name, test: Test });
text_or_fields!(Taint { key: Name, value: Option<String> });

/// What a preference weighs that says nothing of it.
const WEIGHT_DEFAULT: u8 = 50;

impl<'de> Deserialize<'de> for Preference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            condition: Condition,
            #[serde(default = "weight_default")]
            weight: u8,
        }

        struct TextOrObject;

        impl<'de> de::Visitor<'de> for TextOrObject {
            type Value = Preference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a condition such as \"zone=eu\", or an object with condition and weight")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Preference, E> {
                Ok(Preference { condition: text.parse().map_err(E::custom)?, weight: WEIGHT_DEFAULT })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Preference, A::Error> {
                let Long { condition, weight } = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Preference { condition, weight })
            }
        }

        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(TextOrObject);
        }
        let (condition, weight) = Deserialize::deserialize(deserializer)?;
        Ok(Self { condition, weight })
    }
}

const fn weight_default() -> u8 {
    WEIGHT_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(condition: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(label, value)| (Name::new(label).unwrap(), (*value).to_owned())).collect();
        let worker = Name::new("w1").unwrap();
        condition.parse::<Condition>().expect(condition).is_met_by(Labels { worker: &worker, labels: &labels })
    }

    #[test]
    fn conditions_are_met_or_not() {
        let labels: &[(&str, &str)] = &[("zone", "eu"), ("mem_gb", "64"), ("arch", "arm64"), ("load", "-0.25")];
        let met = [
            "zone=eu",
            "zone != us",
            "gpu!=a100",
            "zone",
            "!spot",
            "mem_gb>=64",
            "mem_gb<=64",
            "mem_gb>63.999",
            "load<0",
            "load>=-0.25",
            "arch in (x86_64, arm64)",
            "arch not in (x86_64)",
            "spot not in (yes)",
            "worker=w1",
        ];
        let unmet = [
            "zone=us",
            "zone!=eu",
            "spot",
            "!zone",
            "mem_gb>64",
            "zone>1",
            "gpu>=0",
            "load<-0.25",
            "arch in (x86_64)",
            "arch not in (arm64,x)",
            "spot in (yes)",
            "worker!=w1",
        ];
        met.iter().for_each(|text| assert!(is_met(text, labels), "{text}"));
        unmet.iter().for_each(|text| assert!(!is_met(text, labels), "{text}"));
        assert!(is_met("worker=other", &[("worker", "other")]), "a label of its own comes first");
    }

    #[test]
    fn spellings_read_back_as_they_were_written() {
        let texts = ["zone=eu", "zone!=eu", "ssd", "!spot", "m>=1.5", "m<=-0.001", "m>1", "m<2", "a in (b,c)"];
        for text in texts.into_iter().chain(["a not in (b,c)", "url=http://x>y!=z"]) {
            let condition: Condition = text.parse().expect(text);
            assert_eq!(condition.to_string(), text);
            let json = serde_json::to_string(&condition).unwrap();
            assert_eq!(serde_json::from_str::<Condition>(&json).unwrap(), condition);
        }
        let bad = [
            "a==b",
            "m=>1",
            "",
            "!",
            "=x",
            "a b=c",
            "a=",
            "m>=x",
            "m>=1.2345",
            "a in ()",
            "a in (b,)",
            "a in b",
            "a=(b)",
            "m>=",
        ];
        bad.iter().for_each(|text| assert!(text.parse::<Condition>().is_err(), "{text}"));
        let long = r#"{"condition":"a=b","weight":50}"#;
        let preference: Preference = serde_json::from_str(r#""a=b""#).unwrap();
        assert_eq!(serde_json::to_string(&preference).unwrap(), long);
        assert_eq!(serde_json::from_str::<Preference>(long).unwrap(), preference);
    }

    #[test]
    fn taints_are_tolerated_by_key_or_by_value() {
        let taint: Taint = "dedicated=ml".parse().unwrap();
        let tolerated = |by: &str| taint.is_tolerated_by(&[by.parse().unwrap()]);
        assert_eq!([tolerated("dedicated"), tolerated("dedicated=ml")], [true, true]);
        assert_eq!([tolerated("dedicated=web"), tolerated("ml")], [false, false]);
        assert!(!"spot".parse::<Taint>().unwrap().is_tolerated_by(&["spot=yes".parse().unwrap()]));
    }
}
