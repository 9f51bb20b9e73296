//! What a namespace is entitled to: a weight, a quota that is guaranteed to it, and a limit that it never exceeds.
//!
//! The words are those of Kueue's cluster queues: a quota is its `nominalQuota`, quota and `borrowingLimit` together
//! are the limit, and all namespaces of a cluster are one cohort.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{NAMESPACE_WEIGHT_MAX, RESOURCE_KINDS_MAX};
use crate::name::Name;
use crate::problem::FieldError;
use crate::resources::{Bytes, Millis, Resources, decimal, format_bytes, in_units, parse_bytes, parse_millis};
use crate::words;

/// Amounts of the kinds of resources that it names; of the others it says nothing. In the units of [`Resources`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance(BTreeMap<Name, u64>);

impl Allowance {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn kinds(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.0.iter().map(|(kind, amount)| (kind, *amount))
    }

    pub fn get(&self, kind: &Name) -> Option<u64> {
        self.0.get(kind).copied()
    }

    /// Whether it says anything of what the request asks for.
    pub fn concerns(&self, request: &Resources) -> bool {
        self.0.keys().any(|kind| request.amount(kind) > 0)
    }

    /// Whether it is kept by what is held and the request, in each kind that the request asks for.
    pub fn fits(&self, request: &Resources, held: &Resources) -> bool {
        self.times(request, held) > 0
    }

    /// Whether it names all that is held, and is kept by it.
    pub fn contains(&self, held: &Resources) -> bool {
        let others = held.other_millis.iter().all(|(kind, n)| self.get(kind).is_some_and(|amount| *n <= amount));
        let named = |kind: &str| self.0.get(kind).copied().unwrap_or(0);
        held.cpu_millis <= named("cpu") && held.memory_bytes <= named("memory") && others
    }

    /// How many such requests it has room for beside what is held.
    pub fn times(&self, request: &Resources, held: &Resources) -> u64 {
        let rooms = self.0.iter().map(|(kind, amount)| {
            let room = amount.saturating_sub(held.amount(kind));
            room.checked_div(request.amount(kind)).unwrap_or(u64::MAX)
        });
        rooms.min().unwrap_or(u64::MAX)
    }
}

/// As on the command line: `cpu=10,memory=64GiB`; nothing for none.
impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kinds = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (kind, amount) = part.split_once('=').ok_or_else(|| format!("{part:?} is not like cpu=10"))?;
            let kind = Name::new(kind).map_err(|error| format!("{kind:?} {error}"))?;
            let amount = match kind.as_str() {
                "memory" => parse_bytes(amount)?,
                _ => parse_millis(amount.parse().map_err(|_| format!("{amount:?} is not a number"))?)?,
            };
            if kinds.insert(kind.clone(), amount).is_some() {
                return Err(format!("{kind} is named twice"));
            }
        }
        Ok(Self(kinds))
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (kind, amount)) in self.0.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            match kind.as_str() {
                "memory" => write!(f, "{comma}memory={}", format_bytes(*amount))?,
                _ => write!(f, "{comma}{kind}={}", in_units(kind, *amount))?,
            }
        }
        Ok(())
    }
}

impl FromIterator<(Name, u64)> for Allowance {
    fn from_iter<I: IntoIterator<Item = (Name, u64)>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

words!(
    /// What happens when a namespace needs what is guaranteed to it, and others have borrowed it.
    Reclaim {
        /// Attempts of those that borrow are ended; they are placed again without using a retry.
        Borrowed = "borrowed",
        /// It waits until they end by themselves.
        Never = "never",
    }
);

/// The record of a namespace. Namespaces without one have [`NamespaceRules::default`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRules {
    /// Its part of what is shared, under `fair-share` and `multifactor`.
    #[serde(default = "one")]
    pub weight: u32,
    /// Guaranteed to it. What it holds beyond is borrowed; where it names nothing, everything is.
    #[serde(default)]
    pub quota: Allowance,
    /// It never holds more of these kinds.
    #[serde(default)]
    pub limit: Allowance,
    #[serde(default = "borrowed")]
    pub reclaim: Reclaim,
    /// Unfinished tasks that it may have when it submits more.
    #[serde(default)]
    pub max_unfinished: Option<u64>,
}

fn one() -> u32 {
    1
}

/// A guarantee that is not kept when it is needed would be none.
fn borrowed() -> Reclaim {
    Reclaim::Borrowed
}

impl Default for NamespaceRules {
    fn default() -> Self {
        Self {
            weight: one(),
            quota: Allowance::default(),
            limit: Allowance::default(),
            reclaim: borrowed(),
            max_unfinished: None,
        }
    }
}

impl NamespaceRules {
    /// Whether an attempt that asks for so much is within the quota, beside what else is held.
    pub fn covers(&self, request: &Resources, held: &Resources) -> bool {
        self.quota.concerns(request) && self.quota.fits(request, held)
    }

    /// Whether it says anything of what may start.
    pub fn bounds_starts(&self) -> bool {
        !self.quota.is_empty() || !self.limit.is_empty()
    }

