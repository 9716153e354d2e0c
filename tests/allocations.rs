//! How much memory decoding takes: none for a sample or a label once the buffers are warm, and a small
//! multiple of the limit whatever the request claims.

use std::{collections::BTreeSet, io::Write as _, sync::Arc};

use allocation_counter::measure;
use prost::encoding::encode_varint;
use sluice::{
    decode::{DecodeLimits, Decoder, Encoding, Format},
    event::KeyHash,
};

#[allow(
    dead_code,
    reason = "shared with the bench, which reads the messages back"
)]
#[path = "common/wire.rs"]
mod wire;

const LIMITS: DecodeLimits = DecodeLimits {
    decompressed_bytes: 64 << 20,
    samples_per_request: 1_000_000,
};

/// The most that decoding may take, in multiples of the limit on decompressed bytes.
const MEMORY_FACTOR: u64 = 4;

fn decoder() -> Decoder {
    let stream_labels = ["service.name", "host.name", "app", "host", "logger"];
    let stream_labels = stream_labels.map(str::to_owned).into();
    Decoder::new(KeyHash::new(1), Arc::new(stream_labels))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("a block below 4 GiB")
}

/// Counts the allocations of reading a request when one like it was read before.
fn steady(format: Format, encoding: Encoding, bytes: &[u8], items: usize) -> u64 {
    let mut decoder = decoder();
    let mut read = |bytes: &[u8]| {
        decoder
            .read(format, encoding, bytes, LIMITS)
            .expect("a good request");
        let batch = decoder.raw(bytes).batch;
        assert!(batch.rejects.is_empty(), "{}", batch.rejects);
        assert_eq!(batch.points.len() + batch.logs.len(), items, "{format:?}");
    };
    read(bytes);
    read(bytes);
    measure(|| read(bytes)).count_total
}

#[test]
fn nothing_is_allocated_for_samples_and_labels_once_the_buffers_are_warm() {
    for (format, bytes, items) in [
        (Format::RemoteWrite1, wire::remote_write(2000), 2000),
        (Format::RemoteWrite2, wire::remote_write_2(2000), 2000),
        (Format::OtlpMetrics, wire::otlp_metrics(4), 2000),
        (Format::OtlpLogs, wire::otlp_logs(), 2000),
        (Format::LokiPush, wire::loki(), 2000),
    ] {
        assert_eq!(
            steady(format, Encoding::Identity, &bytes, items),
            0,
            "{format:?}"
        );
        assert_eq!(
            steady(format, Encoding::Snappy, &snappy(&bytes), items),
            0,
            "{format:?}"
        );
        let packed = zstd::encode_all(&bytes[..], 1).expect("a vector is read");
        assert_eq!(
            steady(format, Encoding::Zstd, &packed, items),
            0,
            "{format:?}"
        );
        // The state of gzip is made anew for each request.
        let allocations = steady(format, Encoding::Gzip, &gzip(&bytes), items);
        assert!((1..10).contains(&allocations), "{format:?}: {allocations}");
    }
}

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A message that holds `count` times the same bytes, up to 64 MiB.
fn filled(unit: &[u8]) -> Vec<u8> {
    unit.repeat((LIMITS.decompressed_bytes - 100) / unit.len())
}

/// Wraps content in fields, the innermost number first.
fn nested(content: &[u8], numbers: &[u8]) -> Vec<u8> {
    numbers
        .iter()
        .fold(content.to_vec(), |inner, number| field(*number, &inner))
}

