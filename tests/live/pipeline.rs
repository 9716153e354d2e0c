//! Whole recordings driven through the doors, by a deployer that knows only gRPC, and by one that knows
//! only HTTP: what is said is what a replay says of the same recording, to the byte.
//!
//! The engine tells its callers apart by tokens: whatever is told is first told by somebody who may not.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Value, json};
use sluice::{
    engine::{Engine, Output},
    event::{
        Batch, Begin, Bypass, DeploymentEvent, LogRecord, Step, StepOutcome, Timestamp,
        Value as Number,
    },
    gate::LineKind,
    plan::{Plan, Role, TokenPlan},
    serve::{client, convert, pb},
    source::{
        recording::{Inputs, Recording},
        timeline::Timeline,
    },
};
use tonic::Code;

use super::{
    payloads::{TimeSeries, series, write_request},
    support::{Rig, http, line},
};

const INGEST: &str = "ingest-0123456789abcdef";
const DEPLOY: &str = "deploy-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";

/// How a deployer talks to the engine.
#[derive(Clone, Copy, Debug)]
enum Way {
    Grpc,
    Http,
}

/// What a replay says of a recording.
struct Replayed {
    changes: Vec<String>,
    finals: BTreeMap<String, Value>,
    until: Timestamp,
}

fn opened(name: &str) -> (Arc<Plan>, Timeline) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let Recording { plan, inputs, .. } = Recording::open(&[folder.join(name)], None, None).unwrap();
    let Inputs::Timeline(timeline) = inputs else {
        panic!("{name} has files with samples");
    };
    (plan, timeline)
}

fn replay(name: &str) -> Replayed {
    let (plan, timeline) = opened(name);
    let lateness = plan.lateness;
    let mut engine = Engine::new(plan);
    let mut changes = Vec::new();
    timeline.play(&mut engine, |outputs, _| {
        for output in outputs.drain(..) {
            match output {
                Output::Verdict(verdict) => changes.push(line(LineKind::Verdict, *verdict)),
                Output::Shadow(_) => {}
                Output::Ended(end) => panic!("{end:?}"),
                Output::Refused(refusal) => panic!("{refusal}"),
                Output::Forgotten(gate) => panic!("{gate:?}"),
            }
        }
    });
    let finals = engine.gates().map(|gate| {
        let verdict = serde_json::to_value(gate.verdict()).unwrap();
        (gate.begin.deployment.clone(), verdict)
    });
    Replayed {
        changes,
        finals: finals.collect(),
        until: engine.watermark() + lateness,
    }
}

/// The plan of a recording to the letter, but on free ports and with a token for each role.
fn guarded(name: &str, folder: &Path) -> Plan {
    let mut plan = Plan::clone(&opened(name).0);
    let listen = &mut plan.listen;
    for address in [
        &mut listen.grpc,
        &mut listen.http,
        &mut listen.otlp_grpc,
        &mut listen.otlp_http,
    ] {
        address.set_port(0);
    }
    let roles = [
        (Role::Ingest, INGEST),
        (Role::Deploy, DEPLOY),
        (Role::Admin, ADMIN),
    ];
    plan.access.tokens = roles
        .into_iter()
        .map(|(role, token)| {
            let file = folder.join(role.name());
            std::fs::write(&file, token).unwrap();
            let file = file.to_str().unwrap().to_owned();
            TokenPlan { role, file }
        })
        .collect();
    plan
}

/// Who has to tell an event, and who must not.
fn entitled(event: &DeploymentEvent) -> (&'static str, &'static [&'static str]) {
    let is_override = match event {
        DeploymentEvent::Begin(begin) => begin.hotfix.is_some(),
        DeploymentEvent::Bypass(_) => true,
        DeploymentEvent::Step(_) | DeploymentEvent::End(_) => false,
    };
    if is_override {
        (ADMIN, &[INGEST, DEPLOY])
    } else {
        (DEPLOY, &[INGEST])
    }
}

/// Someone who drives deployments.
struct Deployer<'a> {
    rig: &'a Rig,
    way: Way,
    /// By token.
    gates: BTreeMap<&'static str, client::Gates>,
}

