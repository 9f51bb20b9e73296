//! The routes below `/v1/workers`.

use http::Method;
use quorate_types::api::{DrainWorker, Page, WorkerEnded, WorkerTaints, WorkerView};
use quorate_types::{Epoch, LogIndex, Name, Span, Taint};

use crate::error::Error;
use crate::jobs::{accepted_index, gone_is_done};
use crate::transport::{Client, Request};

impl Client {
    /// One page of workers.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn workers(&self, cursor: Option<&str>) -> Result<Page<WorkerView>, Error> {
        let request = Request::get("/v1/workers").query("limit", Some(1000)).query("cursor", cursor);
        self.call(&request).await?.json()
    }

    /// # Errors
    /// `not_found` when no worker of that name ever registered.
    pub async fn worker(&self, name: &Name) -> Result<WorkerView, Error> {
        self.call(&Request::get(worker_path(name, ""))).await?.json()
    }

    /// Gives the worker no new tasks; what it runs goes on.
    ///
    /// # Errors
    /// `not_found` when there is no such worker.
    pub async fn drain(&self, name: &Name) -> Result<LogIndex, Error> {
        self.act_on_worker(name, "/drain").await
    }

    /// The same; what still runs after `within` is ended and placed elsewhere.
    ///
    /// # Errors
    /// `not_found` when there is no such worker.
    pub async fn drain_within(&self, name: &Name, within: Span) -> Result<LogIndex, Error> {
        let content = DrainWorker { deadline: Some(within) };
        let request = Request::repeatable(Method::POST, worker_path(name, "/drain")).json(&content)?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    /// # Errors
    /// `not_found` when there is no such worker.
    pub async fn undrain(&self, name: &Name) -> Result<LogIndex, Error> {
        self.act_on_worker(name, "/undrain").await
    }

    /// Gives the worker these taints besides its own, instead of those that it was given before.
    ///
    /// # Errors
    /// `not_found` when there is no such worker.
    pub async fn taint(&self, name: &Name, taints: Vec<Taint>) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::PUT, worker_path(name, "/taints")).json(&WorkerTaints { taints })?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    /// Forgets a worker.
    ///
    /// # Errors
    /// `conflict` while it is connected or something may run on it.
    pub async fn remove_worker(&self, name: &Name) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::DELETE, worker_path(name, ""));
        let (answer, doubt) = self.call_noting_doubt(&request).await;
        gone_is_done(answer, doubt)
    }

    /// For watchdogs: the agent of this registration died and all of its attempts have ended.
    ///
    /// # Errors
    /// `conflict` when a newer registration has taken its place.
    pub async fn worker_ended(&self, name: &Name, epoch: Epoch) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::POST, worker_path(name, "/ended")).json(&WorkerEnded { epoch })?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    async fn act_on_worker(&self, name: &Name, verb: &str) -> Result<LogIndex, Error> {
        let answer = self.call(&Request::repeatable(Method::POST, worker_path(name, verb))).await?;
        Ok(accepted_index(&answer))
    }
}

fn worker_path(name: &Name, rest: &str) -> String {
    format!("/v1/workers/{name}{rest}")
}
