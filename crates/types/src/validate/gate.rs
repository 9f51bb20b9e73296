//! What a task needs to get before it starts.

use super::Complaints;
use crate::gate::{Rate, RateRequest};
use crate::job::{Object, TaskRequest};
use crate::limits::*;
use crate::time::Span;

impl Complaints {
    pub(super) fn check_cluster_resources(&mut self, request: &TaskRequest, place: &dyn Fn(&str) -> String) {
        let Some(asked) = &request.cluster_resources else { return };
        if asked.len() > CLUSTER_RESOURCES_PER_TASK_MAX {
            let detail = format!("{} of them, the most is {CLUSTER_RESOURCES_PER_TASK_MAX}", asked.len());
            self.add(place("cluster_resources"), detail);
        }
        for (name, amount) in asked {
            if !(1..=CLUSTER_RESOURCE_TOTAL_MAX).contains(amount) {
                let detail = format!("must be from 1 to {CLUSTER_RESOURCE_TOTAL_MAX}");
                self.add(place(&format!("cluster_resources/{name}")), detail);
            }
        }
    }

    pub(super) fn rate(
        &mut self,
        request: Option<Object<RateRequest>>,
        place: &dyn Fn(&str) -> String,
    ) -> Option<Box<Rate>> {
        let Object(RateRequest { key, limit, per }) = request?;
        if !(1..=RATE_LIMIT_MAX).contains(&limit) {
            self.add(place("rate/limit"), format!("must be from 1 to {RATE_LIMIT_MAX}"));
        }
        if per.0 == 0 || per.0 > RATE_PER_MS_MAX {
            let most = Span(RATE_PER_MS_MAX);
            self.add(place("rate/per"), format!("must be longer than nothing and at most {most}"));
        }
        Some(Box::new(Rate { key, limit, per }))
    }
}
