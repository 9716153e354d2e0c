//! OTLP logs, compared with what the same bytes mean when prost decodes them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use crate::{
    common,
    decode::{Encoding, Format, otlp},
    reference,
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::OtlpLogs, Encoding::Identity, bytes);
    // As with metrics.
    let Ok(wire) = ExportLogsServiceRequest::decode(bytes) else {
        return;
    };
    assert!(read.is_ok() || common::is_deep(&wire), "{read:?}");
    compare(bytes, &wire);
    // The same once more in the order and the forms that prost writes.
    compare(&wire.encode_to_vec(), &wire);
}

/// Compares times, severities, bodies, attributes and the number of refusals.
fn compare(bytes: &[u8], wire: &ExportLogsServiceRequest) {
    let expected = reference::records(wire);
    let told = otlp::logs(bytes).map(|batch| reference::Records {
        refused: batch.rejects.log_count(),
        taken: batch.logs,
    });
    if told.as_ref() != Ok(&expected) {
        assert!(common::is_deep(wire), "{told:#?}\n{expected:#?}");
    }
}