    /// What is wrong with it.
    pub fn complaints(&self) -> Vec<FieldError> {
        let mut complaints = Vec::new();
        if !(1..=NAMESPACE_WEIGHT_MAX).contains(&self.weight) {
            complaints.push(FieldError::new("/weight", format!("is not from 1 to {NAMESPACE_WEIGHT_MAX}")));
        }
        for (kind, quota) in self.quota.kinds() {
            if self.limit.get(kind).is_some_and(|limit| limit < quota) {
                complaints.push(FieldError::new(format!("/limit/{kind}"), "is less than the quota"));
            }
        }
        complaints
    }
}

impl Serialize for Allowance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (kind, amount) in &self.0 {
            match kind.as_str() {
                "memory" => map.serialize_entry("memory", amount)?,
                kind => map.serialize_entry(kind, &decimal(*amount))?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Allowance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_map(AllowanceVisitor);
        }
        Ok(Self(Deserialize::deserialize(deserializer)?))
    }
}

struct AllowanceVisitor;

impl<'de> Visitor<'de> for AllowanceVisitor {
    type Value = Allowance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("amounts such as {\"cpu\": 10, \"memory\": \"64GiB\", \"gpu\": 2}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Allowance, A::Error> {
        let mut amounts = BTreeMap::new();
        while let Some(kind) = map.next_key::<Name>()? {
            let amount = match kind.as_str() {
                "memory" => map.next_value::<Bytes>()?.0,
                _ => map.next_value::<Millis>()?.0,
            };
            if amounts.insert(kind, amount).is_some() {
                return Err(de::Error::custom("a kind of resource is named twice"));
            }
            // Cpu and memory besides.
            if amounts.len() > RESOURCE_KINDS_MAX + 2 {
                return Err(de::Error::custom(format!("more than {} kinds of resources", RESOURCE_KINDS_MAX + 2)));
            }
        }
        Ok(Allowance(amounts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> NamespaceRules {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_amounts_read_like_resources() {
        assert_eq!(rules("{}"), NamespaceRules::default());
        let some = rules(r#"{"weight":2,"quota":{"cpu":0.5,"memory":"1KiB","gpu":1},"reclaim":"never"}"#);
        let json = serde_json::to_string(&some).unwrap();
        let expected = r#"{"weight":2,"quota":{"cpu":0.5,"gpu":1,"memory":1024},"limit":{},"reclaim":"never","max_unfinished":null}"#;
        assert_eq!(json, expected);
        assert_eq!(rules(&json), some);
    }

    #[test]
    fn the_command_line_reads_what_it_prints() {
        for text in ["", "cpu=0.5,gpu=2,memory=64GiB"] {
            assert_eq!(text.parse::<Allowance>().unwrap().to_string(), text);
        }
        for bad in ["cpu=1,cpu=2", "cpu", "cpu=", "cpu=-1", "cpu=NaN", "memory=lots", "a b=1"] {
            assert!(bad.parse::<Allowance>().is_err(), "{bad}");
        }
    }

    #[test]
    fn complaints_name_their_field() {
        for (json, pointer) in [
            (r#"{"weight":0}"#, "/weight"),
            (r#"{"weight":1001}"#, "/weight"),
            (r#"{"quota":{"gpu":2},"limit":{"gpu":1}}"#, "/limit/gpu"),
        ] {
            let complaints = rules(json).complaints();
            assert_eq!(complaints.iter().map(|c| c.pointer.as_str()).collect::<Vec<_>>(), [pointer], "{json}");
        }
        for bad in [
            r#"{"quota":{"cpu":-1}}"#,
            r#"{"quota":{"a b":1}}"#,
            r#"{"quota":[]}"#,
            r#"{"limit":{"memory":"lots"}}"#,
            r#"{"limit":{"cpu":1,"cpu":2}}"#,
            r#"{"reclaim":"maybe"}"#,
            r#"{"max_unfinished":-1}"#,
            r#"{"share":1}"#,
        ] {
            assert!(serde_json::from_str::<NamespaceRules>(bad).is_err(), "{bad}");
        }
        assert_eq!(rules(r#"{"quota":{"gpu":2},"limit":{"gpu":2,"cpu":0}}"#).complaints(), []);
    }

    #[test]
    fn only_the_kinds_that_both_name_are_compared() {
        let rules = rules(r#"{"quota":{"gpu":1},"limit":{"gpu":2}}"#);
        let one = |json: &str| serde_json::from_str::<Resources>(json).unwrap();
        let (gpu, cpu) = (one(r#"{"cpu":8,"gpu":1}"#), one(r#"{"cpu":8}"#));
        let held = one(r#"{"cpu":99,"gpu":1}"#);
        assert!(rules.covers(&gpu, &Resources::default()));
        assert!(!rules.covers(&gpu, &held), "the second one is borrowed");
        assert!(!rules.covers(&cpu, &Resources::default()), "nothing is guaranteed of it");
        assert_eq!(rules.limit.times(&gpu, &held), 1);
        assert_eq!(rules.limit.times(&cpu, &one(r#"{"gpu":5}"#)), u64::MAX, "what is over does not touch the others");
    }
}
