//! OTLP metrics, compared with what the same bytes mean when prost decodes them.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

use crate::{
    common,
    decode::{DecodeError, Encoding, Format, otlp},
    reference,
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::OtlpMetrics, Encoding::Identity, bytes);
    // Text that is not UTF-8 refuses everything with prost and only its series here, and what is cut off
    // within a label too: then there is nothing to compare.
    let Ok(wire) = ExportMetricsServiceRequest::decode(bytes) else {
        return;
    };
    if let Err(error) = read.and_then(|_| compare(bytes, &wire)) {
        assert!(common::is_odd(&error), "{error}");
    }
    // The same once more in the order and the forms that prost writes.
    if let Err(error) = compare(&wire.encode_to_vec(), &wire) {
        assert!(common::is_odd(&error), "{error}");
    }
}

/// Compares labels, meta data, times, values and the number of refusals.
fn compare(bytes: &[u8], wire: &ExportMetricsServiceRequest) -> Result<(), DecodeError> {
    let batch = otlp::metrics(bytes)?;
    let is_odd = common::are_odd(&batch.rejects);
    let (told, expected) = (reference::samples_of(&batch), reference::samples(wire));
    assert!(
        told == expected || is_odd,
        "{told:#?}\n{expected:#?}\n{}",
        batch.rejects
    );
    Ok(())
}
