//! The cluster's own identity and that of its replicas' data folders.

use std::sync::Arc;

use quorate_types::ReplicaId;

use super::Result;
use crate::outcome::{Outcome, Rejection};
use crate::state::State;

impl State {
    pub(super) fn name_cluster(&mut self, id: u64) -> Outcome {
        let named = &mut self.cluster.scalars.cluster_id;
        if *named == 0 {
            *named = id;
        }
        Outcome::Done
    }

    pub(super) fn identify_replica(&mut self, replica: ReplicaId, storage: u64) -> Result {
        let bound = *self.cluster.storages.entry(replica).or_insert(storage);
        if bound == storage { Ok(Outcome::Done) } else { Err(Rejection::OtherStorage(replica)) }
    }

    pub(super) fn announce_replica(&mut self, replica: ReplicaId, http: &str) -> Outcome {
        self.cluster.https.insert(replica, Arc::from(http));
        Outcome::Done
    }
}
