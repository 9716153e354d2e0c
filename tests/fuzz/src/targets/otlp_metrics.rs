//! OTLP metrics, compared with what the same bytes mean when prost decodes them.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

use crate::{
    common,
    decode::{Encoding, Format, otlp},
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
    assert!(read.is_ok() || common::is_deep(&wire), "{read:?}");
    compare(bytes, &wire);
    // The same once more in the order and the forms that prost writes.
    compare(&wire.encode_to_vec(), &wire);
}

/// Compares labels, meta data, times, values and the number of refusals.
fn compare(bytes: &[u8], wire: &ExportMetricsServiceRequest) {
    let expected = reference::samples(wire);
    let told = otlp::metrics(bytes).map(|batch| reference::samples_of(&batch));
    if told.as_ref() != Ok(&expected) {
        assert!(common::is_deep(wire), "{told:#?}\n{expected:#?}");
    }
}