#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn hostile() -> Vec<(&'static str, Format, Vec<u8>)> {
    use Format::{
        LokiPush, LokiPushJson, OtlpLogs, OtlpLogsJson, OtlpMetrics, OtlpMetricsJson, RemoteWrite1,
        RemoteWrite2,
    };
    let name = b"\x0a\x0d\x0a\x08__name__\x12\x01a";
    let sample = b"\x12\x0b\x09\0\0\0\0\0\0\xf8\x3f\x10\x01";
    let series = field(1, &[&name[..], sample].concat());
    // A point with a time, in a gauge.
    let point = b"\x0a\x09\x19\x01\0\0\0\0\0\0\0";
    let long = "x".repeat(8 << 20);
    let time = b"\x09\x01\0\0\0\0\0\0\0";
    let log = field(2, time);
    let wide = field(
        2,
        &[&time[..], &field(5, &field(5, &b"\x0a\0".repeat(20 << 20)))].concat(),
    );
    let escapes = field(6, &field(1, &field(1, &vec![1; 30 << 20])));
    let escaped = field(2, &[&time[..], &field(5, &escapes)].concat());
    let labels = ["service.name", "host.name", "logger"].map(|name| {
        let value = field(1, "v".repeat(20_000).as_bytes());
        field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
    });
    let own = [field(1, b"app"), field(2, &field(1, b"y"))].concat();
    let own = field(2, &[&time[..], &field(6, &own)].concat());
    let quantiles = [b"\x19\x01\0\0\0\0\0\0\0".to_vec(), b"\x32\0".repeat(1000)].concat();
    let summary = [field(1, long.as_bytes()), field(11, &field(1, &quantiles))].concat();
    let rejected = field(
        1,
        &[&field(1, &field(1, &vec![1; 30 << 20]))[..], sample, sample].concat(),
    );
    vec![
        ("empty series", RemoteWrite1, filled(b"\x0a\0")),
        ("empty samples", RemoteWrite1, filled(b"\x0a\x02\x12\0")),
        ("many small series", RemoteWrite1, filled(&series)),
        (
            "labels without end",
            RemoteWrite1,
            field(1, &[&filled(b"\x0a\0")[..], sample].concat()),
        ),
        ("a name of control characters", RemoteWrite1, rejected),
        (
            "spans without end",
            RemoteWrite1,
            field(1, &[&name[..], &field(4, &filled(b"\x5a\0"))].concat()),
        ),
        (
            "deltas without end",
            RemoteWrite1,
            field(
                1,
                &[&name[..], &field(4, &field(12, &filled(b"\0")))].concat(),
            ),
        ),
        (
            "histograms without end",
            RemoteWrite1,
            field(1, &[&name[..], &filled(b"\x22\x02\x78\x01")].concat()),
        ),
        ("symbols without end", RemoteWrite2, filled(b"\x22\0")),
        (
            "long symbols named often",
            RemoteWrite2,
            [
                field(4, b""),
                field(4, long.as_bytes()),
                field(5, &[field(1, &[1; 10 << 20]), sample.to_vec()].concat()),
            ]
            .concat(),
        ),
        (
            "empty metrics",
            OtlpMetrics,
            nested(&filled(b"\x12\0"), &[2, 1]),
        ),
        (
            "many small points",
            OtlpMetrics,
            nested(
                &[&field(1, b"m")[..], &field(5, &filled(point))].concat(),
                &[2, 2, 1],
            ),
        ),
        (
            "many small metrics",
            OtlpMetrics,
            nested(
                &filled(b"\x12\x0f\x0a\x01a\x2a\x0a\x0a\x08\x19\x01\0\0\0\0\0\0"),
                &[2, 1],
            ),
        ),
        (
            "a summary with a long name",
            OtlpMetrics,
            nested(&summary, &[2, 2, 1]),
        ),
        (
            "many small records",
            OtlpLogs,
            nested(&filled(&log), &[2, 1]),
        ),
        ("a wide list", OtlpLogs, nested(&wide, &[2, 1])),
        ("a text of escapes", OtlpLogs, nested(&escaped, &[2, 1])),
        (
            "long labels of a resource for many records",
            OtlpLogs,
            field(
                1,
                &[field(1, &labels.concat()), field(2, &own.repeat(1 << 20))].concat(),
            ),
        ),
        (
            "many small entries",
            LokiPush,
            field(1, &filled(b"\x12\x04\x0a\x02\x08\x01")),
        ),
        (
            "many streams",
            LokiPush,
            filled(b"\x0a\x06\x12\x04\x0a\x02\x08\x01"),
        ),
        (
            "a list of numbers",
            OtlpMetricsJson,
            [b"{\"a\":[", &filled(b"0,")[..], b"0]}"].concat(),
        ),
        (
            "many keys",
            LokiPushJson,
            [b"{\"a\":{", &filled(b"\"\":{},")[..], b"\"\":0}}"].concat(),
        ),
        ("deep lists", OtlpMetricsJson, filled(b"[")),
        (
            "a wide value of an attribute",
            OtlpMetricsJson,
            json_points(
                &format!(r#"{{"key":"a","value":{}}}"#, wide_json()),
                r#"{"timeUnixNano":1,"asInt":1}"#,
                1,
            ),
        ),
        (
            "many small points in json",
            OtlpMetricsJson,
            json_points("", r#"{"timeUnixNano":1,"asInt":1}"#, usize::MAX),
        ),
        (
            "points with attributes in json",
            OtlpMetricsJson,
            json_points(
                r#"{"key":"host.name","value":{"stringValue":"h1"}}"#,
                r#"{"timeUnixNano":1,"asInt":1,"attributes":[{"key":"a","value":{"stringValue":"b"}}]}"#,
                900_000,
            ),
        ),
        (
            "a long resource for many points in json",
            OtlpMetricsJson,
            json_points(
                &format!(r#"{{"key":"a","value":{{"stringValue":"{long}"}}}}"#),
                r#"{"timeUnixNano":1,"asInt":1,"attributes":[{"key":"a"}]}"#,
                500_000,
            ),
        ),
        (
            "many small entries in json",
            LokiPushJson,
            filled_json(
                r#"{"streams":[{"stream":{"app":"a"},"values":["#,
                r#"["1",""]"#,
            ),
        ),
        (
            "many streams in json",
            LokiPushJson,
            filled_json(r#"{"streams":["#, r#"{"values":[["1",""]]}"#),
        ),
        (
            "one entry without end in json",
            LokiPushJson,
            filled_json(r#"{"streams":[{"values":[["1","","#, "0"),
        ),
        (
            "texts of escapes in json",
            OtlpLogsJson,
            filled_json(
                r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":["#,
                &format!(
                    r#"{{"timeUnixNano":1,"body":{{"stringValue":"{}"}}}}"#,
                    r"\ud83d".repeat(1 << 20)
                ),
            ),
        ),
    ]
}

/// A JSON value that opens `start`, with as many of the same elements as the limit lets in.
fn filled_json(start: &str, element: &str) -> Vec<u8> {
    let room = LIMITS.decompressed_bytes - 100 - start.len();
    closed(start, element, room / (element.len() + 1))
}

/// Opens `start`, holds so many of the same elements, and closes what is open.
fn closed(start: &str, element: &str, count: usize) -> Vec<u8> {
    let mut text = start.to_owned();
    for index in 0..count.max(1) {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(element);
    }
    let open = start.bytes().fold(Vec::new(), |mut open, byte| {
        match byte {
            b'[' => open.push(']'),
            b'{' => open.push('}'),
            b']' | b'}' => drop(open.pop()),
            _ => {}
        }
        open
    });
    text.extend(open.iter().rev());
    text.into_bytes()
}

/// A gauge of at most so many points in one resource.
fn json_points(attributes: &str, point: &str, count_max: usize) -> Vec<u8> {
    let start = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{attributes}]}},"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":["#
    );
    let room = LIMITS.decompressed_bytes - 100 - start.len();
    closed(&start, point, (room / (point.len() + 1)).min(count_max))
}

fn wide_json() -> String {
    let list = closed(r#"{"arrayValue":{"values":["#, "{}", 20 << 20);
    String::from_utf8(list).expect("it is text")
}

#[test]
fn a_body_in_json_of_about_the_limit_is_taken() {
    let pairs = ["a", "b", "c", "d"]
        .map(|key| {
            format!(r#"{{"key":"{key}","value":{{"stringValue":"some value, with a comma"}}}}"#)
        })
        .join(",");
    let point = format!(r#"{{"timeUnixNano":"1","asDouble":1.5,"attributes":[{pairs}]}}"#);
    let bytes = json_points("", &point, usize::MAX);
    let mut decoder = decoder();
    let info = measure(|| {
        let read = decoder.read(Format::OtlpMetricsJson, Encoding::Identity, &bytes, LIMITS);
        assert_eq!(read, Ok(()));
    });
    let batch = decoder.raw(&bytes).batch;
    assert!(
        150_000 < batch.sample_count() && batch.rejects.is_empty(),
        "{}",
        batch.rejects
    );
    assert!(
        info.bytes_max <= 2 * LIMITS.decompressed_bytes as u64,
        "{}",
        info.bytes_max
    );
}

#[test]
fn no_request_takes_more_than_four_times_the_limit() {
    for (what, format, bytes) in hostile() {
        assert!(
            bytes.len() <= LIMITS.decompressed_bytes,
            "{what}: {}",
            bytes.len()
        );
        let packed = snappy(&bytes);
        for (encoding, bytes) in [(Encoding::Identity, &bytes), (Encoding::Snappy, &packed)] {
            let mut decoder = decoder();
            let info = measure(|| {
                decoder.read(format, encoding, bytes, LIMITS).ok();
            });
            let most = MEMORY_FACTOR * LIMITS.decompressed_bytes as u64;
            assert!(
                info.bytes_max <= most,
                "{what}, {encoding:?}: {} MiB",
                info.bytes_max >> 20
            );
        }
    }
}

#[test]
fn bodies_that_claim_or_become_more_than_the_limit_take_no_more_than_it() {
    let zeros = vec![0; 300 << 20];
    let claims = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61];
    for (encoding, bytes) in [
        (Encoding::Snappy, snappy(&zeros)),
        (Encoding::Snappy, claims.to_vec()),
        (Encoding::Gzip, gzip(&zeros)),
        (
            Encoding::Zstd,
            zstd::encode_all(&zeros[..], 1).expect("a vector is read"),
        ),
    ] {
        let mut decoder = decoder();
        let info = measure(|| {
            let read = decoder.read(Format::RemoteWrite1, encoding, &bytes, LIMITS);
            assert!(read.is_err());
        });
        // The buffer when it was half as long, the one that it grew into, and what gzip needs.
        let most = 2 * LIMITS.decompressed_bytes as u64 + (1 << 20);
        assert!(
            info.bytes_max <= most,
            "{encoding:?}: {} MiB",
            info.bytes_max >> 20
        );
    }
}

#[test]
fn a_decoder_gives_back_what_one_large_request_took() {
    let mut decoder = decoder();
    let mut read = |bytes: &[u8]| {
        decoder
            .read(Format::RemoteWrite1, Encoding::Snappy, bytes, LIMITS)
            .expect("a good request");
        decoder.memory_bytes()
    };
    let large = read(&snappy(&wire::remote_write(150_000)));
    let small = snappy(&wire::remote_write(10));
    assert!(40 << 20 < large, "{large}");
    let mut left = large;
    for _ in 0..100 {
        left = read(&small);
    }
    assert!(left < 24 << 20, "{left}");
    let stream_labels: BTreeSet<String> = BTreeSet::new();
    assert!(Decoder::new(KeyHash::new(1), Arc::new(stream_labels)).memory_bytes() == 0);
}
