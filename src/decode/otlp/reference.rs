//! What OTLP means, once more, over the structs that prost decodes: for the tests and the fuzz targets.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Pb},
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        SummaryDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point::Value as PbNumber,
    },
};

use crate::event::{
    Batch, ExponentialBuckets, Histogram, Kind, Labels, LogRecord, METRIC_NAME, Point, SeriesMeta,
    Severity, Temporality, Timestamp, Unit, Value,
};

/// Samples as text, in order, and how many points are refused.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Samples {
    pub(crate) told: Vec<String>,
    pub(crate) refused: u64,
}

/// Log records in order, and how many are refused.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Records {
    pub(crate) taken: Vec<LogRecord>,
    pub(crate) refused: u64,
}

/// What a batch tells of samples.
pub(crate) fn samples_of(batch: &Batch) -> Samples {
    let blocks = batch.series.iter();
    let told = blocks.flat_map(|block| {
        let points = block.points.iter();
        points.map(|point| tell(&block.labels, block.meta, point))
    });
    Samples {
        told: told.collect(),
        refused: batch.rejects.sample_count(),
    }
}

/// What a request tells of samples.
pub(crate) fn samples(request: &ExportMetricsServiceRequest) -> Samples {
    let mut samples = Samples::default();
    for of_resource in &request.resource_metrics {
        let resource = of_resource.resource.as_ref();
        let resource = pairs(resource.map_or(&[], |resource| &resource.attributes));
        for of_scope in &of_resource.scope_metrics {
            let scope = of_scope.scope.clone().unwrap_or_default();
            for metric in &of_scope.metrics {
                Told {
                    metric,
                    scope: &scope,
                    resource: &resource,
                    samples: &mut samples,
                }
                .metric();
            }
        }
    }
    samples
}

/// What a request tells of log records, with all their attributes.
pub(crate) fn records(request: &ExportLogsServiceRequest) -> Records {
    let mut records = Records::default();
    for of_resource in &request.resource_logs {
        let resource = of_resource.resource.as_ref();
        let resource = pairs(resource.map_or(&[], |resource| &resource.attributes));
        let scopes = of_resource.scope_logs.iter();
        for record in scopes.flat_map(|scope| &scope.log_records) {
            let nanos = [record.time_unix_nano, record.observed_time_unix_nano];
            let at = nanos.into_iter().find(|nanos| *nanos > 0).and_then(time);
            let Some(at) = at else {
                records.refused += 1;
                continue;
            };
            let mut all = vec![("event.name".to_owned(), record.event_name.clone())];
            all.extend(pairs(&record.attributes));
            all.extend(resource.clone());
            all.retain(|(key, _)| !key.is_empty());
            let severity = if (1..=24).contains(&record.severity_number) {
                Severity::from_number(i64::from(record.severity_number))
            } else {
                Severity::from_name(&record.severity_text)
            };
            records.taken.push(LogRecord {
                at,
                severity,
                body: record.body.as_ref().map_or(String::new(), text),
                attributes: Labels::new(all),
                count: 1,
            });
        }
    }
    records
}

/// As text, because NaN is no equal of itself; but numbers by their bits.
fn tell(labels: &Labels, meta: SeriesMeta, point: &Point) -> String {
    let value = match &point.value {
        Value::Number(value) => format!("{:016x}", value.to_bits()),
        other @ (Value::Histogram(_) | Value::Stale) => format!("{other:?}"),
    };
    format!(
        "{labels:?} {meta:?} {:?} {:?} {value}",
        point.at, point.start
    )
}

fn time(nanos: u64) -> Option<Timestamp> {
    let nanos = i64::try_from(nanos).ok().filter(|nanos| *nanos > 0);
    nanos.map(Timestamp::from_nanos)
}

/// The points of one metric.
struct Told<'a> {
    metric: &'a Metric,
    scope: &'a InstrumentationScope,
    resource: &'a [(String, String)],
    samples: &'a mut Samples,
}

/// What all points have: attributes, start, time and flags.
type Head<'a> = (&'a [KeyValue], u64, u64, u32);

