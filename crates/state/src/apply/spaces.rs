//! What namespaces are entitled to.

use std::sync::Arc;

use quorate_types::{Name, NamespaceRules};

use super::Result;
use crate::limits::NAMESPACES_MAX;
use crate::outcome::{Outcome, Rejection};
use crate::state::State;

impl State {
    /// What runs goes on, also where that is more than the new limit: nothing starts until it is less.
    pub(super) fn set_namespace(&mut self, namespace: &Name, rules: &NamespaceRules) -> Result {
        let known = self.cluster.rules.contains_key(namespace);
        if !known && self.cluster.rules.len() >= NAMESPACES_MAX {
            return Err(Rejection::TooManyNamespaces(self.cluster.rules.len() as u64));
        }
        let held = self.space(namespace).map(|space| space.held.clone()).unwrap_or_default();
        match rules.limit.kinds().any(|(kind, limit)| held.amount(kind) > limit) {
            true => self.cluster.over.insert(namespace.clone(), held),
            false => self.cluster.over.remove(namespace),
        };
        self.cluster.rules.insert(namespace.clone(), Arc::new(rules.clone()));
        Ok(Outcome::Done)
    }

    pub(super) fn reset_namespace(&mut self, namespace: &Name) -> Outcome {
        self.cluster.rules.remove(namespace);
        self.cluster.over.remove(namespace);
        Outcome::Done
    }

    /// Whether the namespace may have so many unfinished elements more.
    pub(super) fn check_namespace(&self, namespace: &Name, more: u64) -> std::result::Result<(), Rejection> {
        let rules = self.rules_of(namespace);
        let Some(most) = rules.and_then(|rules| rules.max_unfinished) else { return Ok(()) };
        if more > most {
            return Err(Rejection::NamespaceTooSmall { namespace: namespace.clone(), most });
        }
        let unfinished = self.space(namespace).map_or(0, |space| space.unfinished);
        let full = unfinished + more > most;
        if full { Err(Rejection::NamespaceFull(namespace.clone(), unfinished)) } else { Ok(()) }
    }
}
