//! What clients do, as requests.

use axum::body::Body;
use axum::http::{Method, Request};
use quorate_types::JobId;
use serde_json::json;

use super::{Reading, What};
use crate::keyed::Verb;
use crate::physical::{RESOURCE, RESOURCE_TOTAL};

impl What {
    pub(super) fn request(&self) -> Request<Body> {
        let post = |job: &JobId, verb: &str| (Method::POST, format!("/v1/jobs/{job}/{verb}"));
        let (method, path) = match self {
            Self::Submit { .. } => (Method::POST, "/v1/jobs".to_owned()),
            Self::Read { job, how: Reading::Linearizable } => (Method::GET, format!("/v1/jobs/{job}")),
            Self::Read { job, how: Reading::Stale { min_index } } => {
                (Method::GET, format!("/v1/jobs/{job}?consistency=stale&min_index={min_index}"))
            }
            Self::Edit { job, verb } => post(job, verb.path()),
            Self::Reassign { job, task } => post(job, &format!("tasks/{task}/0/reassign")),
            Self::ChangePolicy(_) => (Method::PUT, "/v1/policy".to_owned()),
            Self::Entitle { namespace, .. } => (Method::PUT, format!("/v1/namespaces/{namespace}")),
            Self::SetResource => (Method::PUT, format!("/v1/resources/{RESOURCE}")),
        };
        let request = Request::builder().method(method).uri(path);
        let request = match self {
            Self::Submit { key, body } => request
                .header("content-type", "application/json")
                .header("idempotency-key", key.as_str())
                .body(Body::from(body.clone())),
            Self::SetResource => request
                .header("content-type", "application/json")
                .body(Body::from(json!({"total": RESOURCE_TOTAL}).to_string())),
            Self::ChangePolicy(change) => {
                request.header("content-type", "application/json").body(Body::from(json!(change).to_string()))
            }
            Self::Edit { verb, .. } if let Some(body) = body_of(*verb) => {
                request.header("content-type", "application/json").body(Body::from(body))
            }
            Self::Entitle { rules, .. } => {
                request.header("content-type", "application/json").body(Body::from(json!(rules).to_string()))
            }
            Self::Read { .. } | Self::Edit { .. } | Self::Reassign { .. } => request.body(Body::empty()),
        };
        request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"))
    }
}

/// What a verb's request says besides.
const fn body_of(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Freeze => Some(r#"{"freeze":true}"#),
        Verb::RetryFailed => Some(r#"{"failed":true}"#),
        Verb::RetryFrom => Some(r#"{"from":"after"}"#),
        Verb::Cancel | Verb::Pause | Verb::Resume | Verb::Retry => None,
    }
}
