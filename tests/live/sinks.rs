//! Sinks of a running engine, on a real receiver.

use axum::{Router, body::Bytes, extract::State, http::Uri, routing::post};
use serde_json::Value;
use sluice::{plan::Plan, sink::Sinks};
use tokio::{net::TcpListener, sync::mpsc};

use super::support::{CONFIGURATION, Rig};

async fn receiver() -> (String, mpsc::UnboundedReceiver<(String, Value)>) {
    let (sender, came) = mpsc::unbounded_channel();
    let hear = |State(sender): State<mpsc::UnboundedSender<(String, Value)>>,
                uri: Uri,
                body: Bytes| async move {
        let body = serde_json::from_slice(&body).unwrap();
        drop(sender.send((uri.path().to_owned(), body)));
        r#"{"id": 1}"#
    };
    let router = Router::new()
        .route("/{*path}", post(hear).patch(hear))
        .with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, came)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_deployment_is_told_to_every_sink() {
    let (url, mut came) = receiver().await;
    let sinks = format!(
        "{CONFIGURATION}external_url: https://sluice.example/\nsinks:\n  \
         - {{alertmanager: {{url: '{url}/am'}}}}\n  \
         - {{grafana_webhook: {{url: '{url}/hook', bearer_file: /nowhere/at/all}}}}\n  \
         - {{grafana_webhook: {{url: '{url}/hook', name: oncall}}}}\n  \
         - {{grafana_annotations: {{url: '{url}/grafana'}}}}\n"
    );
    let plan = Plan::parse(&sinks).unwrap();
    let rig = Rig::with(plan.clone(), None).await;
    let counters = |sink: &str| rig.server.sink_counters(sink);
    let feed = rig.server.feed();
    let sinks = Sinks::start(&plan, None, "http://page", &feed, counters)
        .await
        .expect("a token that is not there yet is no reason not to start");

    let begin = r#"{"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"}"#;
    assert_eq!(
        rig.post_json("/api/v1/deployments", begin).await.status,
        200
    );
    let (path, opened) = came.recv().await.unwrap();
    assert_eq!(path, "/grafana/api/annotations");
    assert!(opened.get("timeEnd").is_none());

    let step = r#"{"step": "smoke", "outcome": "failed"}"#;
    let answer = rig.post_json("/api/v1/deployments/d1/steps", step).await;
    assert_eq!(answer.json()["verdict"], "FAIL");
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(came.recv().await.unwrap());
    }
    told.sort_by(|one, other| one.0.cmp(&other.0));
    let [(am, alerts), (grafana, closed), (hook, message)] = told.as_slice() else {
        panic!("{told:?}")
    };
    let paths = [am.as_str(), grafana, hook];
    assert_eq!(
        paths,
        ["/am/api/v2/alerts", "/grafana/api/annotations/1", "/hook"]
    );
    assert_eq!(alerts[0]["labels"]["alertname"], "SluiceDeploymentFailed");
    assert_eq!(alerts[0]["generatorURL"], "https://sluice.example/#d1");
    assert!(closed["timeEnd"].is_i64());
    assert_eq!(
        (&message["status"], &message["receiver"]),
        (&"firing".into(), &"oncall".into())
    );

    sinks.stop().await;
    for sink in ["alertmanager", "oncall"] {
        let sent = rig
            .metric(&format!("sluice_sink_sent_total{{sink=\"{sink}\"}}"))
            .await;
        assert_eq!(sent, Some(1.0), "{sink}");
    }
    let series = |name: &str| format!("sluice_sink_{name}{{sink=\"grafana_webhook\"}}");
    assert!(rig.metric(&series("failed_total")).await.unwrap() >= 1.0);
    assert_eq!(rig.metric(&series("queue")).await, Some(1.0));
    let dropped = "sluice_sink_dropped_total{sink=\"oncall\",reason=\"refused\"}";
    assert_eq!(rig.metric(dropped).await, Some(0.0));
    rig.stop().await;
}