/// Suffix of the name, quantile, kind and value.
type Emitted = (&'static str, Option<String>, Kind, Value);

const GAUGE: Option<(Kind, Temporality)> = Some((Kind::Gauge, Temporality::Cumulative));

impl Told<'_> {
    fn metric(&mut self) {
        let histogram = |number| temporality(number).map(|told| (Kind::Histogram, told));
        match &self.metric.data {
            None => {}
            Some(Data::Gauge(gauge)) => self.numbers(&gauge.data_points, GAUGE),
            Some(Data::Sum(sum)) => {
                let meta = match (sum.is_monotonic, temporality(sum.aggregation_temporality)) {
                    (true, Some(temporality)) => Some((Kind::Counter, temporality)),
                    (false, Some(Temporality::Cumulative)) => GAUGE,
                    (false, Some(Temporality::Delta)) | (_, None) => None,
                };
                self.numbers(&sum.data_points, meta);
            }
            Some(Data::Histogram(data)) => {
                let meta = histogram(data.aggregation_temporality);
                for point in &data.data_points {
                    let head = (
                        &point.attributes[..],
                        point.start_time_unix_nano,
                        point.time_unix_nano,
                        point.flags,
                    );
                    self.histogram(meta, head, explicit(point));
                }
            }
            Some(Data::ExponentialHistogram(data)) => {
                let meta = histogram(data.aggregation_temporality);
                for point in &data.data_points {
                    let head = (
                        &point.attributes[..],
                        point.start_time_unix_nano,
                        point.time_unix_nano,
                        point.flags,
                    );
                    self.histogram(meta, head, exponential(point));
                }
            }
            Some(Data::Summary(data)) => {
                for point in &data.data_points {
                    self.summary(point);
                }
            }
        }
    }

    fn numbers(&mut self, points: &[NumberDataPoint], meta: Option<(Kind, Temporality)>) {
        for point in points {
            let head = (
                &point.attributes[..],
                point.start_time_unix_nano,
                point.time_unix_nano,
                point.flags,
            );
            let value = match point.value {
                Some(PbNumber::AsDouble(value)) => Some(value),
                Some(PbNumber::AsInt(value)) => Some(value as f64),
                None => is_stale(point.flags).then_some(0.0),
            };
            let kind = meta.map_or(Kind::Unknown, |meta| meta.0);
            let values = value.map(|value| vec![("", None, kind, number(value))]);
            self.add(meta, head, values);
        }
    }

    fn histogram(
        &mut self,
        meta: Option<(Kind, Temporality)>,
        head: Head<'_>,
        told: Option<Histogram>,
    ) {
        let value = match told {
            _ if is_stale(head.3) => Some(Value::Stale),
            Some(histogram) => Some(Value::Histogram(Box::new(histogram))),
            None => None,
        };
        let values = value.map(|value| vec![("", None, Kind::Histogram, value)]);
        self.add(meta, head, values);
    }

    fn summary(&mut self, point: &SummaryDataPoint) {
        let head = (
            &point.attributes[..],
            point.start_time_unix_nano,
            point.time_unix_nano,
            point.flags,
        );
        let mut values = vec![
            ("_count", None, Kind::Counter, number(point.count as f64)),
            ("_sum", None, Kind::Counter, number(point.sum)),
        ];
        for quantile in &point.quantile_values {
            let label = Some(quantile.quantile.to_string());
            values.push(("", label, Kind::Gauge, number(quantile.value)));
        }
        self.add(GAUGE, head, Some(values));
    }

    fn add(
        &mut self,
        meta: Option<(Kind, Temporality)>,
        (attributes, start, at, flags): Head<'_>,
        values: Option<Vec<Emitted>>,
    ) {
        let own = pairs(attributes);
        let is_usable = !self.metric.name.is_empty() && is_good(&own) && is_good(self.resource);
        let (Some(meta), Some(values), Some(at), true) = (meta, values, time(at), is_usable) else {
            self.samples.refused += 1;
            return;
        };
        for (suffix, quantile, kind, value) in values {
            let name = format!("{}{suffix}", self.metric.name);
            let mut all = vec![(METRIC_NAME.to_owned(), name)];
            all.extend(quantile.map(|quantile| ("quantile".to_owned(), quantile)));
            all.push(("otel_scope_name".to_owned(), self.scope.name.clone()));
            all.push(("otel_scope_version".to_owned(), self.scope.version.clone()));
            // Only a label without a value lets the resource's through.
            all.extend(own.iter().chain(self.resource).cloned());
            let unit = if suffix == "_count" {
                Unit::Count
            } else {
                Unit::from_name(&self.metric.unit)
            };
            let meta = SeriesMeta {
                kind,
                temporality: meta.1,
                unit,
            };
            let value = if is_stale(flags) { Value::Stale } else { value };
            let start = time(start);
            let point = Point { at, start, value };
            self.samples
                .told
                .push(tell(&Labels::new(all), meta, &point));
        }
    }
}

/// A number with the bits of the stale marker is one, whoever sends it.
fn number(value: f64) -> Value {
    Value::from_prometheus(value)
}

fn is_stale(flags: u32) -> bool {
    flags & 1 == 1
}

fn temporality(number: i32) -> Option<Temporality> {
    match number {
        1 => Some(Temporality::Delta),
        2 => Some(Temporality::Cumulative),
        _ => None,
    }
}

