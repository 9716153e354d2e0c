//! OTLP metrics, compared with prost.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point::Value},
};
use prost::Message;
use crate::decode::{DecodeError, Encoding, Format, otlp};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = crate::common::read(Format::OtlpMetrics, Encoding::Identity, bytes);
    let Ok(wire) = ExportMetricsServiceRequest::decode(bytes) else {
        return;
    };
    if read.is_ok() {
        compare(bytes, &wire);
    }
    let again = wire.encode_to_vec();
    let wire = ExportMetricsServiceRequest::decode(&again[..]).expect("what prost wrote");
    compare(&again, &wire);
}

/// Every point is taken or rejected, and what is taken has its value.
fn compare(bytes: &[u8], wire: &ExportMetricsServiceRequest) {
    let batch = match otlp::metrics(bytes) {
        Ok(batch) => batch,
        // prost goes deeper.
        Err(DecodeError::Malformed { detail, .. }) if detail.contains("nested") => return,
        Err(error) => panic!("{error}"),
    };
    let (mut count, mut values) = (0, Vec::new());
    let mut take = |points: &[NumberDataPoint]| {
        for point in points {
            let value = match point.value {
                _ if point.flags & 1 != 0 => crate::event::Value::STALE_BITS,
                Some(Value::AsDouble(value)) => value.to_bits(),
                Some(Value::AsInt(value)) => (value as f64).to_bits(),
                None => 0,
            };
            values.push((point.time_unix_nano as i64, value));
        }
        points.len() as u64
    };
    let scopes = wire.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        count += match &metric.data {
            Some(Data::Gauge(gauge)) => take(&gauge.data_points),
            Some(Data::Sum(sum)) => take(&sum.data_points),
            Some(Data::Histogram(data)) => data.data_points.len() as u64,
            Some(Data::ExponentialHistogram(data)) => data.data_points.len() as u64,
            // A point becomes several series.
            Some(Data::Summary(summary)) if !summary.data_points.is_empty() => return,
            Some(Data::Summary(_)) | None => 0,
        };
    }
    assert_eq!(batch.sample_count() + batch.rejects.sample_count(), count);
    let told: Vec<_> = crate::common::numbers(&batch).into_iter().map(|(_, at, value)| (at, value)).collect();
    let is_plain = values.len() as u64 == count;
    if batch.rejects.is_empty() && is_plain {
        assert_eq!(told, values);
    }
}
