//! What is said of resources of the cluster, rates and locks, and what would open them.

use quorate_types::gate::ElementName;
use quorate_types::{Name, Span, Timestamp};

use super::{Circumstances, list, ordinal, plural};

/// What comes before it has not started, and will take what is left.
const TAKEN_AHEAD: &str = ", and what comes before it takes the rest";

pub(super) fn resource(resource: &Name, amount: u32, total: u64, held: u64, holders: &[ElementName]) -> String {
    if total == 0 && held == 0 {
        return format!("It needs {amount} of {resource}, of which the cluster has none.");
    }
    let by = if holders.is_empty() { String::new() } else { format!(" by {}", who(holders)) };
    let ahead = if held + u64::from(amount) > total { "" } else { TAKEN_AHEAD };
    format!(
        "It needs {amount} of the {total} {resource} of the cluster: {held} {} held{by}{ahead}.",
        plural(held, "is", "are")
    )
}

pub(super) fn resource_ends(resource: &Name, amount: u32, total: u64, held: u64) -> String {
    match u64::from(amount) {
        amount if amount > total => format!("the cluster has {amount} {resource} or more"),
        amount => {
            let short = (held + amount).saturating_sub(total).max(1);
            format!("{short} {resource} {} free", plural(short, "comes", "come"))
        }
    }
}

pub(super) fn rate(key: &Name, limit: u32, per: Span, out: u64) -> String {
    let ahead = if out >= u64::from(limit) { "" } else { TAKEN_AHEAD };
    let attempts = plural(u64::from(limit), "attempt", "attempts");
    format!(
        "The rate {key} lets {limit} {attempts} start in any {per}: {out} {} started{ahead}.",
        plural(out, "has", "have")
    )
}

pub(super) fn rate_ends(key: &Name, next: Option<Timestamp>, about: &Circumstances<'_>) -> String {
    match next {
        Some(next) => format!("the rate {key} lets the next one start at {}", about.at(next)),
        None => format!("what comes before it has started, and the rate {key} lets another one start"),
    }
}

pub(super) fn lock(lock: &Name, holder: &ElementName, place: u64) -> String {
    let holder = who(std::slice::from_ref(holder));
    format!("It waits for the lock {lock}, which {holder} holds. It is the {} in line.", ordinal(place))
}

pub(super) fn lock_ends(lock: &Name, holder: &ElementName) -> String {
    format!("{} gives back the lock {lock}, or ends", who(std::slice::from_ref(holder)))
}

fn who(elements: &[ElementName]) -> String {
    let name = |it: &ElementName| format!("task {}[{}] of job {}", it.task, it.index, it.job);
    list(&elements.iter().map(name).collect::<Vec<_>>())
}
