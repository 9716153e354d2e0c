//! The gates' gRPC service, health and reflection.

use sluice::serve::pb::{
    BeginRequest, EndRequest, GetVerdictRequest, ListDeploymentsRequest, ReportStepRequest,
    StepOutcome, VerdictState, WatchVerdictRequest,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

use super::{
    payloads::{busy, cpu_series, write_request},
    support::{Rig, plan},
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

#[tokio::test]
async fn reflection_lists_the_services() {
    let rig = Rig::new().await;
    let channel = Endpoint::from_shared(format!("http://{}", rig.at.grpc)).unwrap();
    let mut reflection = ServerReflectionClient::new(channel.connect().await.unwrap());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::iter([request]);
    let mut answers = reflection
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in ["sluice.v1.Gates", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
