//! Jobs that never end by themselves.

use super::{Complaints, Shape, check_command};
use crate::job::{Driver, JobRequest, Object, OnFailure, Preempt, TaskSpec};
use crate::limits::*;
use crate::service::{Health, HealthRequest, Kind, ServiceSpec, Share, Version};
use crate::time::Span;

/// A task of the system that finds no room on its worker can go to no other.
pub(super) fn default_preempt(service: Option<&ServiceSpec>) -> Preempt {
    match service.map(|service| service.kind) {
        Some(Kind::System) => Preempt::Lower,
        Some(Kind::Service | Kind::Batch) | None => Preempt::Never,
    }
}

impl Complaints {
    /// What the job is if it is no batch job. The defaults of what makes no sense are let through: what was printed can
    /// be submitted again.
    pub(super) fn service(&mut self, job: &JobRequest) -> Option<Box<ServiceSpec>> {
        let kind = job.kind.unwrap_or_default();
        if kind == Kind::Batch {
            let given = [("/max_unavailable", job.max_unavailable.is_some()), ("/health", job.health.is_some())];
            for (field, _) in given.into_iter().filter(|(_, given)| *given) {
                self.add(field.into(), "belongs to a job whose kind is service or system");
            }
            return None;
        }
        let meaningless = [
            ("/schedule", job.schedule.is_some(), "it runs all the time"),
            ("/start_after", job.start_after.is_some(), "it runs as soon as it can"),
            ("/deadline", job.deadline.is_some(), "it never ends by itself"),
            ("/expires", job.expires.is_some(), "it never ends by itself"),
            ("/concurrency", job.concurrency.is_some(), "it would hold its place for ever"),
            ("/then", job.then.as_ref().is_some_and(|then| !then.is_empty()), "it never ends by itself"),
            ("/on_failure", job.on_failure == Some(OnFailure::Continue), "what ends is started again"),
        ];
        for (field, _, why) in meaningless.into_iter().filter(|(_, given, _)| *given) {
            self.add(field.into(), format!("means nothing to a {kind} job: {why}"));
        }
        let max_unavailable = job.max_unavailable.unwrap_or_default();
        let fits = match max_unavailable {
            Share::Count(count) => (1..=SERVICE_COUNT_MAX).contains(&count),
            Share::Percent(percent) => (1..=100).contains(&percent),
        };
        if !fits {
            self.add("/max_unavailable".into(), format!("must be from 1 to {SERVICE_COUNT_MAX}, or from 1% to 100%"));
        }
        let health = job.health.as_ref().map(|Object(request)| self.health(request));
        let versions = vec![Version { number: 1, health }];
        Some(Box::new(ServiceSpec { kind, max_unavailable, newest: 0, versions }))
    }

    fn health(&mut self, request: &HealthRequest) -> Health {
        let min_healthy = request.min_healthy.unwrap_or_default();
        // With nothing to be asked it is a matter of time alone.
        let is_needed = request.command.is_some() || min_healthy == Span(0);
        if let Some(detail) = check_command(request.command.as_deref().unwrap_or_default()).err().filter(|_| is_needed)
        {
            self.add("/health/command".into(), detail);
        }
        let health = Health {
            command: request.command.clone(),
            interval: request.interval.unwrap_or(Span(HEALTH_INTERVAL_MS_DEFAULT)),
            timeout: request.timeout.unwrap_or(Span(HEALTH_TIMEOUT_MS_DEFAULT)),
            failures: request.failures.unwrap_or(HEALTH_FAILURES_DEFAULT),
            start_period: request.start_period.unwrap_or_default(),
            min_healthy,
        };
        let spans = [
            ("/health/interval", health.interval, HEALTH_INTERVAL_MS_MIN),
            ("/health/timeout", health.timeout, 1),
            ("/health/start_period", health.start_period, 0),
            ("/health/min_healthy", health.min_healthy, 0),
        ];
        for (field, span, least) in spans {
            if !(least..=SPAN_MS_MAX).contains(&span.0) {
                self.add(field.into(), format!("must be at least {} and shorter than ten years", Span(least)));
            }
        }
        if !(1..=HEALTH_FAILURES_MAX).contains(&health.failures) {
            self.add("/health/failures".into(), format!("must be from 1 to {HEALTH_FAILURES_MAX}"));
        }
        health
    }

