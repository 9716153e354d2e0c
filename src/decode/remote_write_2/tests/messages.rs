//! Requests as prost encodes them, and what reads them.

use prost::Message;

use super::super::*;
use crate::event::{Batch, SeriesBlock};

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireRequest {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<WireSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<WireHistogram>,
    #[prost(message, repeated, tag = "4")]
    pub(super) exemplars: Vec<WireExemplar>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<WireMetadata>,
    #[prost(int64, tag = "6")]
    pub(super) created_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireSample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireExemplar {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireMetadata {
    #[prost(uint32, tag = "1")]
    pub(super) metric_type: u32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(super) unit_ref: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireHistogram {
    #[prost(uint64, optional, tag = "1")]
    pub(super) count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<WireSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireSpan {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// Remote write 1.0, for comparison.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OldRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<OldSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OldSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<OldLabel>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OldLabel {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// Builds the table of symbols as a sender does.
#[derive(Default)]
pub(super) struct Table(pub(super) Vec<Vec<u8>>);

impl Table {
    pub(super) fn number(&mut self, symbol: &[u8]) -> u32 {
        if self.0.is_empty() {
            self.0.push(vec![]);
        }
        let known = self.0.iter().position(|known| known == symbol);
        known.unwrap_or_else(|| {
            self.0.push(symbol.to_vec());
            self.0.len() - 1
        }) as u32
    }

    pub(super) fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        labels
            .iter()
            .flat_map(|(name, value)| [name, value])
            .map(|symbol| self.number(symbol.as_bytes()))
            .collect()
    }
}

pub(super) const UP: [(&str, &str); 2] = [("__name__", "up"), ("instance", "h1")];

pub(super) fn sample(value: f64, timestamp: i64) -> WireSample {
    WireSample {
        value,
        timestamp,
        start_timestamp: 0,
    }
}

pub(super) fn span(offset: i32, length: u32) -> WireSpan {
    WireSpan { offset, length }
}

/// A request of one series that `change` makes something of.
pub(super) fn bytes_of(
    labels: &[(&str, &str)],
    change: impl FnOnce(&mut WireSeries, &mut Table),
) -> Vec<u8> {
    let mut table = Table::default();
    let mut series = WireSeries {
        labels_refs: table.refs(labels),
        ..WireSeries::default()
    };
    change(&mut series, &mut table);
    WireRequest {
        symbols: table.0,
        timeseries: vec![series],
    }
    .encode_to_vec()
}

pub(super) fn one(
    labels: &[(&str, &str)],
    change: impl FnOnce(&mut WireSeries, &mut Table),
) -> Batch {
    decode(&bytes_of(labels, change)).unwrap()
}

pub(super) fn only(mut batch: Batch) -> SeriesBlock {
    assert!(batch.rejects.is_empty(), "{}", batch.rejects);
    assert_eq!(batch.series.len(), 1);
    batch.series.remove(0)
}

pub(super) fn walked(bytes: &[u8]) -> RawBatch {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    walk(bytes, &mut Symbols::default(), &mut out).unwrap();
    out
}

pub(super) fn millis(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}
