//! What each tool that drives deployments makes of every verdict: its ready-made configuration is read,
//! its requests are sent to real doors, and its rules decide.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Clock, Ending, Server, Settings, core::Core, routes};
use crate::{
    event::{Begin, Bypass, DeploymentEvent, Span, Step, StepOutcome, Timestamp},
    plan::Plan,
};

const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
lateness: 0s
checks: {up: {metric: up, absent: 1m}}
services:
  web:
    stages:
      - {name: onebox, steps: [tests]}
      - {name: watched, checks: [up], bake: 1h}
"#;
const ARGO: &str = include_str!("../../fixtures/doors/argo-rollouts.yaml");
const FLAGGER: &str = include_str!("../../fixtures/doors/flagger.yaml");
const FLAGGER_METRIC: &str = include_str!("../../fixtures/doors/flagger-metric.yaml");
const PROMOTER: &str = include_str!("../../fixtures/doors/gitops-promoter.yaml");
const KARGO: &str = include_str!("../../fixtures/doors/kargo.yaml");
const SPINNAKER: &str = include_str!("../../fixtures/doors/spinnaker.json");
const OPENAPI: &str = include_str!("../../proto/openapi.json");

/// What a deployment is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pass,
    Fail,
    Pending,
    NoData,
    Bypassed,
    /// Nobody has begun it.
    Unknown,
    /// It had passed; the engine was restarted and reads its journal.
    Recovering,
    /// It had failed; the engine was restarted and reads its journal.
    RecoveringFail,
    /// It had passed; the engine died.
    Stopped,
    /// It had passed; nobody listens any more.
    Gone,
}

const STATES: [State; 10] = [
    State::Pass,
    State::Fail,
    State::Pending,
    State::NoData,
    State::Bypassed,
    State::Unknown,
    State::Recovering,
    State::RecoveringFail,
    State::Stopped,
    State::Gone,
];

/// What a tool does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Go,
    Hold,
    Stop,
}

struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    fn is_json(&self) -> bool {
        self.head.contains("\r\ncontent-type: application/json\r\n")
    }
}

async fn http(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let answer = reach(server.addresses().http, method, path, headers, body).await;
    answer.expect("somebody listens")
}

/// What comes back; `None`: nobody listens.
async fn reach(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<Answer> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: sluice.example:7071\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // Each of the tools would follow, to whoever is there.
    assert!(!(300..400).contains(&status), "{path} is elsewhere: {head}");
    Some(Answer {
        status,
        head: format!("{}\r\n", head.to_lowercase()),
        body: body.to_owned(),
    })
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_772_359_200)
}

fn begin(stage: &str) -> Begin {
    Begin {
        at: Timestamp::MIN,
        deployment: "d1".to_owned(),
        service: "web".to_owned(),
        stage: stage.to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }
}

/// Only what is watched can lack data.
fn stage(state: State) -> &'static str {
    match state {
        State::NoData => "watched",
        _ => "onebox",
    }
}

/// Where an engine listens whose deployment `d1` is in that state, and the engine, if it is there.
async fn site(state: State) -> (SocketAddr, Option<Server>) {
    let server = engine(state).await;
    let at = server.addresses().http;
    if state != State::Gone {
        return (at, Some(server));
    }
    server.run(std::future::ready(())).await;
    (at, None)
}

/// An engine whose deployment `d1` is in that state.
async fn engine(state: State) -> Server {
    let clock = Arc::new(AtomicI64::new(now().nanos()));
    let settings = Settings {
        plan: Arc::new(Plan::parse(CONFIGURATION).unwrap()),
        data_dir: None,
        clock: Clock::Manual(Arc::clone(&clock)),
        source: None,
    };
    let server = Server::start(settings).await.unwrap();
    let tell = async |event| server.shared().tell(event).await.unwrap();
    let step = |outcome| {
        DeploymentEvent::Step(Step {
            at: Timestamp::MIN,
            deployment: "d1".to_owned(),
            step: "tests".to_owned(),
            outcome,
        })
    };
    if state != State::Unknown {
        tell(DeploymentEvent::Begin(begin(stage(state)))).await;
    }
    match state {
        State::Pass | State::Recovering | State::Stopped | State::Gone => {
            tell(step(StepOutcome::Passed)).await;
        }
        State::Fail | State::RecoveringFail => {
            tell(step(StepOutcome::Failed)).await;
        }
        State::NoData => {
            for _ in 0..20 {
                clock.fetch_add(Span::from_seconds(30).nanos(), Ordering::AcqRel);
                server.tick().await.unwrap();
            }
        }
        State::Bypassed => {
            tell(DeploymentEvent::Bypass(Bypass {
                at: Timestamp::MIN,
                deployment: "d1".to_owned(),
                by: "ana".to_owned(),
                reason: "known".to_owned(),
                ticket: "OPS-1".to_owned(),
            }))
            .await;
        }
        State::Pending | State::Unknown => {}
    }
    match state {
        State::Recovering | State::RecoveringFail => server.shared().published().relapse(),
        State::Stopped => {
            let core = server.shared().core.clone();
            core.panic().await;
            assert_eq!(Core::ended(core.ending()).await, Ending::Died);
        }
        _ => {}
    }
    server
}

