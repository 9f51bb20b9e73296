//! The route `/v1/policy`.

use http::Method;
use quorate_types::Policy;
use quorate_types::policy::PolicyRequest;

use crate::error::Error;
use crate::transport::{Client, Request};

impl Client {
    /// What the scheduler goes by.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn policy(&self) -> Result<Policy, Error> {
        self.call(&Request::get("/v1/policy")).await?.json()
    }

    /// Changes what is given, and answers what holds then.
    ///
    /// # Errors
    /// When no replica could be asked.
    pub async fn change_policy(&self, change: PolicyRequest) -> Result<Policy, Error> {
        self.call(&Request::repeatable(Method::PUT, "/v1/policy").json(&change)?).await?.json()
    }
}
