//! The routes below `/v1/locks`.

use http::Method;
use quorate_types::api::Page;
use quorate_types::gate::{AcquireLock, CheckLock, Claimant, LockAnswer, LockView};
use quorate_types::{Name, Span};

use crate::error::Error;
use crate::transport::{Client, Request};

impl Client {
    /// One page of the locks that somebody holds, of one namespace or all.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn locks(&self, namespace: Option<&Name>, cursor: Option<&str>) -> Result<Page<LockView>, Error> {
        let request = Request::get("/v1/locks").query("limit", Some(1000));
        let request = request.query("namespace", namespace).query("cursor", cursor);
        self.call(&request).await?.json()
    }

    /// # Errors
    /// `not_found` when nobody holds it.
    pub async fn lock(&self, name: &Name, namespace: Option<&Name>) -> Result<LockView, Error> {
        self.call(&Request::get(lock_path(name, "")).query("namespace", namespace)).await?.json()
    }

    /// Asks for a lock on behalf of an attempt, which stays in line for `wait`. Done twice it does the same.
    ///
    /// # Errors
    /// `conflict` when the attempt does not live any more, or somebody else holds the lock and `wait` is nothing.
    pub async fn acquire_lock(&self, name: &Name, by: &Claimant, wait: Span) -> Result<LockAnswer, Error> {
        let Claimant { job, task, index, fence } = by.clone();
        let content = AcquireLock { job, task, index, fence, wait: Some(wait) };
        let request = Request::repeatable(Method::POST, lock_path(name, "/acquire")).json(&content)?;
        self.call(&request.wait(wait.as_duration())).await?.json()
    }

    /// Gives the lock back, or leaves the line.
    ///
    /// # Errors
    /// `conflict` when the attempt has nothing to do with the lock, or does not live any more.
    pub async fn release_lock(&self, name: &Name, by: &Claimant) -> Result<(), Error> {
        let request = Request::repeatable(Method::POST, lock_path(name, "/release")).json(by)?;
        let (answer, doubt) = self.call_noting_doubt(&request).await;
        match answer {
            // The first try may have done it.
            Err(error) if doubt && error.code() == Some(quorate_types::Code::Conflict) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// # Errors
    /// `conflict` when this is not the token of the one who holds the lock.
    pub async fn check_lock(&self, name: &Name, check: &CheckLock) -> Result<LockView, Error> {
        self.call(&Request::repeatable(Method::POST, lock_path(name, "/check")).json(check)?).await?.json()
    }
}

fn lock_path(name: &Name, rest: &str) -> String {
    format!("/v1/locks/{name}{rest}")
}
