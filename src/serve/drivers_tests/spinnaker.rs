//! Spinnaker, by its webhook stage.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Act, path, reach};

const SPINNAKER: &str = include_str!("../../../fixtures/doors/spinnaker.json");

/// Spinnaker asks the URL once before it watches it; it asks again on 5xx and on statuses that are neither
/// success nor terminal. Another 4xx ends the stage, as do a refused connection and a path that gives no
/// value.
pub(super) async fn act(at: SocketAddr) -> Act {
    let stage: Value = serde_json::from_str(SPINNAKER).unwrap();
    assert_eq!(stage["statusJsonPath"], "$.verdict");
    assert_eq!(stage["progressJsonPath"], "$.progress");
    assert_eq!(
        (&stage["method"], &stage["statusUrlResolution"]),
        (&json!("GET"), &json!("getMethod"))
    );
    let headers = "Accept: text/plain, application/json, application/*+json, */*\r\n\
                   User-Agent: okhttp/4.12.0\r\nAccept-Encoding: gzip\r\n";
    let url = path(stage["url"].as_str().unwrap());
    let mut document = Value::Null;
    for _ in ["create", "monitor"] {
        let Some(answer) = reach(at, "GET", &url, headers, "").await else {
            return Act::Stop;
        };
        match answer.status {
            200 => {}
            504 => return Act::Stop,
            500.. => return Act::Hold,
            _ => return Act::Stop,
        }
        assert!(
            answer.is_json(),
            "else the body would be a text: {}",
            answer.head
        );
        document = answer.json();
    }
    let Some(status) = document["verdict"].as_str() else {
        return Act::Stop;
    };
    if !document["progress"].is_string() {
        return Act::Stop;
    }
    let lists = |key: &str| {
        let statuses = stage[key].as_str().unwrap().to_uppercase();
        let mut statuses = statuses.split(',').map(str::trim);
        statuses.any(|listed| listed == status.to_uppercase())
    };
    // What is listed twice is what is listed last: success, canceled, terminal.
    if lists("terminalStatuses") || lists("canceledStatuses") {
        Act::Stop
    } else if lists("successStatuses") {
        Act::Go
    } else {
        Act::Hold
    }
}
