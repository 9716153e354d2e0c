//! A delivery against a receiver in this process that takes, refuses, hangs and hangs up.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    alert::Links, client::Client, delivery::Delivery, memory::Memory, test_support::deployment,
};
use crate::{
    event::{Span, Timestamp},
    gate::VerdictState::{Fail, NoData, Pending},
    plan::{AlertRules, SinkKind, SinkPlan, SinkUrl},
    serve::{Deployment, Feed, FeedDriver, SinkCounters},
};

/// What a receiver answers next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Takes,
    Says(u16),
    AsksToWait(u16),
    Redirects,
    Hangs,
    TalksTooMuch,
}

/// A request that came.
#[derive(Debug)]
struct Came {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Value,
}

#[derive(Clone)]
struct Ears {
    moods: Arc<Mutex<Vec<Mood>>>,
    came: mpsc::UnboundedSender<Came>,
}

struct Receiver {
    url: String,
    ears: Ears,
    came: mpsc::UnboundedReceiver<Came>,
}

impl Receiver {
    async fn new() -> Self {
        let (sender, came) = mpsc::unbounded_channel();
        let ears = Ears {
            moods: Arc::default(),
            came: sender,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(hear).with_state(ears.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, ears, came }
    }

    /// The next answers, before it takes everything.
    fn answers(&self, moods: &[Mood]) {
        *self.ears.moods.lock().unwrap() = moods.iter().rev().copied().collect();
    }

    async fn next(&mut self) -> Came {
        self.came.recv().await.expect("a request comes")
    }

    fn nothing_more(&mut self) {
        if let Ok(came) = self.came.try_recv() {
            panic!("{came:?}");
        }
    }
}

async fn hear(
    State(ears): State<Ears>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let came = Came {
        method,
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_slice(&body).expect("a request is JSON"),
    };
    let mood = ears.moods.lock().unwrap().pop().unwrap_or(Mood::Takes);
    drop(ears.came.send(came));
    let status = |status| StatusCode::from_u16(status).unwrap();
    match mood {
        Mood::Takes => r#"{"message": "Annotation added", "id": 17}"#.into_response(),
        Mood::Says(code) => status(code).into_response(),
        Mood::AsksToWait(seconds) => {
            (status(429), [("retry-after", seconds.to_string())]).into_response()
        }
        Mood::Redirects => (status(302), [("location", "/elsewhere")]).into_response(),
        Mood::Hangs => std::future::pending().await,
        Mood::TalksTooMuch => Body::from(vec![b' '; 100 << 10]).into_response(),
    }
}

/// A sink and what it sees, without an engine.
struct Rig {
    driver: FeedDriver,
    counters: Arc<SinkCounters>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn alertmanager(url: &str) -> SinkPlan {
    SinkPlan {
        name: "test".to_owned(),
        url: SinkUrl(url.to_owned()),
        token_file: None,
        ca_file: None,
        timeout: Span::from_seconds(5),
        queue: 100,
        kind: SinkKind::Alertmanager {
            resend: Span::from_minutes(1),
            alerts: AlertRules::default(),
        },
    }
}

fn webhook(url: &str) -> SinkPlan {
    SinkPlan {
        kind: SinkKind::GrafanaWebhook {
            max_alerts: 0,
            alerts: AlertRules::default(),
        },
        ..alertmanager(url)
    }
}

impl Rig {
    fn start(plan: &SinkPlan, data_dir: Option<&std::path::Path>, stands: &[Deployment]) -> Self {
        let driver = FeedDriver::new(start());
        driver.show(stands.to_vec());
        let counters = Arc::new(SinkCounters::default());
        let (stop, stopping) = watch::channel(false);
        let feed: Feed = driver.feed();
        let delivery = Delivery {
            name: plan.name.clone(),
            client: Client::new(plan).unwrap(),
            memory: Memory::new(data_dir, plan),
            feed,
            counters: Arc::clone(&counters),
            stopping,
        };
        let links = Links::new("http://s");
        let task = tokio::spawn(delivery.run(super::conversation(plan, &links)));
        Self {
            driver,
            counters,
            stop,
            task,
        }
    }

