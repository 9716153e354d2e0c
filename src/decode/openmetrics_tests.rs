//! Tests of the text formats.

use proptest::prelude::*;

use super::*;

fn read(text: &[u8], unit: TimeUnit) -> Batch {
    OpenMetricsReader::new(text, unit)
        .batch(usize::MAX)
        .unwrap()
        .unwrap_or_default()
}

fn seconds(text: &str) -> Batch {
    read(text.as_bytes(), TimeUnit::Seconds)
}

#[test]
fn types_and_units_tell_what_a_series_is() {
    let batch = seconds(
        "# TYPE http_requests counter\n# HELP http_requests Requests.\n\
         http_requests_total{code=\"200\"} 5 10.5 # {trace=\"a}b\"} 1 10\n\
         http_requests_created{code=\"200\"} 1 10.5\n\
         # TYPE size_bytes histogram\n# UNIT size_bytes bytes\n\
         size_bytes_bucket{le=\"+Inf\"} 2 10\nsize_bytes_sum 100 10\nsize_bytes_count 2 10\n\
         # TYPE wait_seconds summary\n# UNIT wait_seconds seconds\n\
         wait_seconds{quantile=\"0.9\"} 0.5 10\nwait_seconds_sum 3 10\n\
         # TYPE up gauge\nup 1 10\nother 3 10\n# EOF\n",
    );
    assert!(batch.rejects.is_empty(), "{}", batch.rejects);
    let found: Vec<_> = batch
        .series
        .iter()
        .map(|block| (block.labels.to_string(), block.meta.kind, block.meta.unit))
        .collect();
    let expected = [
        (
            r#"http_requests_total{code="200"}"#,
            Kind::Counter,
            Unit::Unknown,
        ),
        (
            r#"http_requests_created{code="200"}"#,
            Kind::Gauge,
            Unit::Seconds,
        ),
        (
            r#"size_bytes_bucket{le="+Inf"}"#,
            Kind::Counter,
            Unit::Count,
        ),
        ("size_bytes_sum", Kind::Counter, Unit::Bytes),
        ("size_bytes_count", Kind::Counter, Unit::Count),
        (
            r#"wait_seconds{quantile="0.9"}"#,
            Kind::Gauge,
            Unit::Seconds,
        ),
        ("wait_seconds_sum", Kind::Counter, Unit::Seconds),
        ("up", Kind::Gauge, Unit::Unknown),
        ("other", Kind::Unknown, Unit::Unknown),
    ];
    assert_eq!(
        found,
        expected.map(|(name, kind, unit)| (name.to_owned(), kind, unit))
    );
}

#[test]
fn times_are_seconds_or_milliseconds_as_the_caller_says() {
    for (text, unit, nanos) in [
        (
            "up 1 1520879607.789",
            TimeUnit::Seconds,
            1_520_879_607_789_000_000,
        ),
        (
            "up 1 1520879607",
            TimeUnit::Seconds,
            1_520_879_607_000_000_000,
        ),
        (
            "up 1 1520879607789",
            TimeUnit::Milliseconds,
            1_520_879_607_789_000_000,
        ),
        ("up 1 -5", TimeUnit::Milliseconds, -5_000_000),
        (
            "up 1 1520879607",
            TimeUnit::Milliseconds,
            1_520_879_607_000_000_000,
        ),
        (
            "up 1 1772442012.075",
            TimeUnit::Milliseconds,
            1_772_442_012_075_000_000,
        ),
        (
            "up 1 1772442012.0",
            TimeUnit::Milliseconds,
            1_772_442_012_000_000_000,
        ),
    ] {
        let batch = read(text.as_bytes(), unit);
        assert_eq!(batch.series[0].points[0].at.nanos(), nanos, "{text}");
    }
    for (text, unit) in [
        ("up 1 1.5.2", TimeUnit::Milliseconds),
        ("up 1 1520879607789.5", TimeUnit::Milliseconds),
        ("up 1 2026-03-01T10:00:00Z", TimeUnit::Seconds),
        ("up 1 1e30", TimeUnit::Seconds),
        ("up 1 9223372036854775807", TimeUnit::Milliseconds),
        ("up 1", TimeUnit::Seconds),
        ("up 1 # {a=\"b\"} 1", TimeUnit::Seconds),
    ] {
        let batch = read(text.as_bytes(), unit);
        assert_eq!(
            batch.rejects.samples[&RejectReason::NoTimestamp].count,
            1,
            "{text}"
        );
    }
}

