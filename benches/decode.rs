//! Nanoseconds per sample of each decoder, beside what no decoder can beat and what owning costs.
//!
//! For each request: a copy of its bytes, snappy, a scan that only follows the frames of the outermost
//! messages, the walk, and prost into values of its own, all in one run.
//!
//! `cargo bench --bench decode` measures; `cargo bench --bench decode -- --check` runs each once.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use prost::Message;
use sluice::{
    decode::{DecodeLimits, Decoder, Encoding, Format, protobuf::Reader},
    event::KeyHash,
};

#[path = "../tests/common/wire.rs"]
mod wire;

const LIMITS: DecodeLimits = DecodeLimits {
    decompressed_bytes: 64 << 20,
    samples_per_request: 1_000_000,
};

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let is_check = std::env::args().any(|argument| argument == "--check" || argument == "--test");
    let rounds = if is_check { 1 } else { 400 };
    let write = wire::remote_write(2000);
    run::<wire::WriteRequest>(
        "remote write 1.0",
        Format::RemoteWrite1,
        &write,
        2000,
        rounds,
    );
    let write = wire::remote_write_2(2000);
    run::<wire::Request2>(
        "remote write 2.0",
        Format::RemoteWrite2,
        &write,
        2000,
        rounds,
    );
    for points in [4, 1] {
        let metrics = wire::otlp_metrics(points);
        let name = format!("otlp metrics, {points} points a metric");
        run::<ExportMetricsServiceRequest>(
            &name,
            Format::OtlpMetrics,
            &metrics,
            points * 500,
            rounds,
        );
    }
    let logs = wire::otlp_logs();
    run::<ExportLogsServiceRequest>("otlp logs", Format::OtlpLogs, &logs, 2000, rounds);
    run::<wire::PushRequest>("loki push", Format::LokiPush, &wire::loki(), 2000, rounds);
}

fn run<M: Message + Default>(name: &str, format: Format, body: &[u8], items: usize, rounds: usize) {
    println!("{name}: {items} items, {} bytes each", body.len() / items);
    let packed = snap::raw::Encoder::new()
        .compress_vec(body)
        .expect("a block below 4 GiB");
    let report = |what: &str, took: Duration| {
        println!(
            "  {what:34} {:8.1} ns",
            took.as_nanos() as f64 / items as f64
        );
    };
    let mut copy = vec![0; body.len()];
    report(
        "copy of the bytes",
        best(rounds, || copy.copy_from_slice(black_box(body))),
    );
    report(
        "snappy",
        best(rounds, || {
            let read = snap::raw::Decoder::new().decompress(black_box(&packed), &mut copy);
            assert_eq!(read.ok(), Some(body.len()));
        }),
    );
    report(
        "frames of the outermost messages",
        best(rounds, || {
            let mut fields = 0;
            Reader::new("bench", black_box(body))
                .for_each(|_| {
                    fields += 1;
                    Ok::<_, sluice::decode::DecodeError>(())
                })
                .expect("a good request");
            assert!(black_box(fields) > 0);
        }),
    );
    if format == Format::RemoteWrite1 {
        let probe = best(rounds, || assert_ne!(black_box(probe(black_box(body))), 0));
        report("minimal scan and hash", probe);
    }
    let stream_labels = ["service.name", "host.name", "app", "host", "logger"];
    let stream_labels = Arc::new(stream_labels.map(str::to_owned).into());
    let mut decoder = Decoder::new(KeyHash::new(1), stream_labels);
    for (what, encoding, bytes) in [
        ("walk", Encoding::Identity, body),
        ("snappy and walk", Encoding::Snappy, &packed),
    ] {
        let took = best(rounds, || {
            decoder
                .read(format, encoding, black_box(bytes), LIMITS)
                .expect("a good request");
            let batch = decoder.raw(bytes).batch;
            assert_eq!(black_box(batch.points.len() + batch.logs.len()), items);
        });
        report(what, took);
    }
    report(
        "prost, owned",
        best(rounds.div_ceil(10), || {
            black_box(M::decode(black_box(body)).expect("a good request"));
        }),
    );
}

/// The least that remote write 1.0 needs: the frames of each series and its labels, one hash of the
/// labels, the value and the time. Trusts the sender, as no decoder may.
fn probe(bytes: &[u8]) -> u64 {
    let length = |at: &mut usize| {
        let mut len = usize::from(bytes[*at]);
        *at += 1;
        if len >= 0x80 {
            len = (len & 0x7f) | usize::from(bytes[*at]) << 7;
            *at += 1;
        }
        len
    };
    let keys = KeyHash::new(1);
    let (mut at, mut sum) = (0, 0);
    while at < bytes.len() {
        at += 1;
        let end = length(&mut at) + at;
        let start = at;
        while bytes[at] == 0x0a {
            at += 1;
            let len = length(&mut at);
            at += len;
        }
        sum ^= keys.single(&bytes[start..at]);
        let value = bytes[at + 3..].first_chunk::<8>();
        sum ^= value.map_or(0, |value| u64::from_le_bytes(*value));
        at = end;
    }
    sum
}

fn best(rounds: usize, mut run: impl FnMut()) -> Duration {
    run();
    (0..rounds)
        .map(|_| {
            let start = now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}