    async fn stop(self) -> Arc<SinkCounters> {
        self.stop.send_replace(true);
        self.task.await.expect("the task ends by itself");
        self.counters
    }
}

/// Lets time pass.
async fn pass(time: Duration) {
    let nothing = std::future::pending::<()>();
    tokio::time::timeout(time, nothing).await.unwrap_err();
}

fn start() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn one(id: &str, seconds: i64, state: crate::gate::VerdictState) -> Deployment {
    deployment(id, start().nanos() / 1_000_000_000 + seconds, state)
}

/// `d1 firing`, for each alert of a request to Alertmanager.
fn told(came: &Came) -> Vec<String> {
    let alerts = came.body.as_array().expect("a list of alerts");
    alerts
        .iter()
        .map(|alert| {
            let ends_at: Timestamp = alert["endsAt"].as_str().unwrap().parse().unwrap();
            let what = if ends_at > start() + Span::from_minutes(2) {
                "fires"
            } else {
                "resolved"
            };
            format!("{} {what}", alert["labels"]["deployment"].as_str().unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_alert_fires_is_sent_again_every_minute_and_is_resolved() {
    let mut receiver = Receiver::new().await;
    let rig = Rig::start(&alertmanager(&receiver.url), None, &[one("d1", 0, Pending)]);
    rig.driver.show(vec![one("d1", 0, Fail)]);
    let came = receiver.next().await;
    assert_eq!(
        (came.method, came.path.as_str()),
        (Method::POST, "/api/v2/alerts")
    );
    assert_eq!(
        told(&Came {
            method: Method::POST,
            ..came
        }),
        ["d1 fires"]
    );
    let sent_at = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(told(&receiver.next().await), ["d1 fires"]);
    }
    let passed = sent_at.elapsed();
    assert!(
        Duration::from_secs(179) < passed && passed < Duration::from_secs(200),
        "{passed:?}"
    );
    rig.driver
        .show(vec![one("d1", 0, Fail), one("d2", 60, Pending)]);
    assert_eq!(told(&receiver.next().await), ["d1 resolved"]);
    rig.stop().await;
    receiver.nothing_more();
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_does_not_take_is_tried_again_until_it_does() {
    use Mood::{AsksToWait, Hangs, Redirects, Says, TalksTooMuch};
    for mood in [
        Says(500),
        Says(503),
        Says(401),
        Says(404),
        Redirects,
        TalksTooMuch,
        Hangs,
    ] {
        let mut receiver = Receiver::new().await;
        receiver.answers(&[mood, mood, mood]);
        let rig = Rig::start(&webhook(&receiver.url), None, &[one("d1", 0, Fail)]);
        let mut keys = Vec::new();
        for _ in 0..4 {
            let came = receiver.next().await;
            assert_eq!(came.path, "/", "{mood:?} leads nowhere else");
            keys.push(came.headers["idempotency-key"].clone());
        }
        keys.dedup();
        assert_eq!(keys.len(), 1, "{mood:?}: it is the same notification");
        let counters = rig.stop().await;
        assert_eq!(counters.counted(), (1, 3, 0, 0), "{mood:?}");
        receiver.nothing_more();
    }
    let mut receiver = Receiver::new().await;
    receiver.answers(&[AsksToWait(120)]);
    let rig = Rig::start(&webhook(&receiver.url), None, &[one("d1", 0, Fail)]);
    receiver.next().await;
    let asked_at = tokio::time::Instant::now();
    receiver.next().await;
    assert!(
        asked_at.elapsed() >= Duration::from_secs(119),
        "it was asked to wait"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_not_there_costs_at_most_a_request_in_half_a_backoff() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let rig = Rig::start(&webhook(&url), None, &[one("d1", 0, Fail)]);
    pass(Duration::from_hours(1)).await;
    let (sent, failed, dropped, waiting) = rig.counters.counted();
    assert_eq!((sent, dropped, waiting), (0, 0, 1));
    assert!((100..=260).contains(&failed), "{failed} in an hour");
    // What is over before the sink came back is not told any more, and counted.
    rig.driver.show(vec![one("d1", 0, Pending)]);
    pass(Duration::from_mins(1)).await;
    let (_, _, dropped, waiting) = rig.stop().await.counted();
    assert_eq!((dropped, waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_refuses_is_dropped_and_counted() {
    for status in [400, 413, 422] {
        let mut receiver = Receiver::new().await;
        receiver.answers(&[Mood::Says(status)]);
        let rig = Rig::start(&webhook(&receiver.url), None, &[one("d1", 0, NoData)]);
        receiver.next().await;
        rig.driver.show(vec![one("d1", 0, Fail)]);
        let came = receiver.next().await;
        assert_eq!(came.body["alerts"][0]["labels"]["severity"], "critical");
        let (sent, _, dropped, _) = rig.stop().await.counted();
        assert_eq!((sent, dropped), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_restart_at_most_one_notification_comes_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new().await;
    let plan = webhook(&receiver.url);
    let data_dir = Some(directory.path());
    let rig = Rig::start(&plan, data_dir, &[one("d1", 0, Fail)]);
    receiver.next().await;
    rig.stop().await;

    // It knows what it told, and waits for the journal to be read.
    let rig = Rig::start(&plan, data_dir, &[]);
    rig.driver.recover();
    let settle = Duration::from_secs(5);
    pass(settle).await;
    rig.driver.show(vec![one("d1", 0, Fail)]);
    pass(settle).await;
    rig.stop().await;
    receiver.nothing_more();

    // Killed between the delivery and its being remembered: one comes twice, with the same key.
    std::fs::remove_file(directory.path().join("sinks/test.json")).unwrap();
    let rig = Rig::start(&plan, data_dir, &[one("d1", 0, Fail)]);
    let again = receiver.next().await;
    assert_eq!(again.body["alerts"][0]["status"], "firing");
    rig.stop().await;
    receiver.nothing_more();

    // What happened while it was down is told.
    let rig = Rig::start(
        &plan,
        data_dir,
        &[one("d1", 0, Fail), one("d2", 9, Pending)],
    );
    let resolved = receiver.next().await;
    assert_eq!(
        (&resolved.body["status"], &resolved.body["state"]),
        (&"resolved".into(), &"ok".into())
    );
    rig.stop().await;
    receiver.nothing_more();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_sent_from_its_file_as_soon_as_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let mut receiver = Receiver::new().await;
    let plan = SinkPlan {
        token_file: Some(file.display().to_string()),
        ..webhook(&receiver.url)
    };
    let rig = Rig::start(&plan, None, &[one("d1", 0, Fail)]);
    pass(Duration::from_secs(5)).await;
    receiver.nothing_more();
    assert!(rig.counters.counted().1 > 0, "it is counted");
    std::fs::write(&file, "s3cret\n").unwrap();
    let came = receiver.next().await;
    assert_eq!(came.headers["authorization"], "Bearer s3cret");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_annotation_is_opened_and_closed_under_its_number() {
    let mut receiver = Receiver::new().await;
    let plan = SinkPlan {
        kind: SinkKind::GrafanaAnnotations { tags: Vec::new() },
        ..alertmanager(&receiver.url)
    };
    let rig = Rig::start(&plan, None, &[one("d1", 0, Pending)]);
    let came = receiver.next().await;
    assert_eq!(
        (came.method, came.path.as_str()),
        (Method::POST, "/api/annotations")
    );
    rig.driver.show(vec![one("d1", 0, Fail)]);
    let came = receiver.next().await;
    assert_eq!(
        (came.method, came.path.as_str()),
        (Method::PATCH, "/api/annotations/17")
    );
    assert!(came.body["timeEnd"].is_i64());
    rig.stop().await;
}
