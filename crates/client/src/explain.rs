//! Why things are where they are, and what a submission would do.

use bytes::Bytes;
use http::{HeaderName, Method};
use quorate_types::JobId;
use quorate_types::explain::{DryRun, Explanation, JobExplanation};

use crate::error::Error;
use crate::jobs::job_path;
use crate::logs::TaskAddress;
use crate::transport::{Client, Request};

impl Client {
    /// Why one element is where it is.
    ///
    /// # Errors
    /// `not_found` when there is no such task; otherwise when no replica could be asked.
    pub async fn explain(&self, address: &TaskAddress) -> Result<Explanation, Error> {
        self.call(&Request::get(address.path("/explain"))).await?.json()
    }

    /// Why a job is where it is.
    ///
    /// # Errors
    /// `not_found` when there is no such job; otherwise when no replica could be asked.
    pub async fn explain_job(&self, id: JobId) -> Result<JobExplanation, Error> {
        self.call(&Request::get(job_path(id, "/explain"))).await?.json()
    }

    /// What the submission of a job would do. It changes nothing.
    ///
    /// # Errors
    /// As the submission itself would.
    pub async fn dry_run(&self, job: Bytes, key: Option<&str>) -> Result<DryRun, Error> {
        let mut request = Request::repeatable(Method::POST, "/v1/jobs").query("dry_run", Some(true));
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key)?;
        }
        self.call(&request.body("application/json", job)).await?.json()
    }
}