impl<'a> Deployer<'a> {
    async fn new(rig: &'a Rig, way: Way) -> Self {
        let mut gates = BTreeMap::new();
        for token in [INGEST, DEPLOY, ADMIN] {
            let reach = client::Reach {
                token: client::Bearer::new(token),
                ..client::Reach::at(rig.at.grpc.to_string())
            };
            gates.insert(token, client::connect(&reach).await.unwrap());
        }
        Self { rig, way, gates }
    }

    async fn http(&self, method: &str, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
        ];
        let body = match method {
            "GET" => Vec::new(),
            _ => body.to_string().into_bytes(),
        };
        let answer = http(self.rig.at.http, method, path, &headers, &body).await;
        (answer.status, answer.json())
    }

    /// Asks whether a deployment may begin; gives the kinds of what stands in the way.
    async fn may_begin(&mut self, begin: &Begin) -> Vec<String> {
        let region = begin.region.clone().unwrap_or_default();
        match self.way {
            Way::Grpc => {
                let request = pb::MayPromoteRequest {
                    service: begin.service.clone(),
                    version: begin.version.clone(),
                    to_stage: begin.stage.clone(),
                    to_region: region,
                    ..pb::MayPromoteRequest::default()
                };
                let gates = self.gates.get_mut(DEPLOY).unwrap();
                let answer = gates.may_promote(request).await.unwrap().into_inner();
                assert_eq!(answer.allowed, answer.blockers.is_empty());
                answer
                    .blockers
                    .into_iter()
                    .map(|blocker| blocker.kind)
                    .collect()
            }
            Way::Http => {
                let path = format!(
                    "/api/v1/may-promote?service={}&version={}&to_stage={}&to_region={region}",
                    begin.service, begin.version, begin.stage
                );
                let (status, answer) = self.http("GET", DEPLOY, &path, &Value::Null).await;
                assert_eq!(status, 200, "{answer}");
                let blockers = answer["blockers"].as_array().unwrap().iter();
                let kinds = blockers.map(|blocker| blocker["kind"].as_str().unwrap().to_owned());
                let kinds: Vec<String> = kinds.collect();
                assert_eq!(answer["allowed"], kinds.is_empty());
                kinds
            }
        }
    }

    /// Tells of an event; says whether the caller may.
    async fn tell(&mut self, event: &DeploymentEvent, token: &'static str) -> bool {
        match self.way {
            Way::Grpc => {
                let told = tell_grpc(self.gates.get_mut(token).unwrap(), event).await;
                match told {
                    Ok(()) => true,
                    Err(status) if status.code() == Code::PermissionDenied => false,
                    Err(status) => panic!("{status}"),
                }
            }
            Way::Http => {
                let (path, body) = request(event);
                let (status, answer) = self.http("POST", token, &path, &body).await;
                assert!([200, 403].contains(&status), "{status}: {answer}");
                status == 200
            }
        }
    }

    /// What is said of a deployment in the end.
    async fn verdict(&mut self, deployment: &str) -> Value {
        match self.way {
            Way::Grpc => {
                let request = pb::GetVerdictRequest {
                    deployment: deployment.to_owned(),
                };
                let gates = self.gates.get_mut(DEPLOY).unwrap();
                let verdict = gates.get_verdict(request).await.unwrap().into_inner();
                serde_json::to_value(convert::verdict_from_pb(verdict).unwrap()).unwrap()
            }
            Way::Http => {
                let path = format!("/api/v1/deployments/{deployment}/verdict");
                let (status, mut verdict) = self.http("GET", DEPLOY, &path, &Value::Null).await;
                assert_eq!(status, 200, "{verdict}");
                verdict.as_object_mut().unwrap().remove("progress");
                verdict
            }
        }
    }
}