/// The path of a URL of a fixture, for deployment `d1`.
fn path(url: &str) -> String {
    let path = url.strip_prefix("http://sluice.example:7071").unwrap();
    for placeholder in [
        "{{args.deployment}}",
        "{{ range .PromotionStrategy.Status.Environments }}{{ if eq .Branch $.Branch }}{{ .Active.Hydrated.Sha }}{{ end }}{{ end }}",
        "${{ vars.deployment }}",
        "${parameters.deployment}",
    ] {
        if path.contains(placeholder) {
            return path.replace(placeholder, "d1");
        }
    }
    path.to_owned()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Go's client, as most of the tools use it.
const GO: &str = "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n";

/// Argo takes a status outside of 2xx, and a body without the path, for an error, of which it forgives four in
/// a row; a body that is no JSON for a success. Then the conditions decide: failure first, and what meets
/// neither is inconclusive.
async fn argo(at: SocketAddr) -> Act {
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

/// Sends the webhook of a type as Flagger does, and says whether Flagger takes the answer for a yes.
async fn flagger(at: SocketAddr, kind: &str, metadata: Option<Value>) -> (bool, u16) {
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
async fn flagger_metric(at: SocketAddr, stage: &str) -> Act {
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

/// What Promoter knows of an environment from its last reconciliation.
#[derive(Clone, Copy, Debug)]
struct Environment<'a> {
    phase: &'a str,
    last_successful: &'a str,
    active: &'a str,
}

/// The expression of the fixture: whether the commit status is a success, from the answer to this
/// reconciliation's request, if there was one. `None`: it cannot be evaluated, and the phase stays.
fn promoter_expression(answer: Option<&Answer>, environment: Environment<'_>) -> Option<bool> {
    let status = yaml(PROMOTER);
    let expression = status["spec"]["success"]["when"]["expression"].as_str();
    assert_eq!(
        expression.unwrap(),
        "Response != nil ? Response.StatusCode == 200 && Response.Body.verdict == \"PASS\" : \
         Phase == \"success\" && \
         find(WebRequestCommitStatus.Status.Environments, {.Branch == Branch}).LastSuccessfulSha == \
         find(PromotionStrategy.Status.Environments, {.Branch == Branch}).Active.Hydrated.Sha"
    );
    let Some(answer) = answer else {
        let is_same = environment.last_successful == environment.active;
        return Some(environment.phase == "success" && is_same);
    };
    if answer.status != 200 {
        return Some(false);
    }
    // A body that is no JSON is a text, which has no members.
    let document: Value = serde_json::from_str(&answer.body).ok()?;
    Some(document["verdict"] == "PASS")
}

async fn promoter(at: SocketAddr) -> Act {
    let status = yaml(PROMOTER);
    let request = &status["spec"]["httpRequest"];
    assert_eq!(request["methodTemplate"], "GET");
    let url = path(request["urlTemplate"].as_str().unwrap());
    let Some(answer) = reach(at, "GET", &url, GO, "").await else {
        return Act::Hold;
    };
    let environment = Environment {
        phase: "",
        last_successful: "",
        active: "d1",
    };
    match promoter_expression(Some(&answer), environment) {
        Some(true) => Act::Go,
        Some(false) | None => Act::Hold,
    }
}

#[test]
fn between_two_requests_of_promoter_a_pass_stands_for_its_own_commit_only() {
    for (phase, last_successful, is_success) in [
        ("", "", false),
        ("pending", "", false),
        ("pending", "d1", false),
        ("success", "d1", true),
        ("success", "d0", false),
    ] {
        let environment = Environment {
            phase,
            last_successful,
            active: "d1",
        };
        let said = promoter_expression(None, environment);
        assert_eq!(said, Some(is_success), "{environment:?}");
    }
}

/// Kargo reads JSON by the type of the body, asks for failure first, and asks again where neither is met. An
/// error is forgiven four times in a row.
async fn kargo(at: SocketAddr) -> Act {
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

/// Spinnaker asks the URL once before it watches it; it asks again on 5xx and on statuses that are neither
/// success nor terminal. Another 4xx ends the stage, as do a refused connection and a path that gives no
/// value.
async fn spinnaker(at: SocketAddr) -> Act {
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

#[tokio::test]
async fn only_a_pass_is_a_go_through_every_door() {
    use Act::{Go, Hold, Stop};
    for state in STATES {
        let (at, _server) = site(state).await;
        let given = [
            argo(at).await,
            flagger_metric(at, stage(state)).await,
            promoter(at).await,
            kargo(at).await,
            spinnaker(at).await,
        ];
        //                  Argo  metric Promoter Kargo Spinnaker
        let expected = match state {
            State::Pass => [Go, Go, Go, Go, Go],
            State::Fail => [Stop, Hold, Hold, Stop, Stop],
            State::Unknown => [Hold, Hold, Hold, Stop, Stop],
            State::Gone => [Hold, Hold, Hold, Hold, Stop],
            State::Pending
            | State::NoData
            | State::Bypassed
            | State::Recovering
            | State::RecoveringFail
            | State::Stopped => [Hold; 5],
        };
        assert_eq!(given, expected, "{state:?}");
    }
}

#[tokio::test]
async fn flagger_is_answered_by_its_own_rules() {
    for state in STATES {
        let (at, _server) = site(state).await;
        let metadata = || Some(json!({"deployment": "d1"}));
        let given = [
            flagger(at, "confirm-promotion", metadata()).await,
            flagger(at, "rollout", metadata()).await,
            flagger(at, "rollback", metadata()).await,
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
    let ask = async |metadata: Value| flagger(at, "confirm-promotion", Some(metadata)).await.1;
    assert_eq!(
        flagger(at, "confirm-promotion", None).await.1,
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

#[test]
fn the_document_describes_every_route_and_nothing_else() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let roles: Vec<&str> = operation["x-roles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|role| role.as_str().unwrap())
                .collect();
            described.insert((method.to_uppercase(), path.clone()), roles);
        }
    }
    let names = |operation: super::access::Operation| {
        let roles = operation.roles().unwrap_or_default();
        roles.iter().map(|role| role.name()).collect::<Vec<_>>()
    };
    let mut served = BTreeMap::new();
    for route in routes::table() {
        let key = (route.method.to_owned(), route.path.to_owned());
        assert!(
            served.insert(key, names(route.operation)).is_none(),
            "{}",
            route.path
        );
    }
    for path in super::otlp_http::PATHS {
        let roles = names(super::access::Operation::Push);
        served.insert(("POST".to_owned(), path.to_owned()), roles);
    }
    assert_eq!(described, served);
}

#[tokio::test]
async fn while_the_newest_deployment_is_not_known_the_one_before_is_not_listed() {
    for (state, status) in [(State::Pass, 200), (State::Recovering, 503)] {
        let server = engine(state).await;
        let answer = http(&server, "GET", "/api/v1/deployments", "", "").await;
        assert_eq!(answer.status, status, "{}", answer.body);
        let endpoint = format!("http://{}", server.addresses().grpc);
        let channel = Endpoint::from_shared(endpoint).unwrap().connect().await;
        let mut health = HealthClient::new(channel.unwrap());
        let request = HealthCheckRequest {
            service: "gate/web/onebox".to_owned(),
        };
        let health = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(health == ServingStatus::Serving, status == 200);
    }
}

#[tokio::test]
async fn a_verdict_has_the_fields_of_the_document() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schema = &document["components"]["schemas"];
    let keys = |value: &Value| {
        let keys = value.as_object().unwrap().keys().cloned();
        keys.collect::<std::collections::BTreeSet<_>>()
    };
    let server = engine(State::NoData).await;
    let answer = http(&server, "GET", "/api/v1/deployments/d1/verdict", "", "").await;
    let verdict = answer.json();
    let mut described = keys(&schema["Verdict"]["properties"]);
    assert!(described.remove("shadow"), "only hotfixes have a shadow");
    assert_eq!(keys(&verdict), described);
    assert_eq!(
        keys(&verdict["checks"][0]),
        keys(&schema["Check"]["properties"])
    );
    let states = schema["VerdictState"]["enum"].as_array().unwrap();
    assert!(states.contains(&verdict["verdict"]));
    let stopped = engine(State::Stopped).await;
    let answer = http(&stopped, "GET", "/api/v1/deployments/d1/verdict", "", "").await;
    assert_eq!(
        (answer.status, &answer.json()["verdict"]),
        (503, &json!("NO_DATA"))
    );
    assert_eq!(
        keys(&answer.json()),
        keys(&schema["Withheld"]["properties"])
    );
    let served = http(&server, "GET", "/api/v1/openapi.json", "", "").await;
    assert_eq!((served.status, served.json()), (200, document));
}