fn explicit(point: &HistogramDataPoint) -> Option<Histogram> {
    let bounds = point.explicit_bounds.clone();
    let mut counts = point.bucket_counts.clone();
    if counts.is_empty() && bounds.is_empty() {
        counts = vec![point.count];
    }
    let is_good = counts.len() == bounds.len() + 1
        && bounds.iter().all(|bound| bound.is_finite())
        && bounds.windows(2).all(|two| two[0] < two[1])
        && total(&counts) == u128::from(point.count);
    is_good.then(|| Histogram::Explicit {
        bounds,
        counts: floats(&counts),
        sum: point.sum.filter(|sum| sum.is_finite()),
    })
}

fn exponential(point: &ExponentialHistogramDataPoint) -> Option<Histogram> {
    let side = |side: &Option<Buckets>| {
        let side = side.clone().unwrap_or_default();
        let is_good = i64::from(side.offset) + side.bucket_counts.len() as i64 <= i32::MAX.into();
        is_good.then(|| {
            let buckets = ExponentialBuckets {
                offset: side.offset,
                counts: floats(&side.bucket_counts),
            };
            (buckets, total(&side.bucket_counts))
        })
    };
    let (positive, above) = side(&point.positive)?;
    let (negative, below) = side(&point.negative)?;
    let is_good = (-10..=20).contains(&point.scale)
        && 0.0 <= point.zero_threshold
        && point.zero_threshold < f64::INFINITY
        && above + below + u128::from(point.zero_count) == u128::from(point.count);
    is_good.then(|| Histogram::Exponential {
        scale: point.scale,
        zero_count: point.zero_count as f64,
        zero_threshold: point.zero_threshold,
        positive,
        negative,
        sum: point.sum.filter(|sum| sum.is_finite()),
    })
}

fn total(counts: &[u64]) -> u128 {
    counts.iter().map(|count| u128::from(*count)).sum()
}

fn floats(counts: &[u64]) -> Vec<f64> {
    counts.iter().map(|count| *count as f64).collect()
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let value = |pair: &KeyValue| pair.value.as_ref().map_or(String::new(), text);
    let attributes = attributes.iter();
    attributes
        .map(|pair| (pair.key.clone(), value(pair)))
        .collect()
}

/// Whether every attribute has a key, and each key one value.
fn is_good(pairs: &[(String, String)]) -> bool {
    let clashes = |one: &(String, String)| pairs.iter().any(|b| one.0 == b.0 && one.1 != b.1);
    !pairs.iter().any(|pair| pair.0.is_empty() || clashes(pair))
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        // A place in a table that only profiles have counts as absent.
        None | Some(Pb::StringValueStrindex(_)) => String::new(),
        Some(Pb::StringValue(text)) => text.clone(),
        Some(Pb::BytesValue(bytes)) => base64(bytes),
        Some(Pb::DoubleValue(value)) => double(*value),
        Some(Pb::BoolValue(_) | Pb::IntValue(_) | Pb::ArrayValue(_) | Pb::KvlistValue(_)) => {
            json(Some(value))
        }
    }
}

fn json(value: Option<&AnyValue>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value.and_then(|value| value.value.as_ref()) {
        None | Some(Pb::StringValueStrindex(_)) => "null".to_owned(),
        Some(Pb::StringValue(text)) => quoted(text),
        Some(Pb::BytesValue(bytes)) => quoted(&base64(bytes)),
        Some(Pb::BoolValue(value)) => value.to_string(),
        Some(Pb::IntValue(value)) => value.to_string(),
        Some(Pb::DoubleValue(value)) if value.is_finite() => double(*value),
        Some(Pb::DoubleValue(value)) => quoted(&double(*value)),
        Some(Pb::ArrayValue(list)) => {
            let items = list.values.iter().map(|value| json(Some(value)));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        Some(Pb::KvlistValue(map)) => {
            let items = map.values.iter();
            let items =
                items.map(|pair| format!("{}:{}", quoted(&pair.key), json(pair.value.as_ref())));
            format!("{{{}}}", items.collect::<Vec<_>>().join(","))
        }
    }
}

fn double(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        0.0 => value.to_string(),
        value if value.abs() < 1e-6 || 1e21 <= value.abs() => {
            format!("{value:e}")
        }
        value => value.to_string(),
    }
}

/// Base64, bit by bit.
fn base64(bytes: &[u8]) -> String {
    let digits: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/'])
        .collect();
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |place| byte >> (7 - place) & 1))
        .collect();
    let mut text: String = bits
        .chunks(6)
        .map(|bits| {
            let padded = bits.iter().chain(&[0; 6]).take(6);
            digits[padded.fold(0, |all, bit| all << 1 | usize::from(*bit))]
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}
