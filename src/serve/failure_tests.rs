//! What the doors say when the core is overloaded, cannot record, or dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use super::{
    Clock, Ending, Server, Settings, client,
    core::{Core, EventError, Room, Unavailable},
    otlp_grpc::services::metrics_service_client::MetricsServiceClient,
    pb,
    recovery::{JournalSettings, Recovery},
};
use crate::{
    event::{Begin, DeploymentEvent, KeyHash, Signal, Span, Timestamp},
    journal::{Body, DataDir, Encoding, Entry, Format, Limits, Reader},
    plan::Plan,
};

const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
checks: {up: {metric: up, absent: 1m}}
services: {web: {stages: [{name: unit, steps: [tests]}]}}
"#;

fn plan() -> Arc<Plan> {
    Arc::new(Plan::parse(CONFIGURATION).unwrap())
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_772_359_200)
}

async fn start() -> (Server, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(now().nanos()));
    let settings = Settings {
        plan: plan(),
        data_dir: None,
        clock: Clock::Manual(Arc::clone(&clock)),
        source: None,
    };
    (Server::start(settings).await.unwrap(), clock)
}

/// The whole answer to a request over HTTP.
async fn http(address: std::net::SocketAddr, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn begin(deployment: &str) -> pb::BeginRequest {
    pb::BeginRequest {
        deployment: deployment.to_owned(),
        service: "web".to_owned(),
        stage: "unit".to_owned(),
        version: "v1".to_owned(),
        ..pb::BeginRequest::default()
    }
}

#[tokio::test]
async fn when_the_core_dies_no_verdict_is_given_out() {
    let (server, _) = start().await;
    let at = *server.addresses();
    let mut gates = client::connect(&client::Reach::at(at.grpc.to_string()))
        .await
        .unwrap();
    gates.begin(begin("d1")).await.unwrap();
    let request = pb::ReportStepRequest {
        deployment: "d1".to_owned(),
        step: "tests".to_owned(),
        outcome: pb::StepOutcome::Passed.into(),
    };
    let verdict = gates.report_step(request).await.unwrap().into_inner();
    assert_eq!(verdict.verdict(), pb::VerdictState::Pass);
    let request = pb::WatchVerdictRequest {
        deployment: "d1".to_owned(),
    };
    let mut verdicts = gates.watch_verdict(request).await.unwrap().into_inner();
    assert_eq!(
        verdicts.message().await.unwrap().unwrap().verdict(),
        pb::VerdictState::Pass
    );

    let core = server.shared().core.clone();
    core.panic().await;
    assert_eq!(Core::ended(core.ending()).await, Ending::Died);

    assert_eq!(
        verdicts.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    let request = pb::GetVerdictRequest {
        deployment: "d1".to_owned(),
    };
    assert_eq!(
        gates.get_verdict(request).await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        gates.begin(begin("d2")).await.unwrap_err().code(),
        Code::Unavailable
    );
    let answer = http(at.http, "GET /api/v1/deployments/d1/verdict", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#""verdict":"NO_DATA""#), "{answer}");
    assert!(
        answer.contains(r#""reasons":["the engine stopped"]"#),
        "{answer}"
    );
    for path in ["/-/ready", "/", "/api/v1/deployments"] {
        let answer = http(at.http, &format!("GET {path}"), "", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && !answer.contains("PASS"),
            "{answer}"
        );
    }
    let answer = http(at.http, "GET /metrics", "", "").await;
    assert!(answer.contains("\nsluice_engine_up 0\n"), "{answer}");
    let channel = Endpoint::from_shared(format!("http://{}", at.grpc)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    for service in ["", "gate/web/unit"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
    assert_eq!(server.run(std::future::pending()).await, Ending::Died);
}

#[tokio::test]
async fn an_overloaded_engine_asks_every_sender_to_come_again() {
    let (server, _) = start().await;
    let at = *server.addresses();
    let all = server.shared().core.reserve(Room::BYTES_MAX).unwrap();
    assert_eq!(
        server.shared().core.reserve(1).map(drop),
        Err(Unavailable::Busy)
    );
    let json = "Content-Type: application/json\r\n";
    for (address, path, headers) in [
        (at.http, "/api/v1/write", ""),
        (at.otlp_http, "/v1/metrics", json),
    ] {
        let answer = http(address, &format!("POST {path}"), headers, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{path}: {answer}");
    }
    let url = format!("http://{}", at.otlp_grpc);
    let mut otlp = MetricsServiceClient::connect(url).await.unwrap();
    let status = otlp.export(Bytes::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(std::time::Duration::from_secs(1)));

    drop(all);
    otlp.export(Bytes::new()).await.unwrap();
    let answer = http(at.otlp_http, "POST /v1/metrics", json, "{}").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_engine_without_ticks_is_not_ready() {
    let (server, clock) = start().await;
    assert_eq!(server.shared().ready(), Ok(()));
    clock.fetch_add(Span::from_seconds(31).nanos(), Ordering::AcqRel);
    assert!(server.shared().ready().is_err());
    server.tick().await.unwrap();
    assert_eq!(server.shared().ready(), Ok(()));
}

fn begun(deployment: &str) -> DeploymentEvent {
    DeploymentEvent::Begin(Begin {
        at: now(),
        deployment: deployment.to_owned(),
        service: "web".to_owned(),
        stage: "unit".to_owned(),
        region: None,
        version: "v1".to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    })
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (plan, keys) = (plan(), KeyHash::new(0));
    let settings = JournalSettings {
        limits: Limits {
            bytes_max: 1,
            ..Limits::default()
        },
        snapshot_every: Span::from_minutes(5),
        commit_delay: Duration::ZERO,
        started_at: now(),
    };
    let recovery = Recovery::open(directory.path(), &plan, keys, settings).unwrap();
    let core = Core::start(&plan, keys, Some(recovery)).unwrap();
    core.ready().await.unwrap();
    let body = Body {
        format: Format::OtlpLogs,
        encoding: Encoding::Identity,
        bytes: Bytes::from_static(b"x"),
    };
    let ticket = core.place(body).unwrap();
    assert!(matches!(
        ticket.durable().await,
        Err(Unavailable::NotRecorded)
    ));
    assert_eq!(
        core.event(begun("d1")).await,
        Err(EventError::Unavailable(Unavailable::NotRecorded))
    );
    for now in [now(), now() + Span::from_hours(1)] {
        assert_eq!(core.tick(now).await, Err(Unavailable::NotRecorded));
    }
    // Nor is what a limit refuses, which is tried again each time.
    for _ in 0..2 {
        let marked = core.mark_over_limit(Signal::Logs).await;
        assert_eq!(marked, Err(Unavailable::NotRecorded));
    }
    assert!(core.published().is_stalled());
    assert_eq!(core.published().journal_errors(), 6);
    let stats = core.published().stats();
    assert_eq!((stats.watermark, stats.open_gates), (Timestamp::MIN, 0));
    assert_eq!(core.published().deployment("d1"), Ok(None));
}

#[tokio::test]
async fn a_start_under_another_configuration_answers_nobody_until_it_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let keys = KeyHash::new(0);
    let open = |plan: &Arc<Plan>, bytes_max| {
        let settings = JournalSettings {
            limits: Limits {
                bytes_max,
                ..Limits::default()
            },
            snapshot_every: Span::from_nanos(1),
            commit_delay: Duration::ZERO,
            started_at: now(),
        };
        let recovery = Recovery::open(directory.path(), plan, keys, settings).unwrap();
        Core::start(plan, keys, Some(recovery)).unwrap()
    };
    let starts = || {
        let journal = directory.path().join(DataDir::JOURNAL);
        let entries = Reader::open(&journal).unwrap();
        let changes = entries.filter_map(|entry| match entry.unwrap().1 {
            Entry::Start(change) => Some((change.from_digest, change.to_digest)),
            _ => None,
        });
        changes.collect::<Vec<_>>()
    };
    let end = async |core: Core| {
        core.stop().await;
        Core::ended(core.ending()).await
    };
    let first = plan();
    let other = Plan::parse(&CONFIGURATION.replace("steps: [tests]", "steps: [tests, more]"));
    let other = Arc::new(other.unwrap());
    let core = open(&first, u64::MAX);
    core.ready().await.unwrap();
    core.event(begun("d1")).await.unwrap();
    // The state is saved at the second.
    for now in [now(), now() + Span::from_minutes(1)] {
        core.tick(now).await.unwrap();
    }
    assert_eq!(end(core).await, Ending::Asked);

    let core = open(&other, 1);
    while !core.published().is_stalled() {
        thread::yield_now();
    }
    assert!(!core.is_ready());
    let shown = core.published().deployment("d1").unwrap().unwrap();
    assert_eq!(shown.verdict.config_digest, other.digest);
    assert!(
        shown.verdict.reasons[0].contains("recovering"),
        "{:?}",
        shown.verdict.reasons
    );
    assert_eq!(
        core.event(begun("d2")).await,
        Err(EventError::Unavailable(Unavailable::Recovering))
    );
    assert_eq!(end(core).await, Ending::Asked);
    assert_eq!(starts(), []);

    for _ in 0..2 {
        let core = open(&other, u64::MAX);
        core.ready().await.unwrap();
        assert!(!core.published().is_stalled());
        assert_eq!(end(core).await, Ending::Asked);
        let start = (first.digest.clone(), other.digest.clone());
        assert_eq!(starts(), [start]);
    }
}
