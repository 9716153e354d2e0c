//! The gates' gRPC service, health and reflection.

use sluice::{
    event::Span,
    serve::pb::{
        BeginRequest, BypassRequest, EndRequest, GetVerdictRequest, Hotfix, ListDeploymentsRequest,
        ListVerdictsRequest, MayPromoteRequest, ReportStepRequest, StepOutcome, VerdictState,
        WatchVerdictRequest,
    },
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use super::{
    payloads::{busy, cpu_series, write_request},
    support::{Rig, http, plan},
};

fn beta(id: &str) -> BeginRequest {
    BeginRequest {
        deployment: id.to_owned(),
        service: "checkout".to_owned(),
        stage: "beta".to_owned(),
        version: "v2".to_owned(),
        ..BeginRequest::default()
    }
}

fn step(id: &str, step: &str, outcome: StepOutcome) -> ReportStepRequest {
    ReportStepRequest {
        deployment: id.to_owned(),
        step: step.to_owned(),
        outcome: outcome.into(),
    }
}

async fn cpu(rig: &Rig, value: f64) {
    let body = write_request(vec![cpu_series("h1", value, rig.now())]);
    assert_eq!(rig.remote_write(&[], &body).await.status, 204);
    rig.pass(10).await;
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn every_refusal_has_its_code() {
    let mut plan = plan();
    plan.limits.open_gates = 2;
    let rig = Rig::with(plan, None).await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    gates.begin(beta("ended")).await.unwrap();
    gates
        .end(EndRequest {
            deployment: "ended".to_owned(),
        })
        .await
        .unwrap();
    let prod = BeginRequest {
        stage: "prod".to_owned(),
        ..beta("d2")
    };
    let begins = [
        (
            BeginRequest {
                service: "shop".to_owned(),
                ..beta("d2")
            },
            Code::NotFound,
        ),
        (
            BeginRequest {
                stage: "gamma".to_owned(),
                ..beta("d2")
            },
            Code::NotFound,
        ),
        (prod.clone(), Code::InvalidArgument),
        (
            BeginRequest {
                region: "mars".to_owned(),
                ..prod.clone()
            },
            Code::InvalidArgument,
        ),
        (
            BeginRequest {
                version: String::new(),
                ..beta("d2")
            },
            Code::InvalidArgument,
        ),
        (
            BeginRequest {
                weight: f64::NAN,
                ..beta("d2")
            },
            Code::InvalidArgument,
        ),
        (
            BeginRequest {
                weight: -1.0,
                ..beta("d2")
            },
            Code::InvalidArgument,
        ),
        (
            BeginRequest {
                version: "v3".to_owned(),
                ..beta("d1")
            },
            Code::AlreadyExists,
        ),
    ];
    for (request, code) in begins {
        let status = gates.begin(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request:?}: {status}");
    }
    let steps = [
        (step("d9", "smoke", StepOutcome::Passed), Code::NotFound),
        (
            step("d1", "load-test", StepOutcome::Passed),
            Code::InvalidArgument,
        ),
        (
            step("d1", "smoke", StepOutcome::Unspecified),
            Code::InvalidArgument,
        ),
        (step("d1", "", StepOutcome::Passed), Code::InvalidArgument),
        (
            step("ended", "smoke", StepOutcome::Passed),
            Code::FailedPrecondition,
        ),
    ];
    for (request, code) in steps {
        let status = gates.report_step(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request:?}: {status}");
    }
    let unknown = GetVerdictRequest {
        deployment: "d9".to_owned(),
    };
    assert_eq!(
        gates.get_verdict(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    let unknown = WatchVerdictRequest {
        deployment: "d9".to_owned(),
    };
    assert_eq!(
        gates.watch_verdict(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    let unknown = EndRequest {
        deployment: "d9".to_owned(),
    };
    assert_eq!(gates.end(unknown).await.unwrap_err().code(), Code::NotFound);

    gates.begin(beta("d2")).await.unwrap();
    let status = gates.begin(beta("d3")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_none());

    let status = gates
        .begin(BeginRequest {
            version: String::new(),
            ..beta("d4")
        })
        .await;
    let details = status.unwrap_err().get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "version"
    );
}

#[tokio::test]
async fn what_cannot_be_taken_has_the_code_that_is_promised() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    let too_large = BeginRequest {
        one_box: vec!["h".repeat(400); 12_000],
        ..beta("d1")
    };
    let refused = gates.begin(too_large).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let nobody = gates.may_promote(MayPromoteRequest::default()).await;
    let refused = nobody.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused.message().contains("service is missing"),
        "{refused}"
    );
    let unknown = ReportStepRequest {
        outcome: 7,
        ..step("d1", "smoke", StepOutcome::Passed)
    };
    let refused = gates.report_step(unknown).await.unwrap_err();
    assert!(refused.message().contains("outcome is 7"), "{refused}");
}

#[tokio::test]
async fn a_deployment_without_an_id_is_given_a_unique_one() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    let taken = "checkout-beta-v2-2";
    gates.begin(beta(taken)).await.unwrap();
    let prod = BeginRequest {
        stage: "prod".to_owned(),
        region: "eu".to_owned(),
        ..beta("")
    };
    let mut ids = Vec::new();
    for request in [beta(""), beta(""), prod] {
        ids.push(gates.begin(request).await.unwrap().into_inner().deployment);
    }
    assert_eq!(
        ids,
        [
            "checkout-beta-v2-1",
            "checkout-beta-v2-3",
            "checkout-prod-eu-v2-4"
        ]
    );
}

#[tokio::test]
async fn a_watcher_sees_the_present_then_every_change_until_the_end() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    let request = WatchVerdictRequest {
        deployment: "d1".to_owned(),
    };
    let mut verdicts = gates
        .watch_verdict(request.clone())
        .await
        .unwrap()
        .into_inner();
    let first = verdicts.message().await.unwrap().unwrap();
    assert_eq!(first.verdict(), VerdictState::Pending);

    cpu(&rig, 0.99).await;
    let mut seen = verdicts.message().await.unwrap().unwrap();
    while seen.verdict() == VerdictState::Pending {
        seen = verdicts.message().await.unwrap().unwrap();
    }
    assert_eq!((seen.verdict(), seen.r#final), (VerdictState::Fail, true));
    assert_eq!(seen.checks[0].hosts, ["h1"]);

    gates
        .end(EndRequest {
            deployment: "d1".to_owned(),
        })
        .await
        .unwrap();
    let last = verdicts.message().await.unwrap().unwrap();
    assert_eq!(last.verdict(), VerdictState::Fail);
    assert_eq!(
        verdicts.message().await.unwrap(),
        None,
        "the stream ends with the gate"
    );

    let mut verdicts = gates.watch_verdict(request).await.unwrap().into_inner();
    assert_eq!(
        verdicts.message().await.unwrap().unwrap().verdict(),
        VerdictState::Fail
    );
    assert_eq!(verdicts.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_watcher_is_told_when_the_engine_goes_down() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    let request = WatchVerdictRequest {
        deployment: "d1".to_owned(),
    };
    let mut verdicts = gates.watch_verdict(request).await.unwrap().into_inner();
    verdicts.message().await.unwrap();
    let stopped = tokio::spawn(rig.stop());
    assert_eq!(
        verdicts.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(stopped.await.unwrap(), sluice::serve::Ending::Asked);
}

#[tokio::test]
async fn deployments_are_listed_newest_first() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    let prod = |region: &str, id: &str| BeginRequest {
        stage: "prod".to_owned(),
        region: region.to_owned(),
        ..beta(id)
    };
    for request in [beta("z"), prod("eu", "a"), prod("us", "m")] {
        gates.begin(request).await.unwrap();
        rig.pass(1).await;
    }
    gates
        .end(EndRequest {
            deployment: "a".to_owned(),
        })
        .await
        .unwrap();
    let all = ListDeploymentsRequest::default();
    for (request, ids) in [
        (all.clone(), &["m", "a", "z"][..]),
        (
            ListDeploymentsRequest {
                open_only: true,
                ..all.clone()
            },
            &["m", "z"],
        ),
        (
            ListDeploymentsRequest {
                stage: "prod".to_owned(),
                ..all.clone()
            },
            &["m", "a"],
        ),
        (
            ListDeploymentsRequest {
                region: "eu".to_owned(),
                ..all.clone()
            },
            &["a"],
        ),
        (
            ListDeploymentsRequest {
                service: "shop".to_owned(),
                ..all
            },
            &[],
        ),
    ] {
        let listed = gates
            .list_deployments(request)
            .await
            .unwrap()
            .into_inner()
            .deployments;
        let listed: Vec<&str> = listed
            .iter()
            .map(|verdict| verdict.deployment.as_str())
            .collect();
        assert_eq!(listed, ids);
    }
    let listed = rig.get("/api/v1/deployments").await.json();
    assert_eq!(listed["deployments"][0]["deployment"], "m");
}

#[tokio::test]
async fn a_gate_is_healthy_only_while_its_newest_deployment_has_a_pass() {
    let rig = Rig::new().await;
    let channel = Endpoint::from_shared(format!("http://{}", rig.at.grpc)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let mut status = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        health
            .check(request)
            .await
            .map(|response| response.into_inner().status())
    };
    assert_eq!(status("").await.unwrap(), ServingStatus::Serving);
    for unknown in [
        "gate/shop/beta/",
        "gate/checkout/prod/",
        "gate/checkout/prod/mars",
        "x",
    ] {
        assert_eq!(
            status(unknown).await.unwrap_err().code(),
            Code::NotFound,
            "{unknown}"
        );
    }
    assert_eq!(
        status("gate/checkout/prod/eu").await.unwrap(),
        ServingStatus::NotServing
    );
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    gates
        .report_step(step("d1", "smoke", StepOutcome::Passed))
        .await
        .unwrap();
    assert_eq!(
        status("gate/checkout/beta/").await.unwrap(),
        ServingStatus::NotServing
    );
    for _ in 0..7 {
        cpu(&rig, busy(rig.now())).await;
    }
    assert_eq!(
        status("gate/checkout/beta/").await.unwrap(),
        ServingStatus::Serving
    );
    assert_eq!(
        status("gate/checkout/beta").await.unwrap(),
        ServingStatus::Serving
    );
    gates.begin(beta("d2")).await.unwrap();
    assert_eq!(
        status("gate/checkout/beta/").await.unwrap(),
        ServingStatus::NotServing
    );
}

/// The services that reflection of a version lists.
macro_rules! listed {
    ($rig:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let channel = Endpoint::from_shared(format!("http://{}", $rig.at.grpc)).unwrap();
        let mut reflection = ServerReflectionClient::new(channel.connect().await.unwrap());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let requests = tokio_stream::iter([request]);
        let answers = reflection.server_reflection_info(requests).await;
        let mut answers = answers.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else {
            panic!("{answer:?}")
        };
        let services = list.service.into_iter();
        services
            .map(|service| service.name)
            .collect::<Vec<String>>()
    }};
}

#[tokio::test]
async fn reflection_of_both_versions_lists_the_services() {
    let rig = Rig::new().await;
    for names in [listed!(rig, v1), listed!(rig, v1alpha)] {
        for name in ["sluice.v1.Gates", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|listed| listed == name), "{names:?}");
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "the way of one decision, over a start"
)]
#[tokio::test]
async fn a_bypass_is_recorded_and_never_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::with(plan(), Some(folder.path().to_owned())).await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    let signed = BypassRequest {
        deployment: "d1".to_owned(),
        by: "ana".to_owned(),
        reason: "the test needs a database that is gone".to_owned(),
        ticket: "OPS-1".to_owned(),
    };
    for (request, code) in [
        (
            BypassRequest {
                by: String::new(),
                ..signed.clone()
            },
            Code::InvalidArgument,
        ),
        (
            BypassRequest {
                reason: String::new(),
                ..signed.clone()
            },
            Code::InvalidArgument,
        ),
        (
            BypassRequest {
                ticket: " ".to_owned(),
                ..signed.clone()
            },
            Code::InvalidArgument,
        ),
        (
            BypassRequest {
                deployment: "d9".to_owned(),
                ..signed.clone()
            },
            Code::NotFound,
        ),
    ] {
        let status = gates.bypass(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    let verdict = gates.bypass(signed).await.unwrap().into_inner();
    assert_eq!(verdict.verdict(), VerdictState::Bypassed);
    assert!(verdict.reasons[0].starts_with("bypassed by ana: the test needs"));
    // Over HTTP alike.
    gates.begin(beta("d2")).await.unwrap();
    let path = "/api/v1/deployments/d2/bypass";
    let answer = rig.post_json(path, r#"{"by": "ana", "reason": "r"}"#).await;
    assert_eq!(answer.status, 400);
    let answer = rig
        .post_json(path, r#"{"by": "ana", "reason": "r", "ticket": "OPS-2"}"#)
        .await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains(r#""verdict":"BYPASSED""#));
    drop(gates);
    rig.stop().await;

    // After a start it is in force, and a driver has to accept it.
    let rig = Rig::with(plan(), Some(folder.path().to_owned())).await;
    rig.pass(10).await;
    let mut gates = rig.gates().await;
    for id in ["d1", "d2"] {
        let request = GetVerdictRequest {
            deployment: id.to_owned(),
        };
        let verdict = gates.get_verdict(request).await.unwrap().into_inner();
        assert_eq!(verdict.verdict(), VerdictState::Bypassed, "{id}");
    }
    let mut request = MayPromoteRequest {
        service: "checkout".to_owned(),
        version: "v2".to_owned(),
        stage: "beta".to_owned(),
        ..MayPromoteRequest::default()
    };
    let strict = gates
        .may_promote(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(!strict.allowed);
    assert_eq!(strict.blockers[0].kind, "not_passed");
    request.accept_bypass = true;
    let opted_in = gates.may_promote(request).await.unwrap().into_inner();
    assert!(opted_in.allowed, "{opted_in:?}");
    assert_eq!(opted_in.to_stage, "logs");
}

#[tokio::test]
async fn a_step_that_fails_after_a_pass_is_told_to_whoever_reports_it() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    let passed = step("d1", "smoke", StepOutcome::Passed);
    gates.report_step(passed.clone()).await.unwrap();
    for _ in 0..7 {
        cpu(&rig, busy(rig.now())).await;
    }
    let again = gates.report_step(passed).await.unwrap().into_inner();
    assert_eq!(again.verdict(), VerdictState::Pass);

    let refused = gates.report_step(step("d1", "smoke", StepOutcome::Failed));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .contains("had said PASS, at 2026-03-01T10:01:00Z")
    );
    let answer = rig.post_json(
        "/api/v1/deployments/d1/steps",
        r#"{"step": "smoke", "outcome": "failed"}"#,
    );
    let answer = answer.await;
    assert_eq!(
        (answer.status, &answer.json()["field"]),
        (409, &"outcome".into())
    );
    assert_eq!(answer.json()["error"], refused.message());

    // It changed nothing, but is remembered.
    let stands = GetVerdictRequest {
        deployment: "d1".to_owned(),
    };
    let stands = gates.get_verdict(stands).await.unwrap().into_inner();
    assert_eq!(stands, again);
    let history = rig.get("/api/v1/history?kind=step").await.json();
    let steps = history["records"].as_array().unwrap();
    let outcomes: Vec<_> = steps.iter().map(|step| &step["body"]["outcome"]).collect();
    // Told twice at one time it is one report.
    assert_eq!(outcomes, ["passed", "passed", "failed"]);
    let why = steps[2]["body"]["refused"].as_str().unwrap();
    assert!(refused.message().ends_with(why), "{why}");
    assert!(steps[0]["body"]["refused"].is_null());
}

#[tokio::test]
async fn a_deployer_asks_before_it_goes_on() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    let path = "/api/v1/may-promote?service=checkout&version=v2&stage=beta";
    cpu(&rig, busy(rig.now())).await;
    gates.begin(beta("d1")).await.unwrap();
    let held = rig.get(path).await;
    let text = String::from_utf8_lossy(&held.body).into_owned();
    assert_eq!(held.status, 200);
    for part in [
        r#""allowed":false"#,
        r#""to":{"region":null,"stage":"logs"}"#,
        r#""kind":"not_passed""#,
        r#""clears_at":"2026-03-01T10:01:10Z""#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    gates
        .report_step(step("d1", "smoke", StepOutcome::Passed))
        .await
        .unwrap();
    for _ in 0..8 {
        cpu(&rig, busy(rig.now())).await;
    }
    let answer = String::from_utf8_lossy(&rig.get(path).await.body).into_owned();
    assert!(answer.contains(r#""allowed":true"#), "{answer}");
    // The target of the next stage is out of its limits.
    let prod = MayPromoteRequest {
        service: "checkout".to_owned(),
        version: "v2".to_owned(),
        stage: "beta".to_owned(),
        to_stage: "beta".to_owned(),
        ..MayPromoteRequest::default()
    };
    cpu(&rig, 0.95).await;
    cpu(&rig, 0.95).await;
    let sick = gates.may_promote(prod).await.unwrap().into_inner();
    assert_eq!(sick.blockers[0].kind, "unhealthy", "{sick:?}");
    for (query, status) in [
        ("service=shop&version=v2", 404),
        ("service=checkout&version=", 400),
        ("service=checkout&version=v2&stage=prod&region=mars", 400),
        ("service=checkout&version=v2&verson=v3", 400),
        ("service=checkout", 400),
    ] {
        let answer = rig.get(&format!("/api/v1/may-promote?{query}")).await;
        assert_eq!(answer.status, status, "{query}");
    }
}

#[tokio::test]
async fn changes_of_verdicts_are_listed_page_by_page() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    for id in ["d1", "d2", "d3"] {
        gates.begin(beta(id)).await.unwrap();
        rig.pass(10).await;
        gates
            .report_step(step(id, "smoke", StepOutcome::Failed))
            .await
            .unwrap();
    }
    let mut told = Vec::new();
    let mut request = ListVerdictsRequest {
        service: "checkout".to_owned(),
        page_size: 4,
        ..ListVerdictsRequest::default()
    };
    loop {
        let page = gates
            .list_verdicts(request.clone())
            .await
            .unwrap()
            .into_inner();
        let said = page
            .verdicts
            .iter()
            .map(|verdict| (verdict.deployment.clone(), verdict.verdict()));
        told.extend(said);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<(String, VerdictState)> = ["d1", "d2", "d3"]
        .into_iter()
        .flat_map(|id| {
            [VerdictState::Pending, VerdictState::Fail].map(|state| (id.to_owned(), state))
        })
        .collect();
    assert_eq!(told, expected);
    let of_one = ListVerdictsRequest {
        deployment: "d2".to_owned(),
        ..ListVerdictsRequest::default()
    };
    let page = gates.list_verdicts(of_one).await.unwrap().into_inner();
    assert_eq!(page.verdicts.len(), 2);
    let wrong = ListVerdictsRequest {
        page_token: "x".to_owned(),
        ..ListVerdictsRequest::default()
    };
    assert_eq!(
        gates.list_verdicts(wrong).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_cuts_no_bake_short() {
    let rig = Rig::new().await;
    rig.pass(3_600).await;
    let before = rig.now();
    rig.set(super::support::start());
    let begin = r#"{"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"}"#;
    let answer = rig.post_json("/api/v1/deployments", begin).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["at"], before.to_string());
}

#[tokio::test]
async fn while_the_clock_is_behind_event_time_nothing_is_lost_and_nothing_decided() {
    let rig = Rig::new().await;
    let begin = r#"{"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"}"#;
    assert_eq!(
        rig.post_json("/api/v1/deployments", begin).await.status,
        200
    );
    let send = async || {
        let body = write_request(vec![cpu_series("h1", busy(rig.now()), rig.now())]);
        rig.remote_write(&[], &body).await
    };
    let reason = async || {
        let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
        assert_eq!(verdict["verdict"], "PENDING", "{verdict}");
        verdict["reasons"][0].as_str().unwrap().to_owned()
    };
    rig.pass(20).await;
    assert_eq!(send().await.status, 204);
    let reached = rig.now();
    rig.set(reached - Span::from_seconds(120));
    rig.pass(1).await;
    let sent = send().await;
    assert_eq!(
        (sent.status, sent.header("retry-after")),
        (503, Some("1")),
        "{}",
        sent.text()
    );
    let ready = rig.get("/-/ready").await;
    assert_eq!(ready.status, 503);
    for told in [ready.text(), reason().await] {
        assert!(told.contains("was set back"), "{told}");
    }
    // As soon as it has come nearly as far again, what comes is in time.
    rig.set(reached);
    rig.pass(0).await;
    assert_eq!(send().await.status, 204);
    assert_eq!(rig.get("/-/ready").await.status, 200);
    assert!(!reason().await.contains("was set back"));
}

#[tokio::test]
async fn times_that_no_timestamp_may_hold_are_told_by_their_field() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let known = rig.now().nanos() / 1_000_000_000;
    for (at, is_one) in [
        (time(known, 0), true),
        (time(-62_135_596_800, 0), true),
        (time(253_402_300_799, 999_999_999), true),
        (time(253_402_300_800, 0), false),
        (time(1 << 62, 0), false),
        (time(-62_135_596_801, 0), false),
        (time(known, -5), false),
        (time(known, 1_000_000_000), false),
    ] {
        let request = ListVerdictsRequest {
            from: at,
            ..ListVerdictsRequest::default()
        };
        match gates.list_verdicts(request).await {
            Ok(_) => assert!(is_one, "{at:?}"),
            Err(status) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{at:?} {status}");
                let is_named = status.message().contains("from");
                assert!(!is_one && is_named, "{at:?} {status}");
            }
        }
    }
    let mut begin = beta("d1");
    begin.hotfix = Some(Hotfix {
        by: "ada".to_owned(),
        reason: "a leak".to_owned(),
        ticket: "T-1".to_owned(),
        expires: time(1 << 62, 0),
    });
    let refused = gates.begin(begin).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("hotfix.expires"), "{refused}");
}

#[tokio::test]
async fn the_progress_of_what_ended_undecided_says_what_was_awaited() {
    let rig = Rig::new().await;
    let mut gates = rig.gates().await;
    gates.begin(beta("d1")).await.unwrap();
    rig.pass(10).await;
    let deployment = "d1".to_owned();
    gates.end(EndRequest { deployment }).await.unwrap();
    let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
    let progress = verdict["progress"].as_str().unwrap();
    let (_, awaited) = progress.split_once("; until then: ").expect(progress);
    assert_eq!(verdict["reasons"][1], awaited);
    let webhook = r#"{"name": "x", "namespace": "y", "phase": "Progressing", "metadata": {"deployment": "d1"}}"#;
    let told = rig.post_json("/flagger/confirm", webhook).await.text();
    assert!(told.contains(awaited), "{told}");
}

#[tokio::test]
async fn a_body_of_the_api_that_is_compressed_is_of_an_unknown_encoding() {
    let rig = Rig::new().await;
    let begin = r#"{"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"}"#;
    let json = ("content-type", "application/json");
    let gzipped = super::payloads::gzip(begin.as_bytes());
    for (encoding, body, status) in [
        ("gzip", &gzipped[..], 415),
        ("zstd", &gzipped[..], 415),
        ("identity", begin.as_bytes(), 200),
    ] {
        let headers = [json, ("content-encoding", encoding)];
        let answer = http(rig.at.http, "POST", "/api/v1/deployments", &headers, body).await;
        assert_eq!(answer.status, status, "{encoding}: {}", answer.text());
    }
}
