//! Resources: what a task asks for and what a worker has.
//!
//! Inside everything is an integer: cpu in millicores, memory in bytes, other kinds in thousandths
//! of a device. JSON has cores (`0.5`), bytes or `"512MiB"`, and devices (`1`).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{RESOURCE_KINDS_MAX, RESOURCE_UNITS_MAX};
use crate::name::Name;

/// An amount of each kind of resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// Other kinds (`gpu`, licences …) in thousandths of one.
    pub other_millis: BTreeMap<Name, u64>,
}

impl Resources {
    pub fn new(cpu_millis: u64, memory_bytes: u64) -> Self {
        Self { cpu_millis, memory_bytes, other_millis: BTreeMap::new() }
    }

    /// Whether `self` fits into `free`, kind by kind.
    pub fn fits(&self, free: &Self) -> bool {
        self.cpu_millis <= free.cpu_millis
            && self.memory_bytes <= free.memory_bytes
            && self.other_millis.iter().all(|(kind, n)| *n <= free.other(kind))
    }

    pub fn other(&self, kind: &Name) -> u64 {
        self.other_millis.get(kind).copied().unwrap_or(0)
    }

    /// Of one kind, by its name in JSON.
    pub fn amount(&self, kind: &Name) -> u64 {
        match kind.as_str() {
            "cpu" => self.cpu_millis,
            "memory" => self.memory_bytes,
            _ => self.other(kind),
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.cpu_millis = self.cpu_millis.saturating_add(more.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_add(more.memory_bytes);
        for (kind, n) in &more.other_millis {
            let held = self.other_millis.entry(kind.clone()).or_default();
            *held = held.saturating_add(*n);
        }
    }

    /// Takes `less` away; what would fall below zero becomes zero.
    pub fn subtract(&mut self, less: &Self) {
        self.cpu_millis = self.cpu_millis.saturating_sub(less.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_sub(less.memory_bytes);
        for (kind, n) in &less.other_millis {
            if let Some(held) = self.other_millis.get_mut(kind) {
                *held = held.saturating_sub(*n);
                if *held == 0 {
                    self.other_millis.remove(kind);
                }
            }
        }
    }

    pub fn minus(mut self, less: &Self) -> Self {
        self.subtract(less);
        self
    }
}

/// An amount of a kind as users count it: cores, bytes or devices.
pub fn in_units(kind: &Name, amount: u64) -> f64 {
    if kind.as_str() == "memory" { amount as f64 } else { amount as f64 / 1_000.0 }
}

/// Reads `"512MiB"`, `"2GB"` or plain bytes. Binary (`KiB MiB GiB TiB`) and decimal (`kB MB GB TB`) units.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let text = text.trim();
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits.trim_end(), *unit)))
        .unwrap_or((text, 1));
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size such as 1048576 or \"512MiB\""))?;
    number.checked_mul(unit).filter(|n| *n <= RESOURCE_UNITS_MAX).ok_or_else(|| format!("{text:?} is too large"))
}

/// Writes bytes with the largest binary unit that divides them.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((suffix, unit)) => format!("{}{suffix}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Turns a number of cores or devices into thousandths.
pub fn parse_millis(number: f64) -> Result<u64, String> {
    let millis = (number * 1000.0).round();
    if !(number.is_finite() && number >= 0.0 && millis <= RESOURCE_UNITS_MAX as f64) {
        return Err(format!("{number} is not an amount of 0 or more"));
    }
    // A little is not nothing: what is asked for counts.
    Ok(if number > 0.0 { (millis as u64).max(1) } else { 0 })
}

impl Serialize for Resources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.cpu_millis, self.memory_bytes, &self.other_millis).serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(2 + self.other_millis.len()))?;
        map.serialize_entry("cpu", &decimal(self.cpu_millis))?;
        map.serialize_entry("memory", &self.memory_bytes)?;
        for (kind, millis) in &self.other_millis {
            map.serialize_entry(kind.as_str(), &decimal(*millis))?;
        }
        map.end()
    }
}

/// A JSON number without a needless fraction: 1 and not 1.0.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Decimal {
    Whole(u64),
    Fraction(f64),
}

