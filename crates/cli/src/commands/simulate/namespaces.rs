//! What namespaces are entitled to in a replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::{Name, NamespaceRules};

use crate::args::RuleArgs;
use crate::commands::{Context, all_pages};
use crate::exit::Failure;
use crate::runtime::block_on;

/// As written, or else what they have on the cluster.
pub(super) fn given(args: &RuleArgs, context: &Context) -> Result<BTreeMap<Name, Arc<NamespaceRules>>, Failure> {
    if args.namespaces.is_some() {
        return written(args);
    }
    let spaces = block_on(all_pages(async |cursor| context.client.namespaces(cursor).await))?;
    let recorded = spaces.into_iter().filter(|space| space.recorded).map(|space| (space.name, space.rules));
    Ok(weighed(recorded.collect(), args))
}

/// The records of `--namespaces`, and the weights of `--weights`.
pub(super) fn written(args: &RuleArgs) -> Result<BTreeMap<Name, Arc<NamespaceRules>>, Failure> {
    let Some(path) = &args.namespaces else { return Ok(weighed(BTreeMap::new(), args)) };
    let refused = |why: String| Failure::Usage(format!("--namespaces {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let records: BTreeMap<Name, NamespaceRules> =
        serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    for (name, rules) in &records {
        if let Some(complaint) = rules.complaints().first() {
            return Err(refused(format!("/{name}{}: {}", complaint.pointer, complaint.detail)));
        }
    }
    Ok(weighed(records, args))
}

fn weighed(mut records: BTreeMap<Name, NamespaceRules>, args: &RuleArgs) -> BTreeMap<Name, Arc<NamespaceRules>> {
    for (name, weight) in &args.weights {
        records.entry(name.clone()).or_default().weight = *weight;
    }
    records.into_iter().map(|(name, rules)| (name, Arc::new(rules))).collect()
}
