//! The API's description, OpenAPI 3.1. Written by hand; a test compares it with the router.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder, Rebalance};

    use super::DOCUMENT;

    /// The document lists exactly the paths of the router, each with its methods.
    #[test]
    fn the_document_and_the_router_agree() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut documented: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                documented.push(format!("{method} {path}"));
            }
        }
        let mut routed: Vec<String> = Vec::new();
        for line in include_str!("router.rs").lines().filter(|line| line.trim().starts_with(".route(")) {
            let path = line.split('"').nth(1).unwrap();
            for method in ["get", "post", "delete", "put"] {
                if line.contains(&format!(" {method}(")) || line.contains(&format!(").{method}(")) {
                    routed.push(format!("{method} {path}"));
                }
            }
        }
        documented.sort();
        routed.sort();
        assert_eq!(documented, routed);
    }
    /// The names of policies are all there, in the order of the code.
    #[test]
    fn the_document_names_every_policy() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let named = |schema: &str| document["components"]["schemas"][schema]["enum"].clone();
        assert_eq!(named("QueueOrder"), serde_json::json!(QueueOrder::ALL));
        assert_eq!(named("Backfill"), serde_json::json!(Backfill::ALL));
        assert_eq!(named("PlacementOrder"), serde_json::json!(PlacementOrder::ALL));
        assert_eq!(named("Rebalance"), serde_json::json!(Rebalance::ALL));
    }
}
