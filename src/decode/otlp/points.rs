//! What OTLP means, whether it came as protobuf or as JSON: points and records into a batch.

use std::borrow::Cow;

use super::{
    super::{Refusal, excerpt},
    Scope,
    value::AnyValue,
};
use crate::event::{
    ExponentialBuckets, Histogram, Kind, Labels, METRIC_NAME, RejectReason, SCOPE_LABELS,
    SeriesMeta, Severity, Temporality, Timestamp, Unit,
};

/// Bit of `flags` that says that a point has no value, on purpose.
pub(super) const NO_RECORDED_VALUE: u64 = 1;

/// Most buckets that a histogram, or one side of an exponential one, may have.
pub(super) const BUCKETS_MAX: usize = 8192;

/// Attributes as text, in the order of the sender.
pub(in crate::decode) type Attributes<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A metric without its points.
#[derive(Clone, Copy, Debug)]
pub(in crate::decode) struct Metric<'a> {
    pub(in crate::decode) name: &'a str,
    pub(in crate::decode) unit: &'a str,
    pub(in crate::decode) data: Data,
}

/// What kind of data a metric holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Data {
    Gauge,
    Sum { monotonic: bool, temporality: i64 },
    Histogram { temporality: i64 },
    Exponential { temporality: i64 },
    Summary,
}

/// What all points have.
#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct PointHead<'a> {
    pub(in crate::decode) attributes: Attributes<'a>,
    pub(in crate::decode) start_nanos: u64,
    pub(in crate::decode) at_nanos: u64,
    pub(in crate::decode) flags: u64,
}

/// The data of a point.
#[derive(Clone, Debug)]
pub(in crate::decode) enum PointData {
    Number(Option<f64>),
    Explicit(ExplicitPoint),
    Exponential(ExponentialPoint),
    Summary(SummaryPoint),
}

#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct ExplicitPoint {
    pub(in crate::decode) count: u64,
    pub(in crate::decode) sum: Option<f64>,
    pub(in crate::decode) counts: Vec<u64>,
    pub(in crate::decode) bounds: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct ExponentialPoint {
    pub(in crate::decode) count: u64,
    pub(in crate::decode) sum: Option<f64>,
    pub(in crate::decode) scale: i32,
    pub(in crate::decode) zero_count: u64,
    pub(in crate::decode) zero_threshold: f64,
    pub(in crate::decode) positive: Buckets,
    pub(in crate::decode) negative: Buckets,
}

#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct Buckets {
    pub(in crate::decode) offset: i32,
    pub(in crate::decode) counts: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct SummaryPoint {
    pub(in crate::decode) count: u64,
    pub(in crate::decode) sum: f64,
    /// Quantile and value.
    pub(in crate::decode) quantiles: Vec<(f64, f64)>,
}

/// A log record as it was sent.
#[derive(Clone, Debug)]
pub(in crate::decode) struct Record<'a> {
    pub(in crate::decode) at_nanos: u64,
    pub(in crate::decode) observed_nanos: u64,
    pub(in crate::decode) severity_number: i64,
    pub(in crate::decode) severity_text: Cow<'a, str>,
    pub(in crate::decode) body: AnyValue<'a>,
    pub(in crate::decode) attributes: Attributes<'a>,
    pub(in crate::decode) event_name: Cow<'a, str>,
}

impl Metric<'_> {
    /// Kind, temporality and unit. The kind of a summary is that of its quantiles.
    ///
    /// # Errors
    /// It has no name, or does not tell its temporality.
    pub(in crate::decode) fn meta(&self) -> Result<SeriesMeta, Refusal> {
        if self.name.is_empty() {
            let detail = "the metric has no name";
            return Err(Refusal::new(RejectReason::NoMetricName, detail));
        }
        let (kind, temporality) = match self.data {
            Data::Gauge | Data::Summary => (Kind::Gauge, Temporality::Cumulative),
            Data::Sum {
                monotonic: true,
                temporality,
            } => (Kind::Counter, read_temporality(temporality)?),
            Data::Sum {
                monotonic: false,
                temporality,
            } => match read_temporality(temporality)? {
                Temporality::Cumulative => (Kind::Gauge, Temporality::Cumulative),
                Temporality::Delta => {
                    return Err(Refusal::new(
                        RejectReason::Unsupported,
                        "a delta sum that is not monotonic: send it as a cumulative sum or a gauge",
                    ));
                }
            },
            Data::Histogram { temporality } | Data::Exponential { temporality } => {
                (Kind::Histogram, read_temporality(temporality)?)
            }
        };
        Ok(SeriesMeta {
            kind,
            temporality,
            unit: Unit::from_name(self.unit),
        })
    }
}

impl ExplicitPoint {
    pub(super) fn check(self) -> Result<Histogram, Refusal> {
        let Self {
            count,
            sum,
            counts,
            bounds,
        } = self;
        if BUCKETS_MAX < counts.len().max(bounds.len()) {
            let detail = format!("over {BUCKETS_MAX} buckets: send fewer");
            return Err(Refusal::new(RejectReason::OverLimit, detail));
        }
        if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
            return Err(bad("explicit bounds are not finite and ascending"));
        }
        // A histogram may come without buckets: all that is known then is how many values it has.
        let counts = if counts.is_empty() && bounds.is_empty() {
            vec![count]
        } else {
            counts
        };
        if counts.len() != bounds.len() + 1 {
            return Err(bad(format!(
                "{} bucket counts with {} bounds: send one count more than bounds",
                counts.len(),
                bounds.len()
            )));
        }
        check_total(count, &[&counts], 0)?;
        Ok(Histogram::Explicit {
            bounds,
            counts: floats(&counts),
            sum: finite(sum),
        })
    }
}

