//! Tests of Loki's push against requests that prost encodes.

use std::collections::BTreeSet;

use prost::Message;

use super::*;
use crate::event::{Labels, LogRecord, UnreadLog};

#[derive(Clone, PartialEq, Message)]
struct WirePush {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<WireStream>,
    #[prost(string, tag = "2")]
    format: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireStream {
    #[prost(bytes = "vec", tag = "1")]
    labels: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<WireEntry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WireEntry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<prost_types::Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<WirePair>,
    #[prost(message, repeated, tag = "4")]
    parsed: Vec<WirePair>,
}

#[derive(Clone, PartialEq, Message)]
struct WirePair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn entry(seconds: i64, line: &str, metadata: &[(&str, &str)]) -> WireEntry {
    let pair = |(name, value): &(&str, &str)| WirePair {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    WireEntry {
        timestamp: Some(prost_types::Timestamp { seconds, nanos: 5 }),
        line: line.into(),
        metadata: metadata.iter().map(pair).collect(),
        parsed: vec![],
    }
}

fn stream(labels: &str, entries: Vec<WireEntry>) -> WireStream {
    WireStream {
        labels: labels.into(),
        entries,
        hash: 7,
    }
}

fn push(streams: Vec<WireStream>) -> Vec<u8> {
    WirePush {
        streams,
        format: "loki".to_owned(),
    }
    .encode_to_vec()
}

fn record(seconds: i64, severity: Severity, body: &str, attributes: &[(&str, &str)]) -> LogRecord {
    LogRecord {
        at: Timestamp::from_nanos(seconds * 1_000_000_000 + 5),
        severity,
        body: body.to_owned(),
        attributes: Labels::new(attributes.iter().copied()),
        count: 1,
    }
}

#[test]
fn entries_have_the_labels_of_their_stream_and_their_own_metadata() {
    let bytes = push(vec![
        stream(
            r#"{app="web", level="warn", path="a\\b"}"#,
            vec![
                entry(100, "one", &[]),
                entry(101, "two", &[("app", "own"), ("SEVERITY", "Error")]),
                entry(102, "three", &[("detected_level", "debug")]),
            ],
        ),
        stream("{}", vec![entry(103, "é", &[("Detected_Level", "CRIT")])]),
    ]);
    let batch = decode(&bytes).unwrap();
    assert!(batch.rejects.is_empty(), "{}", batch.rejects);
    let web = [("app", "web"), ("level", "warn"), ("path", "a\\b")];
    let own = [
        ("app", "own"),
        ("level", "warn"),
        ("path", "a\\b"),
        ("SEVERITY", "Error"),
    ];
    let third = [
        ("app", "web"),
        ("level", "warn"),
        ("path", "a\\b"),
        ("detected_level", "debug"),
    ];
    assert_eq!(
        batch.logs,
        [
            record(100, Severity::WARN, "one", &web),
            record(101, Severity::ERROR, "two", &own),
            record(102, Severity::WARN, "three", &third),
            record(103, Severity::FATAL, "é", &[("Detected_Level", "CRIT")]),
        ]
    );
}

#[test]
fn only_named_labels_tell_the_stream_but_any_level_tells_the_severity() {
    let bytes = push(vec![stream(
        r#"{zone="b",app="web"}"#,
        vec![
            entry(1, "x", &[("level", "error"), ("user", "1")]),
            entry(2, "y", &[("user", "2")]),
        ],
    )]);
    let named = BTreeSet::from(["app".to_owned(), "zone".to_owned()]);
    let mut out = RawBatch::new(KeyHash::new(3), canonical::read);
    walk(&bytes, (&named).into(), &mut Scratch::default(), &mut out).unwrap();
    let raw = Raw::new(&bytes, &out);
    let [one, two] = out.logs[..] else {
        panic!("two records came")
    };
    assert_eq!(one.severity, Severity::ERROR);
    assert_eq!((one.hash, one.stream), (two.hash, two.stream));
    assert_eq!(
        canonical::read([raw.bytes(one.stream), &[], &[]]),
        Ok(Labels::new([("app", "web"), ("zone", "b")]))
    );
    assert_eq!(one.hash, out.keys().single(raw.bytes(one.stream)));
}

#[test]
fn a_bad_stream_or_entry_is_rejected_and_its_neighbours_stand() {
    let no_time = WireEntry {
        timestamp: None,
        ..entry(0, "x", &[])
    };
    let not_utf8 = WireEntry {
        line: vec![0xff],
        ..entry(1, "", &[])
    };
    let not_utf8_labels = WireStream {
        labels: b"{a=\"\xff\"}".to_vec(),
        ..stream("", vec![entry(1, "x", &[])])
    };
    let bytes = push(vec![
        stream("{a=", vec![entry(1, "x", &[]), entry(2, "y", &[])]),
        stream("{a=\"b\"}", vec![no_time, not_utf8, entry(3, "good", &[])]),
        not_utf8_labels,
        stream(r#"{a="\xff"}"#, vec![entry(1, "x", &[])]),
    ]);
    let batch = decode(&bytes).unwrap();
    assert_eq!(
        batch.logs,
        [record(3, Severity::UNKNOWN, "good", &[("a", "b")])]
    );
    let counts: Vec<_> = batch
        .rejects
        .logs
        .iter()
        .map(|(reason, reject)| (*reason, reject.count))
        .collect();
    assert_eq!(
        counts,
        [
            (RejectReason::NoTimestamp, 1),
            (RejectReason::BadLabels, 3),
            (RejectReason::NotUtf8, 2),
        ]
    );
    let two = UnreadLog {
        // As the one that came with them.
        at: Some(batch.logs[0].at),
        count: 2,
        ..unread(None, &[("a", "b")])
    };
    assert_eq!(batch.unread, [two]);
}

/// An entry of a stream with these labels that cannot be read.
fn unread(severity: Option<Severity>, attributes: &[(&str, &str)]) -> UnreadLog {
    UnreadLog {
        at: None,
        severity,
        attributes: Labels::new(attributes.iter().copied()),
        count: 1,
    }
}

#[test]
fn a_bad_entry_is_of_its_stream_and_has_the_level_that_is_told() {
    let no_time = |metadata: &[(&str, &str)]| WireEntry {
        timestamp: None,
        ..entry(0, "x", metadata)
    };
    let not_utf8 = WireEntry {
        line: vec![0xff],
        ..entry(1, "", &[("level", "fatal")])
    };
    let entries = vec![
        no_time(&[]),
        no_time(&[("level", "error"), ("id", "7")]),
        not_utf8,
    ];
    let bytes = push(vec![stream("{a=\"b\", level=\"info\"}", entries)]);
    let json = r#"{"streams": [{"stream": {"a": "b", "level": "info"}, "values": [
        ["0", "x"],
        ["0", "x", {"level": "error", "id": "7"}],
        ["1", 5, {"level": "fatal"}],
        ["1", "x", {"level": 5}],
        "x"
    ]}]}"#;
    let of = |severity| unread(severity, &[("a", "b"), ("level", "info")]);
    let told = [Severity::INFO, Severity::ERROR, Severity::FATAL].map(|told| of(Some(told)));
    assert_eq!(decode(&bytes).unwrap().unread, told);
    let batch = decode_json(json.as_bytes()).unwrap();
    assert_eq!(batch.unread[..3], told);
    let two = UnreadLog {
        count: 2,
        ..of(None)
    };
    assert_eq!(batch.unread[3..], [two]);
}

