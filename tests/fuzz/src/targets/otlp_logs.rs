//! OTLP logs, compared with what the same bytes mean when prost decodes them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

use crate::{
    common,
    decode::{DecodeError, Encoding, Format, otlp},
    reference,
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::OtlpLogs, Encoding::Identity, bytes);
    // As with metrics.
    let Ok(wire) = ExportLogsServiceRequest::decode(bytes) else {
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

/// Compares times, severities, bodies, attributes and the number of refusals.
fn compare(bytes: &[u8], wire: &ExportLogsServiceRequest) -> Result<(), DecodeError> {
    let batch = otlp::logs(bytes)?;
    let is_odd = common::are_odd(&batch.rejects);
    let told = reference::Records {
        refused: batch.rejects.log_count(),
        taken: batch.logs,
    };
    let expected = reference::records(wire);
    assert!(
        told == expected || is_odd,
        "{told:#?}\n{expected:#?}\n{}",
        batch.rejects
    );
    Ok(())
}
