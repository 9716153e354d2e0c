//! Series that come in the order of the request before.

use super::*;

/// Walks a request, and tells what a decoder leaves behind but for where keys are remembered.
fn walked(bytes: &[u8], cache: Option<&KeyCache>) -> (String, usize) {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    let walked = walk(bytes, cache, &mut out);
    let known = out.series.iter().filter(|series| series.place.is_some());
    let known = known.count();
    for series in &mut out.series {
        series.place = None;
    }
    out.edition = None;
    (format!("{walked:?} {out:?}"), known)
}

/// Remembers the series of a request.
fn remember(cache: &mut KeyCache, bytes: &[u8]) {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    if walk(bytes, Some(cache), &mut out).is_err() {
        return;
    }
    let edition = cache.edition().clone();
    let raw = Raw::new(bytes, &out);
    let keys = out.series.iter().filter(|series| series.place.is_none());
    let keys = keys.map(|series| (series.hash, raw.key(series)[0], 1));
    cache.learn(&edition, keys);
}

fn plain(numbers: &[(u8, u8)]) -> Vec<u8> {
    let series = |(name, more): &(u8, u8)| {
        let mut labels = vec![label("__name__", &format!("m{name}"))];
        labels.extend((0..*more).map(|number| label(&format!("l{number}"), "v")));
        WireSeries {
            labels,
            samples: vec![WireSample {
                value: 1.5,
                timestamp: 1_000,
            }],
            ..Default::default()
        }
    };
    let timeseries = numbers.iter().map(series).collect();
    let metadata = vec![];
    WireRequest {
        timeseries,
        metadata,
    }
    .encode_to_vec()
}

#[test]
fn series_that_repeat_are_recognised() {
    let mut cache = KeyCache::new();
    // The labels of one are the beginning of those of the next.
    let bytes = plain(&[(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 1)]);
    remember(&mut cache, &bytes);
    let (told, known) = walked(&bytes, Some(&cache));
    assert_eq!(known, 6);
    assert_eq!(told, walked(&bytes, None).0);
    let (told, known) = walked(&plain(&[(1, 0), (1, 2), (2, 0), (3, 0)]), Some(&cache));
    assert_eq!(known, 3);
    assert_eq!(
        told,
        walked(&plain(&[(1, 0), (1, 2), (2, 0), (3, 0)]), None).0
    );
}

proptest! {
    #[test]
    fn what_is_remembered_changes_nothing_that_is_read(
        requests in prop::collection::vec(prop::collection::vec((0..4_u8, 0..3_u8), 0..12), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut cache = KeyCache::new();
        for numbers in &requests {
            let mut bytes = plain(numbers);
            prop_assert_eq!(walked(&bytes, Some(&cache)).0, walked(&bytes, None).0);
            remember(&mut cache, &bytes);
            if !bytes.is_empty() {
                for (at, byte) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= byte;
                }
            }
            prop_assert_eq!(walked(&bytes, Some(&cache)).0, walked(&bytes, None).0);
        }
    }
}
