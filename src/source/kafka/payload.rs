//! A message to a batch, by what its topic carries.

use super::Message;
use crate::{
    decode::{
        DecodeError, compression, deployments, json_logs, json_samples, otlp, otlp_json,
        remote_write,
    },
    event::{Batch, DeploymentEvent},
    plan::{MessageCompression, TopicFormat},
};

/// Decodes one message. A live run and a recovery both call this, so that they cannot differ. A
/// message without a value says nothing.
///
/// # Errors
/// The message is damaged as a whole, or has more than `decompressed_bytes_max` bytes.
pub fn decode(
    format: TopicFormat,
    message: &Message,
    decompressed_bytes_max: usize,
) -> Result<Batch, DecodeError> {
    let bytes = &message.payload[..];
    if bytes.is_empty() {
        return Ok(Batch::default());
    }
    let limited = || compression::content_encoding("identity", bytes, decompressed_bytes_max);
    match format {
        TopicFormat::OtlpMetrics => otlp::metrics(&limited()?),
        TopicFormat::OtlpLogs => otlp::logs(&limited()?),
        TopicFormat::OtlpMetricsJson => otlp_json::metrics(&limited()?),
        TopicFormat::OtlpLogsJson => otlp_json::logs(&limited()?),
        TopicFormat::RemoteWrite(MessageCompression::Snappy) => {
            remote_write::decode(&compression::snappy(bytes, decompressed_bytes_max)?)
        }
        TopicFormat::RemoteWrite(MessageCompression::None) => remote_write::decode(&limited()?),
        TopicFormat::JsonSamples => Ok(json_samples::decode(&limited()?, message.timestamp)),
        TopicFormat::JsonLogs => Ok(json_logs::decode(&limited()?, message.timestamp)),
        // See `deployments`: they are inputs of their own.
        TopicFormat::JsonDeployments(_) => Ok(Batch::default()),
    }
}

/// Reads the deployment events of one message, each by itself. A message without a value tells nothing.
///
/// # Errors
/// The message has more than `decompressed_bytes_max` bytes, or more events than one may have.
pub fn deployments(
    message: &Message,
    decompressed_bytes_max: usize,
) -> Result<Vec<Result<DeploymentEvent, String>>, String> {
    let bytes = &message.payload[..];
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = compression::content_encoding("identity", bytes, decompressed_bytes_max)
        .map_err(|problem| problem.to_string())?;
    deployments::message(&bytes, message.timestamp)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Timestamp;

    fn message(payload: Vec<u8>) -> Message {
        Message {
            offset: 0,
            timestamp: Some(Timestamp::from_seconds(5)),
            payload: Bytes::from(payload),
        }
    }

    /// A remote write request: one series `up` with one sample.
    const REQUEST: &[u8] = b"\x0a\x1e\x0a\x0e\x0a\x08__name__\x12\x02up\x12\x0c\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\xe8\x07";

    #[test]
    fn every_format_reaches_its_decoder() {
        let otlp_metrics = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"1","asInt":"1"}]}}]}]}]}"#;
        let otlp_logs = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"stringValue":"x"}}]}]}]}"#;
        let snappy = snap::raw::Encoder::new().compress_vec(REQUEST).unwrap();
        for (format, payload, samples, logs) in [
            (TopicFormat::OtlpMetricsJson, otlp_metrics.to_vec(), 1, 0),
            (TopicFormat::OtlpLogsJson, otlp_logs.to_vec(), 0, 1),
            (
                TopicFormat::RemoteWrite(MessageCompression::Snappy),
                snappy,
                1,
                0,
            ),
            (
                TopicFormat::RemoteWrite(MessageCompression::None),
                REQUEST.to_vec(),
                1,
                0,
            ),
            (
                TopicFormat::JsonSamples,
                br#"{"metric":"m","value":1}"#.to_vec(),
                1,
                0,
            ),
            (TopicFormat::JsonLogs, br#"{"body":"x"}"#.to_vec(), 0, 1),
        ] {
            let batch = decode(format, &message(payload), 1 << 20).unwrap();
            assert_eq!(
                (batch.sample_count(), batch.log_count()),
                (samples, logs),
                "{format:?}"
            );
            assert!(batch.rejects.is_empty(), "{format:?}: {}", batch.rejects);
        }
        for format in [TopicFormat::OtlpMetrics, TopicFormat::OtlpLogs] {
            let damaged = message(b"\x0a\xff".to_vec());
            assert!(decode(format, &damaged, 1 << 20).is_err(), "{format:?}");
            assert!(
                decode(format, &message(Vec::new()), 1 << 20)
                    .unwrap()
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        let large = message(br#"{"metric":"m","value":1}"#.to_vec());
        let error = decode(TopicFormat::JsonSamples, &large, 10).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
        let problem = super::deployments(&large, 10).unwrap_err();
        assert!(problem.contains("over the limit of 10:"), "{problem}");
    }
}
