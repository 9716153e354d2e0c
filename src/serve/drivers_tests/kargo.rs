//! Kargo, by the http step of a promotion.

use std::net::SocketAddr;

use super::{Act, GO, path, reach, yaml};

const KARGO: &str = include_str!("../../../fixtures/doors/kargo.yaml");

/// Kargo reads JSON by the type of the body, asks for failure first, and asks again where neither is met. An
/// error is forgiven four times in a row.
pub(super) async fn act(at: SocketAddr) -> Act {
    let steps = yaml(KARGO);
    let step = &steps["steps"][0];
    let config = &step["config"];
    assert_eq!(step["retry"]["errorThreshold"], 5);
    assert_eq!(
        config["successExpression"],
        "response.status == 200 && response.body.verdict == \"PASS\""
    );
    assert_eq!(
        config["failureExpression"],
        "response.status == 404 || (response.status == 200 && response.body.verdict == \"FAIL\")"
    );
    let url = path(config["url"].as_str().unwrap());
    let Some(answer) = reach(at, "GET", &url, GO, "").await else {
        return Act::Hold;
    };
    assert!(
        answer.is_json(),
        "else the body would be a text: {}",
        answer.head
    );
    let verdict = answer.json()["verdict"].clone();
    if answer.status == 404 || (answer.status == 200 && verdict == "FAIL") {
        Act::Stop
    } else if answer.status == 200 && verdict == "PASS" {
        Act::Go
    } else {
        Act::Hold
    }
}
