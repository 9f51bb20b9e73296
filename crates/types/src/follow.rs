//! Jobs that come after others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::job::{Concurrency, JobSpec, OnFailure, Preempt};
use crate::name::{JobName, Name};
use crate::need::On;
use crate::task_list::TaskList;
use crate::when::When;

/// A job that is submitted when another has finished. It has no follow-up of its own, so that what a job
/// may lead to is all there to see, and bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowUp {
    pub on: On,
    #[serde(with = "leaf")]
    pub job: Arc<JobSpec>,
}

/// A job without the fields that a follow-up can't have, so that no input makes decoding recurse.
mod leaf {
    use super::*;

    #[derive(Deserialize)]
    struct Leaf {
        name: JobName,
        namespace: Name,
        priority: u8,
        labels: BTreeMap<Name, String>,
        on_failure: OnFailure,
        tasks: TaskList,
        start_after: Option<When>,
        deadline: Option<When>,
        expires: Option<When>,
        concurrency: Option<Concurrency>,
        preempt: Preempt,
    }

    /// The same fields in the same order.
    #[derive(Serialize)]
    struct LeafRef<'a> {
        name: &'a JobName,
        namespace: &'a Name,
        priority: &'a u8,
        labels: &'a BTreeMap<Name, String>,
        on_failure: &'a OnFailure,
        tasks: &'a TaskList,
        start_after: Option<When>,
        deadline: Option<When>,
        expires: Option<When>,
        concurrency: &'a Option<Concurrency>,
        preempt: Preempt,
    }

    pub(super) fn serialize<S: Serializer>(job: &Arc<JobSpec>, serializer: S) -> Result<S::Ok, S::Error> {
        let JobSpec { name, namespace, priority, labels, on_failure, tasks, .. } = &**job;
        let JobSpec { start_after, deadline, expires, concurrency, preempt, .. } = &**job;
        let (start_after, deadline, expires, preempt) = (*start_after, *deadline, *expires, *preempt);
        LeafRef {
            name,
            namespace,
            priority,
            labels,
            on_failure,
            tasks,
            start_after,
            deadline,
            expires,
            concurrency,
            preempt,
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<JobSpec>, D::Error> {
        let leaf = Leaf::deserialize(deserializer)?;
        Ok(Arc::new(JobSpec {
            name: leaf.name,
            namespace: leaf.namespace,
            priority: leaf.priority,
            labels: leaf.labels,
            idempotency_key: None,
            on_failure: leaf.on_failure,
            tasks: leaf.tasks,
            start_after: leaf.start_after,
            deadline: leaf.deadline,
            expires: leaf.expires,
            concurrency: leaf.concurrency,
            then: Vec::new(),
            schedule: None,
            service: None,
            preempt: leaf.preempt,
        }))
    }
}