    pub(super) fn check_task_of_service(&mut self, service: &ServiceSpec, tasks: &[TaskSpec], shape: Shape) {
        let kind = service.kind;
        let [task] = tasks else {
            return self.add("/tasks".into(), format!("a {kind} job has one task; submit a job for each"));
        };
        let place = |field: &str| shape.place(0, field);
        let meaningless = [
            ("needs", !task.needs.is_empty(), "it does not wait for others"),
            ("retries", task.retries > 0, "what ends is started again, as often as it takes"),
            ("retry_on", !task.retry_on.is_empty(), "what ends is started again, however it ended"),
            ("no_retry_on", !task.no_retry_on.is_empty(), "what ends is started again, however it ended"),
            ("timeout", task.timeout.is_some(), "it never ends by itself"),
            ("expected", task.expected.is_some(), "it never ends by itself"),
            ("max_parallel", task.max_parallel.is_some(), "all of its elements run at once"),
            ("gang", task.gang.is_some(), "its elements are started one by one"),
            ("driver", task.driver == Driver::Noop, "it executes a command"),
            ("count", kind == Kind::System && task.count != 1, "it has one element on each worker that matches"),
            ("spread", kind == Kind::System && !task.spread.is_empty(), "it has one element on each worker"),
        ];
        for (field, _, why) in meaningless.into_iter().filter(|(_, given, _)| *given) {
            self.add(place(field), format!("means nothing to a {kind} job: {why}"));
        }
        if task.count > SERVICE_COUNT_MAX {
            self.add(place("count"), format!("{} elements, a service has at most {SERVICE_COUNT_MAX}", task.count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobSpec;
    use crate::problem::FieldError;

    fn validate(json: &str) -> Result<JobSpec, Vec<FieldError>> {
        serde_json::from_str::<JobRequest>(json).unwrap().validate()
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let cases = [
            (r#""schedule":{"every":"1m"}"#, "/schedule"),
            (r#""start_after":"1m""#, "/start_after"),
            (r#""deadline":"1m""#, "/deadline"),
            (r#""expires":"1m""#, "/expires"),
            (r#""concurrency":{"key":"k"}"#, "/concurrency"),
            (r#""then":[{"job":{"command":["x"]}}]"#, "/then"),
            (r#""on_failure":"continue""#, "/on_failure"),
            (r#""max_unavailable":0"#, "/max_unavailable"),
            (r#""max_unavailable":"0%""#, "/max_unavailable"),
            (r#""max_unavailable":"101%""#, "/max_unavailable"),
            (r#""health":{}"#, "/health/command"),
            (r#""health":{"command":[],"min_healthy":"1s"}"#, "/health/command"),
            (r#""health":{"min_healthy":"5000000h"}"#, "/health/min_healthy"),
            (r#""health":{"command":["x"],"interval":"499ms"}"#, "/health/interval"),
            (r#""health":{"command":["x"],"timeout":"0s"}"#, "/health/timeout"),
            (r#""health":{"command":["x"],"failures":0}"#, "/health/failures"),
            (r#""count":10001"#, "/count"),
        ];
        for (field, pointer) in cases {
            let json = format!(r#"{{"kind":"service","command":["x"],{field}}}"#);
            let complaints = validate(&json).expect_err(&json);
            assert_eq!(complaints[0].pointer, pointer, "{json}: {complaints:?}");
        }
        let cases = [
            (r#""retries":1"#, "retries"),
            (r#""retry_on":[1]"#, "retry_on"),
            (r#""no_retry_on":[1]"#, "no_retry_on"),
            (r#""timeout":"1m""#, "timeout"),
            (r#""expected":"1m""#, "expected"),
            (r#""max_parallel":2"#, "max_parallel"),
            (r#""gang":true"#, "gang"),
            (r#""driver":"noop""#, "driver"),
            (r#""needs":[{"job":7}]"#, "needs"),
        ];
        for (field, name) in cases {
            let json = format!(r#"{{"kind":"service","tasks":[{{"command":["x"],{field}}}]}}"#);
            let complaints = validate(&json).expect_err(&json);
            assert_eq!(complaints[0].pointer, format!("/tasks/0/{name}"), "{json}: {complaints:?}");
        }
        let cases = [
            (r#"{"kind":"service","tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"]}]}"#, "/tasks"),
            (r#"{"kind":"system","command":["x"],"count":2}"#, "/count"),
            (r#"{"kind":"system","tasks":[{"command":["x"],"spread":[{"label":"zone","max":1}]}]}"#, "/tasks/0/spread"),
            (r#"{"command":["x"],"health":{"command":["x"]}}"#, "/health"),
            (r#"{"command":["x"],"max_unavailable":1}"#, "/max_unavailable"),
            (r#"{"tasks":[{"command":["x"]}],"count":2}"#, "/count"),
            (r#"{"command":["x"],"then":[{"job":{"kind":"service","command":["x"]}}]}"#, "/then/0/job/kind"),
        ];
        for (json, pointer) in cases {
            let complaints = validate(json).expect_err(json);
            assert_eq!(complaints[0].pointer, pointer, "{json}: {complaints:?}");
        }
    }

    #[test]
    fn what_a_service_prints_can_be_submitted_again() {
        let json = r#"{"kind":"service","max_unavailable":"25%","health":{"command":["curl"],"start_period":"1m"},
            "tasks":[{"name":"web","command":["x"],"count":3}]}"#;
        let timed = r#"{"kind":"service","health":{"min_healthy":"10s"},"command":["x"]}"#;
        for json in [json, timed, r#"{"kind":"system","command":["x"]}"#, r#"{"command":["x"],"count":3}"#] {
            let job = validate(json).unwrap();
            let text = serde_json::to_string(&job).unwrap();
            assert_eq!(validate(&text), Ok(job.clone()), "{text}");
            assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap(), job);
        }
        assert_eq!(validate(r#"{"kind":"system","command":["x"]}"#).unwrap().preempt, Preempt::Lower);
    }
}