async fn tell_grpc(
    gates: &mut client::Gates,
    event: &DeploymentEvent,
) -> Result<(), tonic::Status> {
    match event.clone() {
        DeploymentEvent::Begin(begin) => gates.begin(convert::begin_to_pb(begin)).await.map(drop),
        DeploymentEvent::Step(Step {
            deployment,
            step,
            outcome,
            ..
        }) => {
            let outcome = match outcome {
                StepOutcome::Passed => pb::StepOutcome::Passed,
                StepOutcome::Failed => pb::StepOutcome::Failed,
            };
            let request = pb::ReportStepRequest {
                deployment,
                step,
                outcome: outcome.into(),
            };
            gates.report_step(request).await.map(drop)
        }
        DeploymentEvent::Bypass(Bypass {
            deployment,
            by,
            reason,
            ticket,
            ..
        }) => {
            let request = pb::BypassRequest {
                deployment,
                by,
                reason,
                ticket,
            };
            gates.bypass(request).await.map(drop)
        }
        DeploymentEvent::End(end) => {
            let deployment = end.deployment;
            gates.end(pb::EndRequest { deployment }).await.map(drop)
        }
    }
}

/// An event as a request over HTTP.
fn request(event: &DeploymentEvent) -> (String, Value) {
    let mut body = serde_json::to_value(event).unwrap();
    let fields = body.as_object_mut().unwrap();
    fields.remove("at");
    fields.remove("event");
    let what = match event {
        DeploymentEvent::Begin(_) => return ("/api/v1/deployments".to_owned(), body),
        DeploymentEvent::Step(_) => "steps",
        DeploymentEvent::Bypass(_) => "bypass",
        DeploymentEvent::End(_) => "end",
    };
    fields.remove("deployment");
    let path = format!("/api/v1/deployments/{}/{what}", event.deployment());
    let body = if what == "end" { json!({}) } else { body };
    (path, body)
}

/// Sends what a recording has of a bucket, by remote write and OTLP.
async fn send(rig: &Rig, batch: &Batch) {
    let bearer = format!("Bearer {INGEST}");
    let headers = [("authorization", bearer.as_str())];
    let mut all: Vec<TimeSeries> = Vec::new();
    for block in &batch.series {
        let labels: Vec<(&str, &str)> = block.labels.iter().collect();
        for point in &block.points {
            let Number::Number(value) = point.value else {
                panic!("{block:?} is no number");
            };
            all.push(series(&labels, value, point.at));
        }
    }
    if !all.is_empty() {
        let answer = rig.remote_write(&headers, &write_request(all)).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    if !batch.logs.is_empty() {
        let resources: Vec<Value> = batch.logs.iter().map(resource_logs).collect();
        let body = json!({ "resourceLogs": resources }).to_string();
        let headers = [headers[0], ("content-type", "application/json")];
        let answer = rig.otlp("/v1/logs", &headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.text()), (200, "{}".to_owned()));
    }
}

/// A log record as OTLP has it in JSON.
fn resource_logs(record: &LogRecord) -> Value {
    let attribute = |(key, text): (&str, &str)| json!({"key": key, "value": {"stringValue": text}});
    let attributes: Vec<Value> = record.attributes.iter().map(attribute).collect();
    let one = json!({
        "timeUnixNano": record.at.nanos().to_string(),
        "severityNumber": record.severity.number(),
        "body": {"stringValue": record.body},
    });
    let count = usize::try_from(record.count).unwrap();
    json!({
        "resource": {"attributes": attributes},
        "scopeLogs": [{"logRecords": vec![one; count]}],
    })
}

