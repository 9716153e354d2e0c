//! `sluice serve --demo`: plays the bundled recording through the engine's own network doors.

use std::{
    io::{Write, stderr, stdout},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval},
};

use super::print;
use crate::{
    event::{Batch, Begin, DeploymentEvent, Timestamp, Value},
    gate::Verdict,
    serve::{Server, client, convert::begin_to_pb},
    source::{
        demo::SOURCE,
        timeline::{Step, Timeline},
    },
};

/// How long the whole recording takes to play.
const PLAY_TIME: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A remote-write request, as senders write it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Plays the recording against the server, whose clock is the recording's, and prints every change
/// of a verdict as it comes.
///
/// # Errors
/// A door of the server refuses, or does not answer.
pub(super) async fn play(
    server: &Server,
    clock: &AtomicI64,
    timeline: Timeline,
) -> Result<(), Failure> {
    let addresses = server.addresses();
    say(&format!(
        "demo: {SOURCE}, played through the network doors in {} s. v2 is bad, v3 repairs it.",
        PLAY_TIME.as_secs()
    ));
    let mut doors = Doors::open(addresses.grpc, addresses.http).await?;
    let mut changes = server.changes();
    let mut last: Vec<Arc<Verdict>> = Vec::new();
    let steps = u32::try_from(timeline.len().max(1))?;
    let mut pace = interval(PLAY_TIME / steps);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for step in timeline.into_steps() {
        pace.tick().await;
        let Step {
            bucket,
            events,
            batch,
        } = step;
        move_to(server, clock, bucket.start).await?;
        for event in events {
            if let DeploymentEvent::Begin(begin) = event {
                move_to(server, clock, begin.at).await?;
                doors.begin(begin).await?;
            }
        }
        doors.write(&batch).await?;
        move_to(server, clock, bucket.end).await?;
        report(&mut changes, &mut last);
    }
    for verdict in &last {
        tell(&print::verdict_block(verdict));
    }
    say(&format!(
        "\ndemo: done. The page stays at http://{}, the gates at {}; Ctrl-C stops.",
        addresses.http, addresses.grpc
    ));
    Ok(())
}

async fn move_to(server: &Server, clock: &AtomicI64, now: Timestamp) -> Result<(), Failure> {
    clock.store(now.nanos(), Ordering::Release);
    Ok(server.tick().await.map_err(|reason| reason.to_string())?)
}

/// Prints what changed, and keeps the last verdict of each deployment.
fn report(changes: &mut broadcast::Receiver<Arc<Verdict>>, last: &mut Vec<Arc<Verdict>>) {
    while let Ok(verdict) = changes.try_recv() {
        tell(&print::verdict_line(&verdict));
        last.retain(|known| known.deployment != verdict.deployment);
        last.push(verdict);
    }
}

/// The doors of the engine, as a sender and a deployer use them.
struct Doors {
    gates: client::Gates,
    http: Client<HttpConnector, Full<Bytes>>,
    write_url: String,
}

impl Doors {
    async fn open(grpc: SocketAddr, http: SocketAddr) -> Result<Self, Failure> {
        Ok(Self {
            gates: client::connect(&client::Reach::at(grpc.to_string())).await?,
            http: Client::builder(TokioExecutor::new()).build_http(),
            write_url: format!("http://{http}/api/v1/write"),
        })
    }

    async fn begin(&mut self, begin: Begin) -> Result<(), Failure> {
        self.gates.begin(begin_to_pb(begin)).await?;
        Ok(())
    }

    async fn write(&self, batch: &Batch) -> Result<(), Failure> {
        let body = snap::raw::Encoder::new().compress_vec(&write_request(batch).encode_to_vec())?;
        let request = Request::post(&self.write_url)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(format!(
            "remote write answered {status}: {}",
            String::from_utf8_lossy(&body)
        )
        .into())
    }
}

fn write_request(batch: &Batch) -> WriteRequest {
    let timeseries = batch
        .series
        .iter()
        .map(|block| TimeSeries {
            labels: block
                .labels
                .iter()
                .map(|(name, value)| Label {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .collect(),
            samples: block
                .points
                .iter()
                .filter_map(|point| match point.value {
                    Value::Number(value) => Some(Sample {
                        value,
                        timestamp: point.at.millis(),
                    }),
                    Value::Histogram(_) | Value::Stale => None,
                })
                .collect(),
        })
        .collect();
    WriteRequest { timeseries }
}

/// For programs and people alike.
fn tell(text: &str) {
    // The demo goes on, whether or not anybody reads this.
    drop(writeln!(stdout(), "{text}"));
}

/// For people.
fn say(text: &str) {
    drop(writeln!(stderr(), "{text}"));
}
