//! The routes below `/v1/cluster`.

use http::Method;
use quorate_types::api::{AddReplica, ClusterView, DigestView, TransferLeader};
use quorate_types::{Code, LogIndex, ReplicaId};

use crate::error::Error;
use crate::jobs::{accepted_index, gone_is_done};
use crate::transport::{Client, Request};

impl Client {
    /// Leader, term and replicas.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn cluster(&self) -> Result<ClusterView, Error> {
        self.call(&Request::get("/v1/cluster")).await?.json()
    }

    /// The same as the asked replica sees it at the moment, also while there is no leader.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn cluster_stale(&self) -> Result<ClusterView, Error> {
        self.call(&Request::get("/v1/cluster").query("consistency", Some("stale"))).await?.json()
    }

    /// The digest of the asked replica's state.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn digest(&self) -> Result<DigestView, Error> {
        self.call(&Request::get("/v1/cluster/digest").query("consistency", Some("stale"))).await?.json()
    }

    /// Adds a replica as a learner, and as a voter once it has caught up.
    ///
    /// # Errors
    /// `conflict` when the id is in use or another change of the membership is under way.
    pub async fn add_replica(&self, replica: &AddReplica) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::POST, "/v1/cluster/replicas").json(replica)?;
        match self.call_noting_doubt(&request).await {
            (Ok(answer), _) => Ok(accepted_index(&answer)),
            (Err(error), true) if error.code() == Some(Code::Conflict) => {
                let cluster = self.cluster().await?;
                let added = cluster.replicas.iter().any(|r| r.id == replica.id && r.peer == replica.peer);
                if added { Ok(cluster.index) } else { Err(error) }
            }
            (Err(error), _) => Err(error),
        }
    }

    /// # Errors
    /// `conflict` when the cluster would be left without a majority.
    pub async fn remove_replica(&self, id: ReplicaId) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::DELETE, format!("/v1/cluster/replicas/{id}"));
        let (answer, doubt) = self.call_noting_doubt(&request).await;
        gone_is_done(answer, doubt)
    }

    /// Hands leadership over, to `to` or to the most caught-up follower.
    ///
    /// # Errors
    /// `conflict` when that replica can't lead.
    pub async fn transfer_leader(&self, to: Option<ReplicaId>) -> Result<LogIndex, Error> {
        let path = "/v1/cluster/transfer-leader";
        // Without a name, a repeated request would move leadership a second time.
        let request = match to {
            Some(_) => Request::repeatable(Method::POST, path),
            None => Request::once(Method::POST, path),
        };
        let answer = self.call(&request.json(&TransferLeader { to })?).await?;
        Ok(accepted_index(&answer))
    }
}
