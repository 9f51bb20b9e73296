//! The routes.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use quorate_types::problem::Code;

use super::error::ApiError;
use super::{
    App, cluster, events, explain, health, jobs, layers, locks, logs, namespaces, openapi, policy, resources,
    schedules, scheduling, session, tasks, workers,
};

/// Every route of the API, with what happens to every request around them.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/jobs", post(jobs::submit).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::forget).put(schedules::change))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/pause", post(jobs::pause))
        .route("/v1/jobs/{id}/resume", post(jobs::resume))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/run", post(schedules::run_now))
        .route("/v1/jobs/{id}/next", get(schedules::next))
        .route("/v1/jobs/{id}/explain", get(explain::job))
        .route("/v1/jobs/{id}/tasks", get(tasks::list))
        .route("/v1/jobs/{id}/tasks/{task}/{index}", get(tasks::show))
        .route("/v1/jobs/{id}/tasks/{task}/{index}/explain", get(explain::element))
        .route("/v1/jobs/{id}/tasks/{task}/{index}/logs", get(logs::read))
        .route("/v1/jobs/{id}/tasks/{task}/{index}/reassign", post(tasks::reassign))
        .route("/v1/workers", get(workers::list))
        .route("/v1/workers/{name}", get(workers::show).delete(workers::remove))
        .route("/v1/workers/{name}/drain", post(workers::drain))
        .route("/v1/workers/{name}/undrain", post(workers::undrain))
        .route("/v1/workers/{name}/taints", put(workers::taint))
        .route("/v1/workers/{name}/ended", post(workers::ended))
        .route("/v1/session", get(session::upgrade))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/cluster/digest", get(cluster::digest))
        .route("/v1/cluster/replicas", post(cluster::add))
        .route("/v1/cluster/replicas/{id}", delete(cluster::remove))
        .route("/v1/cluster/transfer-leader", post(cluster::transfer_leader))
        .route("/v1/namespaces", get(namespaces::list))
        .route("/v1/namespaces/{name}", get(namespaces::show).put(namespaces::set).delete(namespaces::reset))
        .route("/v1/policy", get(policy::show).put(policy::change))
        .route("/v1/resources", get(resources::list))
        .route("/v1/resources/{name}", get(resources::show).put(resources::set).delete(resources::remove))
        .route("/v1/locks", get(locks::list))
        .route("/v1/locks/{name}", get(locks::show))
        .route("/v1/locks/{name}/acquire", post(locks::acquire))
        .route("/v1/locks/{name}/release", post(locks::release))
        .route("/v1/locks/{name}/check", post(locks::check))
        .route("/v1/scheduling", get(scheduling::show))
        .route("/v1/events", get(events::stream))
        .route("/metrics", get(health::metrics))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi::document))
        // Around the routes alone: what no route takes is refused for that, whatever its parameters.
        .route_layer(from_fn(layers::refuse_query_of_writes))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        // One layer for everything: each costs a request two allocations and a clone of the router.
        .layer(from_fn_with_state(app.clone(), layers::around))
        .with_state(app)
}

async fn no_such_route() -> ApiError {
    ApiError::not_found("there is no such route; /openapi.json lists them")
}

async fn no_such_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed, "the route exists, but not for this method")
}
