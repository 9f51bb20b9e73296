//! Proposals that were applied, so that a repetition gets the first outcome and changes nothing.

use std::collections::BTreeMap;

use imbl::OrdMap;
use quorate_types::LogIndex;
use serde::{Deserialize, Deserializer, Serialize};

use crate::command::Origin;
use crate::limits::ORIGINS_MAX;
use crate::outcome::Outcome;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dedup {
    /// By incarnation.
    pub(crate) origins: OrdMap<u64, Answers>,
}

/// The outcomes that one incarnation of a replica may still ask for again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) answered_below: u64,
    /// When the origin was last heard of; the longest silent one is dropped when there are too many.
    pub(crate) heard: LogIndex,
    #[serde(deserialize_with = "outcomes")]
    pub(crate) outcomes: OrdMap<u64, Outcome>,
}

/// [`OrdMap`]'s own way makes room for as many entries as the input claims.
fn outcomes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OrdMap<u64, Outcome>, D::Error> {
    BTreeMap::<u64, Outcome>::deserialize(deserializer).map(OrdMap::from_iter)
}

impl Dedup {
    /// The outcome of an earlier application of the same proposal.
    pub(crate) fn earlier(&self, origin: &Origin) -> Option<Outcome> {
        let answers = self.origins.get(&origin.incarnation)?;
        if origin.sequence < answers.answered_below {
            // Nobody waits for this answer: the proposer said so itself.
            return Some(Outcome::Done);
        }
        answers.outcomes.get(&origin.sequence).cloned()
    }

    pub(crate) fn remember(&mut self, origin: &Origin, index: LogIndex, outcome: &Outcome) {
        let answers = self.origins.entry(origin.incarnation).or_default();
        answers.heard = index;
        answers.answered_below = answers.answered_below.max(origin.answered_below);
        answers.outcomes.insert(origin.sequence, outcome.clone());
        while let Some((sequence, _)) = answers.outcomes.get_min() {
            if *sequence >= answers.answered_below {
                break;
            }
            let sequence = *sequence;
            answers.outcomes.remove(&sequence);
        }
        if self.origins.len() > ORIGINS_MAX {
            let silent = self.origins.iter().min_by_key(|(id, answers)| (answers.heard, **id)).map(|(id, _)| *id);
            silent.map(|id| self.origins.remove(&id));
        }
    }
}
