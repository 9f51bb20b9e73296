//! Tasks that start together.

use std::collections::{BTreeMap, HashSet};

use super::{Complaints, Shape};
use crate::job::TaskSpec;
use crate::limits::{GANG_SIZE_MAX, HOST_BYTES_MAX};
use crate::need::Need;

/// Checks the host of a worker. It goes into a list with commas.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() || host.len() > HOST_BYTES_MAX {
        return Err(format!("must be 1 to {HOST_BYTES_MAX} bytes long"));
    }
    match host.chars().find(|c| !c.is_ascii_graphic() || *c == ',') {
        Some(c) => Err(format!("{c:?} is no part of a host's name or address")),
        None => Ok(()),
    }
}

impl Complaints {
    /// All members of a gang become ready at once, and as many as there are may run.
    pub(super) fn check_gangs(&mut self, tasks: &[TaskSpec], shape: Shape) {
        let mut gangs: BTreeMap<&str, (&TaskSpec, HashSet<&Need>, u64)> = BTreeMap::new();
        for (at, task) in tasks.iter().enumerate() {
            let Some(name) = task.gang.as_ref().map(|gang| gang.as_str()) else { continue };
            let place = |field: &str| shape.place(at, field);
            let (first, needs, size) = gangs.entry(name).or_insert_with(|| (task, task.needs.iter().collect(), 0));
            let before = *size;
            *size += u64::from(task.count);
            if (before..*size).contains(&GANG_SIZE_MAX) {
                self.add(place("gang"), format!("gang {name:?} has more than {GANG_SIZE_MAX} elements"));
            }
            if task.max_parallel.is_some() {
                self.add(place("max_parallel"), "all elements of a gang run at once");
            }
            if task.movable {
                self.add(place("movable"), "a gang stays where it is");
            }
            if task.rate.is_some() {
                self.add(place("rate"), "all elements of a gang start at once");
            }
            if task.needs.iter().any(|need| matches!(need, Need::Each { .. })) {
                self.add(place("needs"), "elements of a gang can't wait one by one");
            } else if task.needs.len() != first.needs.len() || !task.needs.iter().all(|need| needs.contains(need)) {
                let first = first.name.as_str();
                self.add(place("needs"), format!("must be those of {first:?}, which is in the same gang"));
            }
        }
    }
}
