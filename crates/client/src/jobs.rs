//! The routes below `/v1/jobs`, except submissions and logs.

use std::time::Duration;

use http::Method;
use quorate_types::api::{Accepted, JobView, NextTicks, Page, PauseJob, RetryJob, Submitted, TaskView};
use quorate_types::status::{JobState, TaskState};
use quorate_types::{Code, JobId, JobName, LogIndex, Name};
use tokio::time::Instant;

use crate::error::Error;
use crate::logs::TaskAddress;
use crate::transport::{Answer, Client, Request};

/// The longest that one long poll asks a replica to hold.
const POLL_MAX: Duration = Duration::from_secs(30);

/// Which jobs a list holds.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub namespace: Option<Name>,
    pub name: Option<JobName>,
    /// A label as `key=value`.
    pub label: Option<String>,
    /// Only runs of this schedule.
    pub schedule: Option<JobId>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

/// Which tasks a list holds.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    pub state: Option<TaskState>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

impl Client {
    /// One job with its specification.
    ///
    /// # Errors
    /// [`Error::Problem`] with `not_found` when there is none; otherwise when no replica could be asked.
    pub async fn job(&self, id: JobId) -> Result<JobView, Error> {
        self.call(&Request::get(job_path(id, ""))).await?.json()
    }

