//! What metadata tells of metrics.

use super::*;

#[test]
fn metadata_tells_what_metrics_are_by_their_names() {
    let cases = [
        (0, "a", "", None),
        (1, "b", "", Some((Kind::Counter, Unit::Unknown))),
        (2, "c", "bytes", Some((Kind::Gauge, Unit::Bytes))),
        (3, "d", "", Some((Kind::Histogram, Unit::Unknown))),
        (4, "e", "", Some((Kind::Histogram, Unit::Unknown))),
        (5, "f", "", Some((Kind::Summary, Unit::Unknown))),
        (6, "g", "", None),
        (7, "h", "furlongs", None),
        (8, "i", "", None),
        (-1, "j", "seconds", Some((Kind::Unknown, Unit::Seconds))),
    ];
    let entry = |kind: i32, family: &str, unit: &str| WireMetadata {
        kind,
        family: family.into(),
        help: "What it is.".into(),
        unit: unit.into(),
    };
    let bytes = WireRequest {
        timeseries: vec![],
        metadata: cases
            .iter()
            .map(|(kind, family, unit, _)| entry(*kind, family, unit))
            .collect(),
    }
    .encode_to_vec();
    let batch = decode(&bytes).unwrap();
    assert!(batch.is_empty(), "there is no data in it");
    let told = batch.metadata.iter();
    let told: Vec<_> = told
        .map(|told| (&*told.metric, told.kind, told.unit))
        .collect();
    let expected = cases.iter().filter_map(|(_, family, _, told)| {
        let (kind, unit) = (*told)?;
        Some((*family, kind, unit))
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert!(decode(&[]).unwrap().metadata.is_empty());
}

#[test]
fn metadata_that_is_damaged_costs_nothing_else() {
    let good = [
        &b"\x1a\x05\x08\x01\x12\x01a"[..],
        &request_of_one().encode_to_vec(),
    ];
    let good = good.concat();
    // A name that is cut off, none, one that is no text, numbers of the wrong type; what is no message at all
    // tells nothing, either.
    for damaged in [
        &b"\x1a\x04\x08\x01\x12\x05"[..],
        b"\x1a\x02\x08\x01",
        b"\x1a\x05\x08\x01\x12\x01\xff",
        b"\x1a\x06\x0a\x01x\x12\x01a",
        b"\x18\x05",
    ] {
        let mut out = RawBatch::new(KeyHash::new(0), read_labels);
        walk(&[damaged, &good].concat(), None, &mut out).unwrap();
        assert_eq!(
            (out.series.len(), out.metadata.len()),
            (1, 1),
            "{damaged:?}"
        );
        assert_eq!(out.metadata_unread, 1, "{damaged:?}");
    }
    // Cut off as a whole, the request is.
    assert!(decode(&[&good[..], b"\x1a\x05\x08\x01"].concat()).is_err());
}

#[test]
fn metadata_is_bounded_as_samples_are() {
    let entries = b"\x1a\x05\x08\x01\x12\x01a".repeat(3);
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    out.limit(2, 1 << 10);
    let error = walk(&entries, None, &mut out).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { limit: 2 });
    out.limit(3, 1 << 10);
    assert_eq!(walk(&entries, None, &mut out), Ok(()));
}