impl ExponentialPoint {
    pub(super) fn check(self) -> Result<Histogram, Refusal> {
        if !(-10..=20).contains(&self.scale) {
            return Err(bad(format!(
                "scale {} is not between -10 and 20",
                self.scale
            )));
        }
        if !(self.zero_threshold >= 0.0 && self.zero_threshold.is_finite()) {
            return Err(bad(format!("zero threshold {}", self.zero_threshold)));
        }
        let (positive, negative) = (self.positive.check()?, self.negative.check()?);
        let sides = [&self.positive.counts[..], &self.negative.counts[..]];
        check_total(self.count, &sides, self.zero_count)?;
        Ok(Histogram::Exponential {
            scale: self.scale,
            zero_count: self.zero_count as f64,
            zero_threshold: self.zero_threshold,
            positive,
            negative,
            sum: finite(self.sum),
        })
    }
}

impl Buckets {
    fn check(&self) -> Result<ExponentialBuckets, Refusal> {
        let len = self.counts.len();
        if len > BUCKETS_MAX {
            let detail = format!("over {BUCKETS_MAX} buckets: lower the scale");
            return Err(Refusal::new(RejectReason::OverLimit, detail));
        }
        if i32::try_from(i64::from(self.offset) + len as i64).is_err() {
            return Err(bad(format!("offset {} is out of range", self.offset)));
        }
        Ok(ExponentialBuckets {
            offset: self.offset,
            counts: floats(&self.counts),
        })
    }
}

/// The labels of a series: what metric, scope and quantile say first, then the attributes of the point,
/// then those of its resource.
pub(super) fn labels(
    (name, scope, quantile): (&str, Scope<'_>, Option<&str>),
    point: &Attributes<'_>,
    resource: &Attributes<'_>,
) -> Labels {
    let [scope_name, scope_version] = SCOPE_LABELS;
    let own = [
        (METRIC_NAME, name),
        (scope_name, scope.name),
        (scope_version, scope.version),
        ("quantile", quantile.unwrap_or("")),
    ]
    .into_iter();
    let attributes = point.iter().chain(resource);
    Labels::new(own.chain(attributes.map(|(key, value)| (&**key, &**value))))
}

/// Demands that no key is empty, and that a key which stands twice has one value: else two series
/// would become one.
pub(super) fn check_attributes(attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let bad = |detail: String| Err(Refusal::new(RejectReason::BadLabels, detail));
    if let Some((_, value)) = attributes.iter().find(|(key, _)| key.is_empty()) {
        let value = excerpt(value);
        return bad(format!("an attribute with value {value:?} has no key"));
    }
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_unstable();
    match sorted
        .windows(2)
        .find(|two| two[0].0 == two[1].0 && two[0].1 != two[1].1)
    {
        Some(two) => bad(format!(
            "attribute {:?} stands twice with different values",
            excerpt(&two[0].0)
        )),
        None => Ok(()),
    }
}

/// The severity that a record tells by number, else by its text.
pub(in crate::decode) fn severity(number: i64, text: &str) -> Severity {
    match Severity::from_number(number) {
        Severity::UNKNOWN => Severity::from_name(text),
        known => known,
    }
}

pub(in crate::decode) fn timestamp(nanos: u64) -> Result<Timestamp, Refusal> {
    match i64::try_from(nanos) {
        Ok(0) => Err(Refusal::new(
            RejectReason::NoTimestamp,
            "timeUnixNano is not set",
        )),
        Ok(nanos) => Ok(Timestamp::from_nanos(nanos)),
        Err(_) => {
            let detail = format!("timeUnixNano {nanos} is beyond the year 2262");
            Err(Refusal::new(RejectReason::NoTimestamp, detail))
        }
    }
}

fn read_temporality(number: i64) -> Result<Temporality, Refusal> {
    match number {
        1 => Ok(Temporality::Delta),
        2 => Ok(Temporality::Cumulative),
        other => Err(Refusal::new(
            RejectReason::NoTemporality,
            format!("aggregation temporality is {other}: set 1 (delta) or 2 (cumulative)"),
        )),
    }
}

fn check_total(count: u64, sides: &[&[u64]], zero_count: u64) -> Result<(), Refusal> {
    let buckets: u128 = sides
        .iter()
        .flat_map(|side| side.iter())
        .map(|&count| u128::from(count))
        .sum();
    let total = buckets + u128::from(zero_count);
    if total == u128::from(count) {
        return Ok(());
    }
    Err(bad(format!(
        "a count of {count} with {total} in its buckets"
    )))
}

fn floats(counts: &[u64]) -> Vec<f64> {
    counts.iter().map(|&count| count as f64).collect()
}

fn finite(sum: Option<f64>) -> Option<f64> {
    sum.filter(|sum| sum.is_finite())
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(RejectReason::BadHistogram, detail)
}
