//! OTLP logs, compared with prost.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use crate::decode::{DecodeError, Encoding, Format, otlp};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = crate::common::read(Format::OtlpLogs, Encoding::Identity, bytes);
    let Ok(wire) = ExportLogsServiceRequest::decode(bytes) else {
        return;
    };
    if read.is_ok() {
        compare(bytes, &wire);
    }
    let again = wire.encode_to_vec();
    let wire = ExportLogsServiceRequest::decode(&again[..]).expect("what prost wrote");
    compare(&again, &wire);
}

/// Every record is taken or rejected, and what is taken has its body.
fn compare(bytes: &[u8], wire: &ExportLogsServiceRequest) {
    let batch = match otlp::logs(bytes) {
        Ok(batch) => batch,
        // prost goes deeper.
        Err(DecodeError::Malformed { detail, .. }) if detail.contains("nested") => return,
        Err(error) => panic!("{error}"),
    };
    let scopes = wire.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    let records: Vec<_> = scopes.flat_map(|scope| &scope.log_records).collect();
    assert_eq!(
        batch.logs.len() as u64 + batch.rejects.log_count(),
        records.len() as u64
    );
    if !batch.rejects.is_empty() {
        return;
    }
    for (record, sent) in batch.logs.iter().zip(records) {
        match sent.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(Value::StringValue(text)) => assert_eq!(&record.body, text),
            Some(Value::IntValue(number)) => assert_eq!(record.body, number.to_string()),
            None => assert_eq!(record.body, ""),
            Some(_) => {}
        }
    }
}
