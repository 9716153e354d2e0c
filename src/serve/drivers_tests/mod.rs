//! What each tool that drives deployments makes of every verdict: its ready-made configuration is read,
//! its requests are sent to real doors, and its rules decide.

mod argo;
mod document;
mod flagger;
mod kargo;
mod promoter;
mod spinnaker;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Clock, Ending, Server, Settings, core::Core};
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

#[tokio::test]
async fn only_a_pass_is_a_go_through_every_door() {
    use Act::{Go, Hold, Stop};
    for state in STATES {
        let (at, _server) = site(state).await;
        let given = [
            argo::act(at).await,
            flagger::act(at, stage(state)).await,
            promoter::act(at).await,
            kargo::act(at).await,
            spinnaker::act(at).await,
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