/// Plays a recording through the doors. `held`: deployments that something stands in the way of when they
/// begin, and what; they begin all the same.
async fn drive(name: &str, way: Way, held: &[(&str, &str)]) {
    let replayed = replay(name);
    let (_, timeline) = opened(name);
    let mut steps = timeline.into_steps().peekable();
    let folder = tempfile::tempdir().unwrap();
    let start = steps.peek().expect("something happens").bucket.start;
    let mut rig = Rig::starting(guarded(name, folder.path()), None, start).await;
    let mut changes = Vec::new();
    let mut told = 0;
    for step in steps {
        rig.set(step.bucket.start);
        rig.server.tick().await.unwrap();
        for event in &step.events {
            // Whoever deploys comes and goes.
            let mut deployer = Deployer::new(&rig, way).await;
            rig.set(event.at());
            if let DeploymentEvent::Begin(begin) = event {
                let expected = held.iter().filter(|(id, _)| *id == begin.deployment);
                let expected: Vec<&str> = expected.map(|(_, kind)| *kind).collect();
                assert_eq!(
                    deployer.may_begin(begin).await,
                    expected,
                    "{name} {way:?} {begin:?}"
                );
            }
            let (may, may_not) = entitled(event);
            for token in may_not {
                assert!(
                    !deployer.tell(event, token).await,
                    "{name} {way:?} {event:?}"
                );
            }
            assert!(deployer.tell(event, may).await, "{name} {way:?} {event:?}");
            told += 1;
        }
        send(&rig, &step.batch).await;
        rig.set(step.bucket.end);
        rig.server.tick().await.unwrap();
        changes.extend(rig.lines());
    }
    rig.set(replayed.until);
    rig.server.tick().await.unwrap();
    changes.extend(rig.lines());
    assert_eq!(changes, replayed.changes, "{name} {way:?}");
    assert!(0 < told && !replayed.finals.is_empty());
    let mut deployer = Deployer::new(&rig, way).await;
    for (deployment, verdict) in &replayed.finals {
        let said = deployer.verdict(deployment).await;
        assert_eq!(&said, verdict, "{name} {way:?}");
    }
    drop(deployer);
    rig.stop().await;
}

async fn drive_both(name: &str, held: &[(&str, &str)]) {
    drive(name, Way::Grpc, held).await;
    drive(name, Way::Http, held).await;
}

/// The example of the promises to users, with everything that it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_driven_over_grpc_from_alpha_to_production_in_the_second_region() {
    drive("the_example", Way::Grpc, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_driven_over_http_from_alpha_to_production_in_the_second_region() {
    drive("the_example", Way::Http, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_alpha_to_production_in_the_second_region() {
    let last = &replay("a_pipeline").finals["d7-prod-us"];
    assert_eq!(
        (&last["verdict"], &last["region"]),
        (&json!("PASS"), &json!("us-east-1"))
    );
    drive_both("a_pipeline", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_failed_fails_its_gate() {
    drive_both("a_failed_step", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_failed_in_one_region_holds_the_others() {
    drive_both(
        "a_failure_that_holds_the_others",
        &[("d-us", "other_region")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hotfix_skips_only_the_bake_and_its_shadow_says_the_rest() {
    let replayed = replay("a_hotfix");
    let said = |id: &str| &replayed.finals[id];
    assert_eq!(said("d1")["verdict"], "PASS");
    assert_ne!(said("d1")["shadow"], Value::Null);
    assert_eq!(said("d2")["verdict"], "FAIL", "a step is not skipped");
    assert_eq!(said("d3")["verdict"], "FAIL", "nor is a limit");
    drive_both("a_hotfix", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypass_needs_the_right_and_lets_the_next_stage_go_on() {
    drive_both(
        "a_failed_step_that_is_bypassed",
        &[("d2-gamma", "not_passed")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_blocked_by_another_region_by_the_hour_and_by_a_sick_target() {
    drive_both("a_start_beside_another_region", &[("d-us", "other_region")]).await;
    drive_both("a_start_by_day", &[("d1", "peak")]).await;
    drive_both("a_start_on_a_sick_target", &[("d1", "unhealthy")]).await;
}