#[test]
fn labels_may_stand_behind_the_entries() {
    let entries = stream("", vec![entry(1, "x", &[])]).encode_to_vec();
    let labels = WireStream {
        hash: 0,
        ..stream("{a=\"b\"}", vec![])
    };
    let turned = [entries, labels.encode_to_vec()].concat();
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(turned.len() as u64, &mut bytes);
    bytes.extend(turned);
    let batch = decode(&bytes).unwrap();
    assert_eq!(
        batch.logs,
        [record(1, Severity::UNKNOWN, "x", &[("a", "b")])]
    );
}

#[test]
fn a_request_cut_off_is_refused_and_flipped_bits_never_panic() {
    let bytes = push(vec![stream(
        "{a=\"b\"}",
        vec![entry(1, "x", &[("c", "d")])],
    )]);
    let whole = WirePush {
        streams: vec![],
        format: "loki".to_owned(),
    }
    .encoded_len();
    for end in 1..bytes.len() {
        let is_between = end == bytes.len() - whole;
        assert_eq!(decode(&bytes[..end]).is_ok(), is_between, "cut at {end}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        decode(&flipped).ok();
    }
}

#[test]
fn json_says_the_same_as_protobuf() {
    let json = r#"{"streams": [
        {"stream": {"app": "web", "level": "warn"}, "values": [
            ["100000000005", "one"],
            ["101000000005", "two", {"app": "own", "Severity": "error"}]
        ]},
        {"stream": {}, "values": [["102000000005", "three"]]},
        {"stream": {"app": "silent"}, "values": []}
    ]}"#;
    let bytes = push(vec![
        stream(
            r#"{app="web",level="warn"}"#,
            vec![
                entry(100, "one", &[]),
                entry(101, "two", &[("app", "own"), ("Severity", "error")]),
            ],
        ),
        stream("{}", vec![entry(102, "three", &[])]),
    ]);
    assert_eq!(decode_json(json.as_bytes()), decode(&bytes));
}

#[test]
fn a_bad_entry_in_json_is_rejected_and_its_neighbours_stand() {
    let json = r#"{"streams": [
        {"stream": {"a": "b"}, "values": [
            [1700000000000000000, "a number"],
            ["1700000000", "good"],
            ["0", "x"], ["", "x"], ["soon", "x"],
            ["1", 5],
            ["1"],
            ["1", "x", {"k": 5}],
            ["1", "x", []]
        ]},
        {"stream": {"a": 5}, "values": [["1", "x"]]},
        {"stream": [], "values": [["1", "x"]]},
        {"stream": {}, "values": {}},
        {"stream": {"a": "b"}, "entries": [{"ts": "2023-11-14T22:13:20Z", "line": "x"}]}
    ]}"#;
    let batch = decode_json(json.as_bytes()).unwrap();
    assert_eq!(batch.logs.len(), 1);
    assert_eq!(batch.logs[0].body, "good");
    let counts: Vec<_> = batch
        .rejects
        .logs
        .iter()
        .map(|(reason, reject)| (*reason, reject.count))
        .collect();
    assert_eq!(
        counts,
        [
            (RejectReason::Malformed, 5),
            (RejectReason::NoTimestamp, 4),
            (RejectReason::NoValue, 1),
            (RejectReason::BadLabels, 2),
        ]
    );
    for text in ["", "[]", "{}", r#"{"streams": {}}"#, "{"] {
        assert!(
            matches!(
                decode_json(text.as_bytes()),
                Err(DecodeError::Malformed { .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn half_a_pair_of_surrogates_in_json_becomes_one_character() {
    let json =
        r#"{"streams":[{"stream":{"a":"\ud83d"},"values":[["1","ok"],["2","cut \ud83d"]]}]}"#;
    let batch = decode_json(json.as_bytes()).unwrap();
    let bodies: Vec<_> = batch.logs.iter().map(|record| &*record.body).collect();
    assert_eq!(bodies, ["ok", "cut \u{fffd}"]);
    assert_eq!(batch.logs[0].attributes.get("a"), Some("\u{fffd}"));
}