pub(crate) fn decimal(millis: u64) -> Decimal {
    if millis.is_multiple_of(1000) { Decimal::Whole(millis / 1000) } else { Decimal::Fraction(millis as f64 / 1000.0) }
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_map(ResourcesVisitor);
        }
        let (cpu_millis, memory_bytes, other_millis) = Deserialize::deserialize(deserializer)?;
        Ok(Self { cpu_millis, memory_bytes, other_millis })
    }
}

struct ResourcesVisitor;

impl<'de> Visitor<'de> for ResourcesVisitor {
    type Value = Resources;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resources such as {\"cpu\": 0.5, \"memory\": \"256MiB\", \"gpu\": 1}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Resources, A::Error> {
        // What the map does not name keeps the default of a task: one core, no memory.
        let (mut cpu, mut memory, mut resources) = (None, None, Resources::new(1000, 0));
        while let Some(kind) = map.next_key::<String>()? {
            let wrong = |error: &dyn fmt::Display| de::Error::custom(format!("{kind:?}: {error}"));
            let before = match kind.as_str() {
                "cpu" => cpu.replace(map.next_value::<Millis>()?.0),
                "memory" => memory.replace(map.next_value::<Bytes>()?.0),
                _ => {
                    let name = Name::new(&kind).map_err(|e| wrong(&e))?;
                    resources.other_millis.insert(name, map.next_value::<Millis>()?.0)
                }
            };
            if before.is_some() {
                return Err(wrong(&"named twice"));
            }
            if resources.other_millis.len() > RESOURCE_KINDS_MAX {
                return Err(de::Error::custom(format!("more than {RESOURCE_KINDS_MAX} kinds of resources")));
            }
        }
        resources.cpu_millis = cpu.unwrap_or(resources.cpu_millis);
        resources.memory_bytes = memory.unwrap_or(resources.memory_bytes);
        resources.other_millis.retain(|_, millis| *millis > 0);
        Ok(resources)
    }
}

/// An amount of cores or devices, in thousandths.
pub(crate) struct Millis(pub(crate) u64);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_millis(f64::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// Bytes as a number or with a unit.
pub(crate) struct Bytes(pub(crate) u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected bytes (1048576) or a size such as \"512MiB\"")]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes) if bytes <= RESOURCE_UNITS_MAX => Ok(Self(bytes)),
            Raw::Number(bytes) => Err(de::Error::custom(format!("{bytes} bytes are too many"))),
            Raw::Text(text) => parse_bytes(&text).map(Self).map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_cores_sizes_and_devices() {
        let json = r#"{"cpu":0.5,"memory":"256MiB","gpu":1}"#;
        let resources: Resources = serde_json::from_str(json).unwrap();
        assert_eq!((resources.cpu_millis, resources.memory_bytes), (500, 256 << 20));
        assert_eq!(serde_json::to_string(&resources).unwrap(), r#"{"cpu":0.5,"memory":268435456,"gpu":1}"#);
        for bad in [r#"{"cpu":-1}"#, r#"{"cpu":1e300}"#, r#"{"memory":"lots"}"#, r#"{"a b":1}"#, r#"{"memory":-5}"#] {
            assert!(serde_json::from_str::<Resources>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_kind_is_named_once_and_errors_name_it() {
        let error = |json: &str| serde_json::from_str::<Resources>(json).unwrap_err().to_string();
        assert!(error(r#"{"gpu":1,"gpu":2}"#).starts_with("\"gpu\": named twice"));
        assert!(error(r#"{"memory":1,"memory":"5MiB"}"#).starts_with("\"memory\": named twice"));
        assert!(error(r#"{"cpu":1,"gpu":-1}"#).starts_with("-1 is not an amount"), "the path says which");
    }

    #[test]
    fn fits_compares_kind_by_kind() {
        let gpu: Resources = serde_json::from_str(r#"{"cpu":1,"gpu":1}"#).unwrap();
        assert!(!gpu.fits(&Resources::new(4000, 0)));
        let free: Resources = serde_json::from_str(r#"{"cpu":1,"gpu":2}"#).unwrap();
        assert!(gpu.fits(&free));
        assert_eq!(free.minus(&gpu).minus(&gpu), Resources::new(0, 0));
    }
}
