//! How a specification is encoded. People see the kind, and of a service the newest version as its only task. In the
//! log a service stands where the schedule of a job does, which it can't have: as one value more of what was an option
//! before there were services, so that what was written then reads as it did.

use std::collections::BTreeMap;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Health, Kind, ServiceSpec, Share, Version};
use crate::job::{Concurrency, FollowUp, JobSpec, OnFailure, Preempt};
use crate::name::{JobName, Name};
use crate::schedule::ScheduleSpec;
use crate::task_list::TaskList;
use crate::when::When;

/// What makes a job run, as it is written.
#[derive(Serialize)]
#[serde(rename = "Course")]
enum CourseRef<'a> {
    Once,
    Scheduled(&'a ScheduleSpec),
    Kept(&'a ServiceSpec),
}

/// As it is read.
#[derive(Deserialize)]
enum Course {
    Once,
    Scheduled(Box<ScheduleSpec>),
    Kept(Box<ServiceSpec>),
}

impl Serialize for JobSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = serializer.is_human_readable();
        let mut out = serializer.serialize_struct("JobSpec", if shown { 17 } else { 14 })?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("namespace", &self.namespace)?;
        out.serialize_field("priority", &self.priority)?;
        out.serialize_field("labels", &self.labels)?;
        out.serialize_field("idempotency_key", &self.idempotency_key)?;
        out.serialize_field("on_failure", &self.on_failure)?;
        match (shown, &self.service) {
            (true, Some(_)) => out.serialize_field("tasks", &self.shown_tasks())?,
            (_, _) => out.serialize_field("tasks", &self.tasks)?,
        }
        out.serialize_field("start_after", &self.start_after)?;
        out.serialize_field("deadline", &self.deadline)?;
        out.serialize_field("expires", &self.expires)?;
        out.serialize_field("concurrency", &self.concurrency)?;
        out.serialize_field("then", &self.then)?;
        if shown {
            out.serialize_field("schedule", &self.schedule)?;
            out.serialize_field("kind", &self.kind())?;
            out.serialize_field("max_unavailable", &self.service.as_ref().map(|service| service.max_unavailable))?;
            let newest = self.service.as_ref().and_then(|service| service.newest_version());
            out.serialize_field("health", &newest.and_then(|version| version.health.as_ref()))?;
        } else {
            let course = match (&self.schedule, &self.service) {
                (Some(schedule), _) => CourseRef::Scheduled(schedule),
                (None, Some(service)) => CourseRef::Kept(service),
                (None, None) => CourseRef::Once,
            };
            out.serialize_field("schedule", &course)?;
        }
        out.serialize_field("preempt", &self.preempt)?;
        out.end()
    }
}

/// Fields as they stand in one of the two forms.
macro_rules! form {
    ($form:ident { $($own:ident: $type:ty),+ }) => {
        #[derive(Deserialize)]
        struct $form {
            name: JobName,
            namespace: Name,
            priority: u8,
            labels: BTreeMap<Name, String>,
            idempotency_key: Option<String>,
            on_failure: OnFailure,
            tasks: TaskList,
            start_after: Option<When>,
            deadline: Option<When>,
            expires: Option<When>,
            concurrency: Option<Concurrency>,
            then: Vec<FollowUp>,
            $($own: $type,)+
            preempt: Preempt,
        }

        impl $form {
            fn with(self, schedule: Option<Box<ScheduleSpec>>, service: Option<Box<ServiceSpec>>) -> JobSpec {
                JobSpec {
                    name: self.name,
                    namespace: self.namespace,
                    priority: self.priority,
                    labels: self.labels,
                    idempotency_key: self.idempotency_key,
                    on_failure: self.on_failure,
                    tasks: self.tasks,
                    start_after: self.start_after,
                    deadline: self.deadline,
                    expires: self.expires,
                    concurrency: self.concurrency,
                    then: self.then,
                    schedule,
                    service,
                    preempt: self.preempt,
                }
            }
        }
    };
}

form!(Stored { schedule: Course });
form!(Shown { schedule: Option<Box<ScheduleSpec>>, kind: Option<Kind>, max_unavailable: Option<Share>, health: Option<Health> });

impl<'de> Deserialize<'de> for JobSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let mut stored = Stored::deserialize(deserializer)?;
            let (schedule, service) = match std::mem::replace(&mut stored.schedule, Course::Once) {
                Course::Once => (None, None),
                Course::Scheduled(schedule) => (Some(schedule), None),
                Course::Kept(service) => (None, Some(service)),
            };
            return Ok(stored.with(schedule, service));
        }
        let mut shown = Shown::deserialize(deserializer)?;
        let (schedule, kind) = (shown.schedule.take(), shown.kind.unwrap_or_default());
        let versions = vec![Version { number: 1, health: shown.health.take() }];
        let max_unavailable = shown.max_unavailable.unwrap_or_default();
        let service = Box::new(ServiceSpec { kind, max_unavailable, newest: 0, versions });
        Ok(shown.with(schedule, (kind != Kind::Batch).then_some(service)))
    }
}
