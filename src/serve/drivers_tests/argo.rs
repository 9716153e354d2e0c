//! Argo Rollouts, by its web metric.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Act, GO, path, reach, yaml};

const ARGO: &str = include_str!("../../../fixtures/doors/argo-rollouts.yaml");

/// Argo takes a status outside of 2xx, and a body without the path, for an error, of which it forgives four in
/// a row; a body that is no JSON for a success. Then the conditions decide: failure first, and what meets
/// neither is inconclusive.
pub(super) async fn act(at: SocketAddr) -> Act {
    let template = yaml(ARGO);
    let metric = &template["spec"]["metrics"][0];
    let web = &metric["provider"]["web"];
    assert_eq!(web["jsonPath"], "{$.verdict}");
    assert_eq!(metric["successCondition"], "result == \"PASS\"");
    assert_eq!(metric["failureCondition"], "result == \"FAIL\"");
    assert_eq!(metric["consecutiveErrorLimit"], 4);
    assert_eq!(
        web["method"],
        Value::Null,
        "a GET without a body is the default"
    );
    let url = path(web["url"].as_str().unwrap());
    let Some(answer) = reach(at, "GET", &url, GO, "").await else {
        return Act::Hold;
    };
    if !(200..300).contains(&answer.status) {
        return Act::Hold;
    }
    let Ok(document) = serde_json::from_str::<Value>(&answer.body) else {
        return Act::Go;
    };
    match document["verdict"].as_str() {
        Some("FAIL") => Act::Stop,
        Some("PASS") => Act::Go,
        // Also what is not there: an error.
        Some(_) | None => Act::Hold,
    }
}
