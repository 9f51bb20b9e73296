//! Where a task may run.

use std::collections::BTreeSet;

use super::{Complaints, Shape};
use crate::constraint::Taint;
use crate::job::{Object, TaskRequest, TaskSpec};
use crate::limits::*;
use crate::name::Name;

/// Checks the taints of a worker.
pub fn check_taints(taints: &[Taint]) -> Result<(), String> {
    if taints.len() > TAINTS_MAX {
        return Err(format!("has {} taints, the most is {TAINTS_MAX}", taints.len()));
    }
    match taints.iter().enumerate().find(|(at, taint)| taints[..*at].contains(taint)) {
        Some((_, taint)) => Err(format!("taint {taint} is named twice")),
        None => Ok(()),
    }
}

impl Complaints {
    pub(super) fn check_constraints(&mut self, request: &TaskRequest, place: &dyn Fn(&str) -> String) {
        let requires = request.requires.as_deref().unwrap_or_default();
        let prefers = request.prefers.as_deref().unwrap_or_default();
        let spread = request.spread.as_deref().unwrap_or_default();
        let bounds = [
            ("requires", requires.len(), REQUIRES_MAX),
            ("prefers", prefers.len(), PREFERS_MAX),
            ("spread", spread.len(), SPREADS_MAX),
            ("anti_affinity", request.anti_affinity.as_ref().map_or(0, Vec::len), ANTI_AFFINITY_MAX),
        ];
        for (field, len, most) in bounds {
            if len > most {
                self.add(place(field), format!("{len} of them, the most is {most}"));
            }
        }
        if let Some(Err(detail)) = request.tolerations.as_deref().map(check_taints) {
            self.add(place("tolerations"), detail.replace("taint", "toleration"));
        }
        self.check_twice(requires, |at| place(&format!("requires/{at}")));
        let conditions: Vec<_> = prefers.iter().map(|preference| &preference.condition).collect();
        self.check_twice(&conditions, |at| place(&format!("prefers/{at}")));
        let labels: Vec<_> = spread.iter().map(|Object(spread)| &spread.label).collect();
        self.check_twice(&labels, |at| place(&format!("spread/{at}/label")));
        for (at, preference) in prefers.iter().enumerate() {
            if !(1..=WEIGHT_MAX).contains(&preference.weight) {
                self.add(place(&format!("prefers/{at}/weight")), format!("must be from 1 to {WEIGHT_MAX}"));
            }
        }
        for (at, _) in spread.iter().enumerate().filter(|(_, Object(spread))| spread.max == 0) {
            self.add(place(&format!("spread/{at}/max")), "must be at least 1");
        }
    }

    fn check_twice<T: Ord>(&mut self, all: &[T], place: impl Fn(usize) -> String) {
        let mut seen = BTreeSet::new();
        for (at, one) in all.iter().enumerate() {
            if !seen.insert(one) {
                self.add(place(at), "is named twice");
            }
        }
    }

    /// Each task that is named must be one of the job.
    pub(super) fn check_anti_affinity(&mut self, tasks: &[TaskSpec], shape: Shape) {
        if tasks.iter().all(|task| task.anti_affinity.is_empty()) {
            return;
        }
        let names: BTreeSet<&Name> = tasks.iter().map(|task| &task.name).collect();
        for (at, task) in tasks.iter().enumerate() {
            let place = |nth: usize| shape.place(at, format_args!("anti_affinity/{nth}"));
            self.check_twice(&task.anti_affinity, place);
            let named = task.anti_affinity.iter().enumerate().filter_map(|(nth, one)| Some((nth, one.task()?)));
            for (nth, name) in named.filter(|(_, name)| !names.contains(name)) {
                self.add(place(nth), format!("no task is called {:?}", name.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobRequest;

    /// What is sent to workers is bounded by weights: none may be much more than it says.
    #[test]
    fn the_largest_constraints_weigh_what_they_take() {
        let values: Vec<String> = (0..CONDITION_VALUES_MAX).map(|n| format!("{n:0>LABEL_VALUE_BYTES_MAX$}")).collect();
        let condition = |n: usize| format!("label{n} not in ({})", values.join(","));
        let requires: Vec<String> = (0..REQUIRES_MAX).map(condition).collect();
        let tolerations: Vec<String> = (0..TAINTS_MAX).map(|n| format!("t{n}={}", values[n])).collect();
        let json = serde_json::json!({"tasks": [{"command": ["x"], "requires": requires, "tolerations": tolerations}]});
        let job = serde_json::from_str::<JobRequest>(&json.to_string()).unwrap().validate().unwrap();
        let printed = serde_json::to_string(&job.tasks[0]).unwrap().len();
        let weight = job.tasks[0].weight();
        assert!(weight >= printed - 1_000, "{weight} for {printed} bytes");
    }
}