    /// One page of jobs.
    ///
    /// # Errors
    /// When the filter is refused or no replica could be asked.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<Page<JobView>, Error> {
        let request = Request::get("/v1/jobs")
            .query("state", filter.state)
            .query("namespace", filter.namespace.as_ref())
            .query("name", filter.name.as_ref())
            .query("label", filter.label.as_ref())
            .query("schedule", filter.schedule)
            .query("limit", filter.limit)
            .query("cursor", filter.cursor.as_ref());
        self.call(&request).await?.json()
    }

    /// Waits until the job has finished, or for at most `limit`, and answers how it stands.
    ///
    /// # Errors
    /// When there is no such job, or no replica could be asked for longer than the client's patience.
    pub async fn wait_job(&self, id: JobId, limit: Option<Duration>) -> Result<JobView, Error> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = deadline.map_or(POLL_MAX, |at| at.saturating_duration_since(Instant::now()));
            let view = self.poll_job(id, left.min(POLL_MAX)).await?;
            if view.state.is_finished() || left.is_zero() {
                return Ok(view);
            }
        }
    }

    /// One long poll: the job once it has finished, or as it stands after `wait`.
    ///
    /// # Errors
    /// As [`Client::wait_job`].
    pub async fn poll_job(&self, id: JobId, wait: Duration) -> Result<JobView, Error> {
        let held = format!("{}ms", wait.as_millis());
        let request = Request::get(job_path(id, "")).query("wait", Some(held)).query("until", Some("finished"));
        self.call(&request.wait(wait)).await?.json()
    }

    /// # Errors
    /// `conflict` when the job has finished already in another way.
    pub async fn cancel(&self, id: JobId) -> Result<LogIndex, Error> {
        self.act(id, "cancel", |state| state == JobState::Cancelled).await
    }

    /// # Errors
    /// `conflict` when the job has finished.
    pub async fn pause(&self, id: JobId, pause: PauseJob) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::POST, job_path(id, "/pause")).json(&pause)?;
        self.act_with(id, &request, |state| state == JobState::Paused).await
    }

    /// # Errors
    /// `conflict` when the job is not paused.
    pub async fn resume(&self, id: JobId) -> Result<LogIndex, Error> {
        self.act(id, "resume", |state| matches!(state, JobState::Pending | JobState::Running)).await
    }

    /// Runs a finished job again, or only what failed of it.
    ///
    /// # Errors
    /// `conflict` when the job has not finished.
    pub async fn retry(&self, id: JobId, retry: &RetryJob) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::POST, job_path(id, "/retry")).json(retry)?;
        self.act_with(id, &request, |state| !state.is_finished()).await
    }

    /// The next ticks of a schedule.
    ///
    /// # Errors
    /// `conflict` when the job is no schedule.
    pub async fn next_ticks(&self, id: JobId, count: u32) -> Result<NextTicks, Error> {
        self.call(&Request::get(job_path(id, "/next")).query("count", Some(count))).await?.json()
    }

    /// Runs a schedule once, now.
    ///
    /// # Errors
    /// `conflict` when the job is no schedule, or has ended.
    pub async fn run_now(&self, id: JobId) -> Result<Submitted, Error> {
        // Done twice it would run twice.
        self.call(&Request::once(Method::POST, job_path(id, "/run"))).await?.json()
    }

    /// Gives a schedule another specification.
    ///
    /// # Errors
    /// `invalid_job` when it is none; `conflict` when the job is no schedule, or has ended.
    pub async fn change_schedule(&self, id: JobId, job: &serde_json::Value) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::PUT, job_path(id, "")).json(job)?;
        Ok(accepted_index(&self.call(&request).await?))
    }

    /// Forgets a finished job.
    ///
    /// # Errors
    /// `conflict` while it has not finished.
    pub async fn forget(&self, id: JobId) -> Result<LogIndex, Error> {
        let (answer, doubt) = self.call_noting_doubt(&Request::repeatable(Method::DELETE, job_path(id, ""))).await;
        gone_is_done(answer, doubt)
    }

    /// One page of a job's tasks, array elements one by one.
    ///
    /// # Errors
    /// When there is no such job, or no replica could be asked.
    pub async fn tasks(&self, id: JobId, filter: &TaskFilter) -> Result<Page<TaskView>, Error> {
        let request = Request::get(job_path(id, "/tasks"))
            .query("state", filter.state)
            .query("limit", filter.limit)
            .query("cursor", filter.cursor.as_ref());
        self.call(&request).await?.json()
    }

    /// All of a job's tasks, page by page. For jobs whose size is known to be small.
    ///
    /// # Errors
    /// As [`Client::tasks`].
    pub async fn all_tasks(&self, id: JobId) -> Result<Vec<TaskView>, Error> {
        let mut filter = TaskFilter { limit: Some(1000), ..TaskFilter::default() };
        let mut all = Vec::new();
        loop {
            let page = self.tasks(id, &filter).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(all),
            }
        }
    }

    /// # Errors
    /// When there is no such task, or no replica could be asked.
    pub async fn task(&self, address: &TaskAddress) -> Result<TaskView, Error> {
        self.call(&Request::get(address.path(""))).await?.json()
    }

    /// Takes a task away from its worker, for another to run it.
    ///
    /// # Errors
    /// `conflict` when no attempt of the task is live.
    pub async fn reassign(&self, address: &TaskAddress) -> Result<LogIndex, Error> {
        // Done twice it would take the task from its second worker as well.
        let answer = self.call(&Request::once(Method::POST, address.path("/reassign"))).await?;
        Ok(accepted_index(&answer))
    }

    async fn act(&self, id: JobId, verb: &str, done: fn(JobState) -> bool) -> Result<LogIndex, Error> {
        let request = Request::repeatable(Method::POST, job_path(id, &format!("/{verb}")));
        self.act_with(id, &request, done).await
    }

    /// Sends a change of a job's state. A conflict after a try whose fate is unknown may come from
    /// that very try: then the job's state says whether the change was made.
    async fn act_with(&self, id: JobId, request: &Request, done: fn(JobState) -> bool) -> Result<LogIndex, Error> {
        match self.call_noting_doubt(request).await {
            (Ok(answer), _) => Ok(accepted_index(&answer)),
            (Err(error), true) if error.code() == Some(Code::Conflict) => {
                let view = self.job(id).await?;
                if done(view.state) { Ok(view.index) } else { Err(error) }
            }
            (Err(error), _) => Err(error),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        self.options().patience
    }
}

pub(crate) fn job_path(id: JobId, rest: &str) -> String {
    format!("/v1/jobs/{id}{rest}")
}

/// Where a write stands in the log, as its body or else its header says.
pub(crate) fn accepted_index(answer: &Answer) -> LogIndex {
    let body = answer.json::<Accepted>().ok().map(|accepted| accepted.index);
    body.or(answer.index).unwrap_or_default()
}

/// For deletions: what an unknown first try has deleted can't be found by the second.
pub(crate) fn gone_is_done(answer: Result<Answer, Error>, doubt: bool) -> Result<LogIndex, Error> {
    match answer {
        Ok(answer) => Ok(accepted_index(&answer)),
        Err(error) if doubt && error.is_not_found() => Ok(LogIndex::default()),
        Err(error) => Err(error),
    }
}
