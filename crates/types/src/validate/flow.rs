//! When a job runs, what it keeps others from, and what comes after it.

use std::sync::Arc;

use super::Complaints;
use crate::job::{Concurrency, ConcurrencyRequest, FollowUp, FollowUpRequest, JobRequest, JobSpec, Object, WhenFull};
use crate::limits::*;
use crate::name::Name;
use crate::schedule::{ClockChange, ScheduleRequest, ScheduleSpec};
use crate::service::Kind;
use crate::time::Span;
use crate::when::When;

const TIME_ZONE_DEFAULT: &str = "UTC";

impl Complaints {
    /// `start_after`, `deadline` and `expires`, in this order.
    pub(super) fn check_times(&mut self, times: [Option<When>; 3], scheduled: bool) {
        let fields = ["/start_after", "/deadline", "/expires"];
        for (field, when) in fields.into_iter().zip(times) {
            match when {
                Some(When::After(span)) if span.0 == 0 || span.0 > SPAN_MS_MAX => {
                    self.add(field.into(), "must be longer than nothing and shorter than ten years");
                }
                Some(When::At(_)) if scheduled => {
                    self.add(field.into(), "give a duration: each run of a schedule counts from its own start");
                }
                Some(When::After(_) | When::At(_)) | None => {}
            }
        }
        let [start, ends @ ..] = times;
        for (field, end) in fields[1..].iter().zip(ends) {
            let too_early = match (start, end) {
                (Some(When::At(start)), Some(When::At(end))) => end <= start,
                (Some(When::After(start)), Some(When::After(end))) => end <= start,
                (Some(When::At(_)), Some(When::After(_))) | (Some(When::After(_)), Some(When::At(_))) => false,
                (None, _) | (_, None) => false,
            };
            if too_early {
                self.add((*field).into(), "must be later than start_after");
            }
        }
    }

    pub(super) fn concurrency(&mut self, request: ConcurrencyRequest) -> Concurrency {
        let limit = request.limit.unwrap_or(1);
        if !(1..=CONCURRENCY_LIMIT_MAX).contains(&limit) {
            self.add("/concurrency/limit".into(), format!("must be from 1 to {CONCURRENCY_LIMIT_MAX}"));
        }
        Concurrency { key: request.key, limit, when_full: request.when_full.unwrap_or_default() }
    }

    /// The jobs that follow one of `namespace`.
    pub(super) fn follow_ups(&mut self, requests: Vec<Object<FollowUpRequest>>, namespace: &Name) -> Vec<FollowUp> {
        if requests.len() > FOLLOW_UPS_MAX {
            self.add("/then".into(), format!("{} jobs, the most is {FOLLOW_UPS_MAX}", requests.len()));
            return Vec::new();
        }
        let each = requests.into_iter().enumerate();
        each.filter_map(|(at, Object(FollowUpRequest { on, job }))| {
            let job = self.follow_up(&format!("/then/{at}/job"), job.0, namespace)?;
            Some(FollowUp { on, job: Arc::new(job) })
        })
        .collect()
    }

    fn follow_up(&mut self, place: &str, mut job: JobRequest, namespace: &Name) -> Option<JobSpec> {
        let forbidden = [
            ("then", job.then.is_some()),
            ("schedule", job.schedule.is_some()),
            ("idempotency_key", job.idempotency_key.is_some()),
            ("kind", job.kind.is_some_and(|kind| kind != Kind::Batch)),
        ];
        for (field, _) in forbidden.into_iter().filter(|(_, given)| *given) {
            self.add(format!("{place}/{field}"), "a job that follows another can't have one");
        }
        let rejects = job.concurrency.as_ref().is_some_and(|Object(c)| c.when_full == Some(WhenFull::Reject));
        if rejects {
            let detail = "nobody is there to be told when a job that follows another is refused";
            self.add(format!("{place}/concurrency/when_full"), detail);
        }
        if rejects || forbidden.iter().any(|(_, given)| *given) {
            return None;
        }
        job.namespace.get_or_insert_with(|| namespace.clone());
        match job.validate() {
            Ok(spec) => Some(spec),
            Err(errors) => {
                errors.into_iter().for_each(|error| self.add(format!("{place}{}", error.pointer), error.detail));
                None
            }
        }
    }

    pub(super) fn schedule(&mut self, request: ScheduleRequest) -> ScheduleSpec {
        let too_long = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.len() > most);
        match (&request.cron, request.every) {
            (Some(_), None) if too_long(&request.cron, CRON_BYTES_MAX) => {
                self.add("/schedule/cron".into(), format!("longer than {CRON_BYTES_MAX} bytes"));
            }
            (None, Some(every)) if !(EVERY_MS_MIN..=SPAN_MS_MAX).contains(&every.0) => {
                self.add("/schedule/every".into(), "must be from one second to ten years");
            }
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => self.add("/schedule/every".into(), "give either cron or every, not both"),
            (None, None) => self.add("/schedule".into(), "a schedule needs cron or every"),
        }
        // The defaults are let through: a schedule that was printed can be submitted again.
        let zoned = request.time_zone.as_deref().is_some_and(|zone| zone != TIME_ZONE_DEFAULT);
        let given = [("time_zone", zoned), ("dst", request.dst.unwrap_or_default() != ClockChange::default())];
        for (field, _) in given.into_iter().filter(|(_, given)| *given && request.every.is_some()) {
            self.add(format!("/schedule/{field}"), "means nothing to an interval");
        }
        if too_long(&request.time_zone, TIME_ZONE_BYTES_MAX) {
            self.add("/schedule/time_zone".into(), format!("longer than {TIME_ZONE_BYTES_MAX} bytes"));
        }
        if request.jitter.is_some_and(|jitter| jitter.0 > JITTER_MS_MAX) {
            self.add("/schedule/jitter".into(), "must be a day at most");
        }
        if request.every.is_some() && request.jitter >= request.every {
            self.add("/schedule/jitter".into(), "must be shorter than every");
        }
        let window = request.misfire_window.unwrap_or(Span(MISFIRE_WINDOW_MS_DEFAULT));
        if window.0 > SPAN_MS_MAX {
            self.add("/schedule/misfire_window".into(), "must be shorter than ten years");
        }
        let history = request.history.unwrap_or(HISTORY_DEFAULT);
        if history > HISTORY_MAX {
            self.add("/schedule/history".into(), format!("{history} is above {HISTORY_MAX}"));
        }
        ScheduleSpec {
            cron: request.cron,
            every: request.every,
            time_zone: request.time_zone.unwrap_or_else(|| TIME_ZONE_DEFAULT.to_owned()),
            overlap: request.overlap.unwrap_or_default(),
            misfire: request.misfire.unwrap_or_default(),
            misfire_window: window,
            dst: request.dst.unwrap_or_default(),
            jitter: request.jitter.unwrap_or_default(),
            history,
            paused: request.paused.unwrap_or(false),
        }
    }
}
