//! The messages of remote write as prost writes them: what [`wire`](super::wire) must write too.

use prost::Message;

use super::{
    fleet::Fleet,
    wire::{self, Reading},
};

/// Names and values.
pub(crate) type Labels = Vec<(String, String)>;

#[derive(Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
}

#[derive(Clone, Copy, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

/// Compares the encoders with prost on a fleet, with the values that need care among the samples.
///
/// # Panics
/// They differ.
pub(crate) fn check() {
    let mut fleet = Fleet::new(500, 2);
    fleet.renew(0.3);
    let readings: Vec<Reading<'_>> = (0..fleet.len())
        .map(|index| Reading {
            region: fleet.region(index),
            is_counter: fleet.is_counter(index),
            value: match index {
                0 => 0.0,
                1 => f64::NEG_INFINITY,
                _ => fleet.value(index, 3),
            },
            at_ms: 1_772_359_200_000 + index as i64,
        })
        .collect();
    let mut written = Vec::new();
    wire::request_1_0(&mut written, readings.iter().copied());
    assert_eq!(written, message_1_0(&readings).encode_to_vec(), "1.0");
    written.clear();
    wire::request_2_0(&mut written, readings.iter().copied());
    assert_eq!(written, message_2_0(&readings).encode_to_vec(), "2.0");
}

/// Labels and time of each sample of a compressed request; `None` if it cannot be read.
pub(crate) fn decode(body: &[u8], is_2_0: bool) -> Option<Vec<(Labels, i64)>> {
    let mut raw = vec![0; snap::raw::decompress_len(body).ok()?];
    snap::raw::Decoder::new().decompress(body, &mut raw).ok()?;
    let mut samples = Vec::new();
    if is_2_0 {
        let request = Request::decode(raw.as_slice()).ok()?;
        for series in request.timeseries {
            let symbol = |&index: &u32| request.symbols.get(index as usize).cloned();
            let texts: Vec<String> = series.labels_refs.iter().filter_map(symbol).collect();
            let labels: Vec<_> = texts
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect();
            samples.extend(
                series
                    .samples
                    .iter()
                    .map(|sample| (labels.clone(), sample.timestamp)),
            );
        }
    } else {
        for series in WriteRequest::decode(raw.as_slice()).ok()?.timeseries {
            let labels: Vec<_> = series
                .labels
                .into_iter()
                .map(|label| (label.name, label.value))
                .collect();
            samples.extend(
                series
                    .samples
                    .iter()
                    .map(|sample| (labels.clone(), sample.timestamp)),
            );
        }
    }
    Some(samples)
}

fn owned(text: &[u8]) -> String {
    String::from_utf8(text.to_vec()).expect("labels are text")
}

fn sample(reading: &Reading<'_>) -> Sample {
    Sample {
        value: reading.value,
        timestamp: reading.at_ms,
    }
}

fn message_1_0(readings: &[Reading<'_>]) -> WriteRequest {
    let timeseries = readings.iter().map(|reading| TimeSeries {
        labels: wire::labels(reading.region)
            .map(|(name, value)| Label {
                name: owned(name),
                value: owned(value),
            })
            .collect(),
        samples: vec![sample(reading)],
    });
    WriteRequest {
        timeseries: timeseries.collect(),
    }
}

fn message_2_0(readings: &[Reading<'_>]) -> Request {
    let mut symbols = vec![String::new()];
    let mut timeseries = Vec::new();
    for reading in readings {
        let mut labels_refs = Vec::new();
        for text in wire::labels(reading.region).flat_map(|(name, value)| [name, value]) {
            let text = owned(text);
            let known = symbols.iter().position(|symbol| *symbol == text);
            let index = known.unwrap_or_else(|| {
                symbols.push(text);
                symbols.len() - 1
            });
            labels_refs.push(index as u32);
        }
        timeseries.push(TimeSeries2 {
            labels_refs,
            samples: vec![sample(reading)],
            metadata: Some(Metadata {
                kind: if reading.is_counter { 1 } else { 2 },
                help_ref: 0,
                unit_ref: 0,
            }),
        });
    }
    Request {
        symbols,
        timeseries,
    }
}
