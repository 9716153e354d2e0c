//! Flagger, by its webhooks and by its metric, which asks our door for queries.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Act, GO, STATES, State, engine, http, path, reach, site, yaml};

const FLAGGER: &str = include_str!("../../../fixtures/doors/flagger.yaml");
const FLAGGER_METRIC: &str = include_str!("../../../fixtures/doors/flagger-metric.yaml");

/// Sends the webhook of a type as Flagger does, and says whether Flagger takes the answer for a yes.
async fn webhook(at: SocketAddr, kind: &str, metadata: Option<Value>) -> (bool, u16) {
    let canary = yaml(FLAGGER);
    let hooks = canary["analysis"]["webhooks"].as_array().unwrap();
    let hook = hooks.iter().find(|hook| hook["type"] == kind).unwrap();
    let payload = json!({
        "name": "web",
        "namespace": "shop",
        "phase": "Progressing",
        "checksum": "7d9f6bcf8b",
        "metadata": metadata.unwrap_or_else(|| hook["metadata"].clone()),
    });
    let headers = format!("{GO}Content-Type: application/json\r\n");
    let path = path(hook["url"].as_str().unwrap());
    let answer = reach(at, "POST", &path, &headers, &payload.to_string()).await;
    let Some(answer) = answer else {
        return (false, 0);
    };
    assert!(!answer.body.trim().is_empty(), "Flagger shows the body");
    (answer.status <= 202, answer.status)
}

/// Flagger takes the last value; none is a failed check.
pub(super) async fn act(at: SocketAddr, stage: &str) -> Act {
    let template = FLAGGER_METRIC.split("---").next().unwrap();
    let query = yaml(template)["spec"]["query"].as_str().unwrap().to_owned();
    let canary = yaml(FLAGGER_METRIC.split("---").nth(1).unwrap());
    let version = canary["metrics"][0]["templateVariables"]["version"].as_str();
    assert_eq!(version, Some("v2"), "as the deployment of these tests");
    let query = query.replace("{{ variables.version }}", version.unwrap());
    let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
    let query = query.replace("onebox", stage);
    let encoded = query
        .bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect::<String>();
    let path = format!("/api/v1/query?query={encoded}");
    let Some(answer) = reach(at, "GET", &path, GO, "").await else {
        return Act::Hold;
    };
    if answer.status >= 400 {
        return Act::Hold;
    }
    let document = answer.json();
    let samples = document["data"]["result"].as_array().unwrap();
    assert!(samples.len() <= 1, "{document}");
    let value = samples
        .last()
        .map(|sample| sample["value"][1].as_str().unwrap());
    if value.is_some_and(|value| value.parse::<f64>().unwrap() >= 1.0) {
        Act::Go
    } else {
        Act::Hold
    }
}

#[tokio::test]
async fn flagger_is_answered_by_its_own_rules() {
    for state in STATES {
        let (at, _server) = site(state).await;
        let metadata = || Some(json!({"deployment": "d1"}));
        let given = [
            webhook(at, "confirm-promotion", metadata()).await,
            webhook(at, "rollout", metadata()).await,
            webhook(at, "rollback", metadata()).await,
        ];
        let (yes, no) = ((true, 200), (false, 409));
        let (unknown, away) = ((false, 404), (false, 503));
        //                  confirm, check, rollback
        let expected = match state {
            State::Pass => [yes, yes, no],
            State::Fail => [no, no, yes],
            State::Pending | State::NoData | State::Bypassed => [no, yes, no],
            State::Unknown => [unknown; 3],
            State::Recovering | State::RecoveringFail => [no, away, no],
            State::Stopped => [away; 3],
            State::Gone => [(false, 0); 3],
        };
        assert_eq!(given, expected, "{state:?}");
    }
}

#[tokio::test]
async fn flagger_finds_the_deployment_that_it_means_or_none() {
    let server = engine(State::Pass).await;
    let at = server.addresses().http;
    let ask = async |metadata: Value| webhook(at, "confirm-promotion", Some(metadata)).await.1;
    assert_eq!(
        webhook(at, "confirm-promotion", None).await.1,
        200,
        "as in the fixture"
    );
    for (metadata, status) in [
        (json!({}), 200),
        (json!(null), 200),
        (json!({"stage": "onebox", "version": "v2"}), 200),
        (json!({"stage": "watched"}), 404),
        (json!({"version": "v3"}), 404),
        (json!({"region": "eu"}), 404),
        (json!({"service": "shop"}), 404),
        (json!({"deployment": "d1", "version": "v2"}), 200),
        (json!({"deployment": "d1", "version": "v3"}), 404),
        (json!({"deployment": "d2"}), 404),
    ] {
        assert_eq!(ask(metadata.clone()).await, status, "{metadata}");
    }
    let begin = |id: &str, stage: &str| {
        json!({"deployment": id, "service": "web", "stage": stage, "version": "v2"}).to_string()
    };
    let deployments = "/api/v1/deployments";
    let json_type = "Content-Type: application/json\r\n";
    let begun = http(
        &server,
        "POST",
        deployments,
        json_type,
        &begin("d2", "watched"),
    )
    .await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(ask(json!({})).await, 422, "two gates are no answer");
    assert_eq!(ask(json!({"stage": "onebox"})).await, 200);
    http(&server, "POST", "/api/v1/deployments/d1/end", "", "").await;
    let ended = ask(json!({"stage": "onebox"})).await;
    assert_eq!(ended, 404, "what is over speaks for nothing");
    assert_eq!(
        ask(json!({"deployment": "d1"})).await,
        200,
        "unless it is named"
    );
    let begun = http(
        &server,
        "POST",
        deployments,
        json_type,
        &begin("d3", "onebox"),
    )
    .await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(
        ask(json!({"stage": "onebox"})).await,
        409,
        "the newest counts"
    );
    for body in ["", "[]", "{}", r#"{"name": 1}"#] {
        let answer = http(&server, "POST", "/flagger/check", json_type, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_query_is_answered_with_our_verdict_only() {
    let server = engine(State::Pass).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let ask = async |query: &str| {
        let body = format!("time=1772359200&query={query}");
        http(&server, "POST", "/api/v1/query", form, &body).await
    };
    let answer = ask("sluice_verdict%7Bdeployment%3D%22d1%22%7D").await;
    let expected = json!({"status": "success", "data": {"resultType": "vector", "result": [{
        "metric": {"__name__": "sluice_verdict", "deployment": "d1", "service": "web",
            "stage": "onebox", "region": "", "version": "v2", "verdict": "PASS"},
        "value": [1_772_359_200.0, "1"],
    }]}});
    assert_eq!(answer.json(), expected);
    assert_eq!(
        ask("vector(1)").await.json()["data"]["result"][0]["value"][1],
        "1"
    );
    for query in [
        "up",
        "*",
        "",
        "sluice_verdict%7B",
        "sluice_verdict+or+vector(1)",
        "vector(0)",
        "1-sluice_verdict",
        "%7Bdeployment%3D%22d1%22%7D",
    ] {
        let answer = ask(query).await;
        assert_eq!(
            (answer.status, &answer.json()["errorType"]),
            (400, &json!("bad_data")),
            "{query}"
        );
    }
    let answer = http(&server, "GET", "/api/v1/query", "", "").await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (400, &json!("error"))
    );
    let stopped = engine(State::Stopped).await;
    let probe = http(&stopped, "GET", "/api/v1/query?query=vector(1)", "", "").await;
    assert_eq!(probe.status, 503);
}
