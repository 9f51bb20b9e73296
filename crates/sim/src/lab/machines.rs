//! Machines as people write them: `16cpu,64GiB*4`.

use std::collections::{BTreeMap, HashSet};

use quorate_types::limits::RESOURCE_UNITS_MAX;
use quorate_types::resources::{parse_bytes, parse_millis};
use quorate_types::{Name, Resources, Taint};

use super::job::Machine;

/// Machines of one description. A placement looks at each of them; a cluster has ten thousand at most.
const COUNT_MAX: usize = 10_000;

/// Why a text describes no machines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{0:?} is no part of a machine: write 16cpu, 64GiB, gpu=2, label:zone=a or taint:spot")]
    Part(String),
    #[error("{0:?} is not a number of machines from 1 to {COUNT_MAX}")]
    Count(String),
    #[error("{0}")]
    Amount(String),
    #[error("{0:?} has no cpu: write 16cpu first")]
    NoCpu(String),
}

/// Some machines that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    pub capacity: Resources,
    pub labels: BTreeMap<Name, String>,
    pub taints: Vec<Taint>,
    pub count: usize,
}

impl std::str::FromStr for MachineSpec {
    type Err = SpecError;

    /// Reads `CORES cpu [,MEMORY] [,KIND=N] [,label:KEY=VALUE] [,taint:KEY[=VALUE]] [*COUNT]`.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (parts, count) = match text.rsplit_once('*') {
            Some((parts, count)) => (parts, parse_count(count)?),
            None => (text, 1),
        };
        let mut spec = Self { capacity: Resources::default(), labels: BTreeMap::new(), taints: Vec::new(), count };
        for part in parts.split(',').map(str::trim) {
            spec.add_part(part)?;
        }
        if spec.capacity.cpu_millis == 0 {
            return Err(SpecError::NoCpu(text.to_owned()));
        }
        Ok(spec)
    }
}

fn parse_count(text: &str) -> Result<usize, SpecError> {
    let count = text.trim().parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| SpecError::Count(text.to_owned()))
}

impl MachineSpec {
    fn add_part(&mut self, part: &str) -> Result<(), SpecError> {
        let unknown = || SpecError::Part(part.to_owned());
        let millis = |text: &str| {
            let number: f64 = text.trim().parse().map_err(|_| unknown())?;
            parse_millis(number).map_err(SpecError::Amount)
        };
        if let Some(label) = part.strip_prefix("label:") {
            let (key, value) = label.split_once('=').ok_or_else(unknown)?;
            self.labels.insert(Name::new(key).map_err(|_| unknown())?, value.to_owned());
        } else if let Some(taint) = part.strip_prefix("taint:") {
            self.taints.push(taint.parse().map_err(|_| unknown())?);
        } else if let Some(cores) = part.strip_suffix("cpu") {
            self.capacity.cpu_millis = millis(cores)?;
        } else if let Some((kind, number)) = part.split_once('=') {
            let kind = Name::new(kind).map_err(|_| unknown())?;
            self.capacity.other_millis.insert(kind, millis(number)?);
        } else {
            self.capacity.memory_bytes = parse_bytes(part).map_err(|_| unknown())?;
        }
        Ok(())
    }

    /// Appends the machines, called `PREFIX-1` and so on; a name that is taken is left out.
    pub fn append(&self, prefix: &str, machines: &mut Vec<Machine>) {
        let mut taken: HashSet<Name> = machines.iter().map(|machine| machine.name.clone()).collect();
        let free = (1..).map(|n| numbered(prefix, n)).filter(|name| taken.insert(name.clone()));
        let added = free.take(self.count);
        let machine = |name| Machine {
            labels: self.labels.clone(),
            taints: self.taints.clone(),
            ..Machine::new(name, self.capacity.clone())
        };
        machines.extend(added.map(machine).collect::<Vec<_>>());
    }
}

fn numbered(prefix: &str, n: usize) -> Name {
    Name::new(&format!("{prefix}-{n}")).expect("a short prefix and digits are a name")
}

/// One machine of so many processors, and of memory without end: what traces of parallel machines speak of.
pub fn pool(processors: u64) -> Vec<Machine> {
    let cpu_millis = processors.saturating_mul(1000).min(RESOURCE_UNITS_MAX);
    let capacity = Resources::new(cpu_millis, RESOURCE_UNITS_MAX);
    vec![Machine::new(numbered("pool", 1), capacity)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_read_as_people_write_them() {
        let mut gpus = Resources::new(500, 0);
        gpus.other_millis.insert("gpu".parse().unwrap(), 2000);
        for (text, capacity, count) in [
            ("16cpu,64GiB*4", Resources::new(16_000, 64 << 30), 4),
            ("16cpu", Resources::new(16_000, 0), 1),
            (" 0.5cpu , gpu=2 * 3", gpus, 3),
        ] {
            let spec = MachineSpec { capacity, labels: BTreeMap::new(), taints: Vec::new(), count };
            assert_eq!(text.parse(), Ok(spec), "{text}");
        }
        let marked: MachineSpec = "4cpu,label:zone=eu,label:mem_gb=64,taint:spot,taint:use=ml*2".parse().unwrap();
        let labels: Vec<_> = marked.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let taints: Vec<_> = marked.taints.iter().map(ToString::to_string).collect();
        assert_eq!((labels.join(" "), taints.join(" ")), ("mem_gb=64 zone=eu".into(), "spot use=ml".into()));
    }

    #[test]
    fn what_describes_no_machine_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "no part"),
            ("16", "no cpu"),
            ("64GiB*4", "no cpu"),
            ("0cpu", "no cpu"),
            ("xcpu", "\"xcpu\" is no part"),
            ("4cpu*0", "\"0\" is not a number of machines"),
            ("4cpu*", "\"\" is not a number of machines"),
            ("4cpu,lots", "\"lots\" is no part"),
            ("4cpu,label:zone", "\"label:zone\" is no part"),
            ("4cpu,taint:a b", "is no part"),
            ("-1cpu", "-1 is not an amount"),
        ] {
            let error = text.parse::<MachineSpec>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn names_do_not_collide() {
        let mut machines = Vec::new();
        let spec: MachineSpec = "1cpu*2".parse().unwrap();
        spec.append("worker", &mut machines);
        spec.append("worker", &mut machines);
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(names, ["worker-1", "worker-2", "worker-3", "worker-4"]);
    }
}