#[test]
fn label_values_are_unescaped_and_may_hold_anything() {
    for (text, expected) in [
        (r#"a{b="x\\y\"z\n"} 1 1"#, r#"a{b="x\\y\"z\n"}"#),
        (r#"a { b = "}" , c="," , } 1 1"#, r#"a{b="}",c=","}"#),
        (r##"a{b="# 1 2"} 1 1"##, r##"a{b="# 1 2"}"##),
        (r#"{"a.b", "c.d"="e"} 1 1"#, r#"a.b{c.d="e"}"#),
        ("a{b=\"ü\"}\t1\t1", r#"a{b="ü"}"#),
        ("  a{} 1 1  ", "a"),
    ] {
        let batch = seconds(text);
        assert!(batch.rejects.is_empty(), "{text}: {}", batch.rejects);
        assert_eq!(batch.series[0].labels.to_string(), expected);
    }
}

#[test]
fn values_are_read_as_go_writes_them() {
    for (text, expected) in [
        ("+Inf", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
        ("1.5e-05", 1.5e-5),
        ("-3", -3.0),
    ] {
        let batch = seconds(&format!("a {text} 1"));
        assert_eq!(batch.series[0].points[0].value, Value::Number(expected));
    }
    let batch = seconds("a NaN 1");
    assert!(matches!(batch.series[0].points[0].value, Value::Number(value) if value.is_nan()));
}

#[test]
fn a_bad_line_is_a_reject_with_its_number_and_the_others_stand() {
    use RejectReason::{BadLabels, Malformed, NoMetricName, NoValue};
    for (line, reason) in [
        ("a{b=\"c 1 1", Malformed),
        ("a{b=c} 1 1", Malformed),
        ("a{b} 1 1", BadLabels),
        ("a{b=\"1\" c=\"2\"} 1 1", Malformed),
        ("a{,} 1 1", Malformed),
        ("a{b=\"1\",b=\"2\"} 1 1", BadLabels),
        ("a{=\"2\"} 1 1", BadLabels),
        ("{b=\"1\"} 1 1", NoMetricName),
        ("a", NoValue),
        ("a one 1", NoValue),
        ("a 1 1 1", Malformed),
    ] {
        let batch = seconds(&format!("good 1 1\n{line}\ngood 2 2\n"));
        assert_eq!((batch.sample_count(), batch.series.len()), (2, 1), "{line}");
        let reject = batch.rejects.samples.get(&reason);
        let reject = reject.unwrap_or_else(|| panic!("{line}: {}", batch.rejects));
        assert!(
            reject.count == 1 && reject.example.starts_with("line 2: "),
            "{}",
            reject.example
        );
    }
    let batch = read(b"a{b=\"\xff\"} 1 1\n", TimeUnit::Seconds);
    assert_eq!(batch.rejects.samples[&RejectReason::NotUtf8].count, 1);
}

#[test]
fn an_exposition_of_a_real_process_is_read_line_by_line() {
    let text = include_str!("../../fixtures/payloads/prometheus_exposition_excerpt.prom.txt");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count() as u64;
    // It comes without times, as every scrape: each sample is refused for just that.
    let batch = read(text.as_bytes(), TimeUnit::Milliseconds);
    assert_eq!(
        batch.rejects.samples[&RejectReason::NoTimestamp].count,
        samples
    );
    assert_eq!(batch.rejects.sample_count(), samples);
    let timed: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with('#') {
                line.into()
            } else {
                format!("{line} 1700000000000")
            }
        })
        .collect();
    let batch = read(timed.join("\n").as_bytes(), TimeUnit::Milliseconds);
    assert!(batch.rejects.is_empty(), "{}", batch.rejects);
    assert_eq!(
        (batch.sample_count(), batch.series.len() as u64),
        (samples, samples)
    );
    assert!(
        batch
            .series
            .iter()
            .all(|block| block.meta.kind != Kind::Unknown)
    );
}

#[test]
fn batches_end_after_the_lines_asked_for() {
    let mut reader = OpenMetricsReader::new(&b"a 1 1\na 2 2\na 3 3\n"[..], TimeUnit::Seconds);
    let mut sizes = vec![];
    while let Some(batch) = reader.batch(2).unwrap() {
        sizes.push(batch.sample_count());
    }
    assert_eq!(sizes, [2, 1]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(text in r#"[a-c{}="\\,# 0-9.\n]{0,60}"#, bytes: Vec<u8>) {
        for unit in [TimeUnit::Seconds, TimeUnit::Milliseconds] {
            read(text.as_bytes(), unit);
            read(&bytes, unit);
        }
    }

    #[test]
    fn labels_that_prometheus_would_write_come_back(value in any::<String>().prop_filter("one line", |value| !value.contains(['\n', '\r']))) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let batch = seconds(&format!("a{{b=\"{escaped}\"}} 1 1"));
        prop_assert_eq!(batch.series[0].labels.get("b").unwrap_or(""), value);
    }
}
