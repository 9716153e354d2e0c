//! What the HTTP doors have in common: bodies within limits, media types, refusals.

use std::{error::Error, pin::pin};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{connections, intake::Turned};
use crate::decode::DecodeError;

/// Memory that is made ready for a body on its sender's word, in bytes.
const TRUSTED_BYTES_MAX: usize = 128 << 10;

/// Why a request is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpRefusal {
    /// The status of the answer; 503 asks the sender to come again in a second.
    pub status: StatusCode,
    /// The reason that metrics carry.
    pub reason: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A media type: its essence in lower case, and the parameter `proto` if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaType {
    /// Type and subtype; empty without the header.
    pub essence: String,
    /// The parameter `proto`.
    pub proto: Option<String>,
}

/// What is wrong with a query, from the words of the library that reads it.
pub(super) fn query_problem(text: &str) -> String {
    let problem = text
        .strip_prefix("Failed to deserialize")
        .and_then(|rest| rest.split_once(": "))
        .map_or(text, |(_, problem)| problem);
    format!("cannot be read: {problem}")
}

impl HttpRefusal {
    /// A refusal.
    pub(super) fn new(
        status: StatusCode,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }

    /// A media type or encoding that is not read.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", message)
    }
}

impl From<Turned> for HttpRefusal {
    fn from(turned: Turned) -> Self {
        let status = match &turned {
            Turned::Decode(error) => match error {
                DecodeError::TooLarge { .. } | DecodeError::TooMany { .. } => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                DecodeError::UnsupportedEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                DecodeError::Compression { .. }
                | DecodeError::Malformed { .. }
                | DecodeError::MissingColumn { .. }
                | DecodeError::BadLine { .. }
                | DecodeError::BadPattern { .. }
                | DecodeError::Read { .. } => StatusCode::BAD_REQUEST,
            },
            Turned::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, turned.reason(), turned.to_string())
    }
}

/// As plain text.
impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.message)).into_response();
        ask_to_retry(&mut response);
        response
    }
}

/// Asks the sender of a 503 to come again in a second.
pub(super) fn ask_to_retry(response: &mut Response) {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
}

/// Reads a body of at most `limit` bytes that is not compressed.
///
/// # Errors
/// It is compressed, longer, breaks off, or takes too long.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, HttpRefusal> {
    let named = header_text(headers, header::CONTENT_ENCODING);
    if !named.is_empty() && !named.eq_ignore_ascii_case("identity") {
        let message = format!("content encoding {named:?} is not read: send the body as it is");
        return Err(HttpRefusal::unsupported(message));
    }
    let mut bytes = Vec::new();
    read_into(&mut bytes, headers, body, limit).await?;
    Ok(bytes.into())
}

/// Appends a body of at most `limit` bytes. Each piece is let go at once, so that the connection reads the next
/// one into the same memory.
///
/// # Errors
/// It is longer, breaks off, or takes too long. What came of its beginning is there.
pub(super) async fn read_into(
    bytes: &mut Vec<u8>,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<(), HttpRefusal> {
    let too_large = || {
        let message = format!("the body has more than {limit} bytes: send smaller batches");
        HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| limit < length) {
        begin_into(bytes, body, limit).await;
        return Err(too_large());
    }
    bytes.reserve(announced.unwrap_or(0).min(TRUSTED_BYTES_MAX));
    let mut pieces = pin!(Limited::new(body, limit));
    while let Some(piece) = pieces.frame().await {
        match piece {
            // Trailers say nothing that is asked here.
            Ok(piece) => bytes.extend_from_slice(piece.data_ref().map_or(&[], |data| &data[..])),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => return Err(broken(&*error)),
        }
    }
    Ok(())
}

/// Appends how a body that is too long begins, if it comes.
async fn begin_into(bytes: &mut Vec<u8>, mut body: Body, limit: usize) {
    if let Some(Ok(piece)) = body.frame().await
        && let Some(data) = piece.data_ref()
    {
        bytes.extend_from_slice(&data[..data.len().min(limit)]);
    }
}

fn broken(error: &(dyn Error + Send + Sync + 'static)) -> HttpRefusal {
    // Not 408: senders of remote write, OTLP and Loki give up what is refused with that.
    let (status, message) = if connections::is_late(error) {
        let message = "the body did not arrive: nothing for 10s, or not all within 30s";
        (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
    } else {
        let message = format!("the body broke off: {error}");
        (StatusCode::BAD_REQUEST, message)
    };
    HttpRefusal::new(status, "incomplete", message)
}

/// A header as text; empty if it is missing or no text.
pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .trim()
}

/// The media type of a request.
pub(super) fn media_type(headers: &HeaderMap) -> MediaType {
    let text = header_text(headers, header::CONTENT_TYPE);
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or("").trim().to_ascii_lowercase();
    let proto = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"))
        .map(|(_, value)| value.trim().trim_matches('"').to_owned());
    MediaType { essence, proto }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_with_spaces_quotes_and_in_any_case() {
        for (text, essence, proto) in [
            ("application/x-protobuf", "application/x-protobuf", None),
            (
                "Application/X-Protobuf ; Proto = \"prometheus.WriteRequest\"",
                "application/x-protobuf",
                Some("prometheus.WriteRequest"),
            ),
            (
                "application/json;charset=utf-8; proto=a",
                "application/json",
                Some("a"),
            ),
            ("", "", None),
            (";;=", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            let expected = MediaType {
                essence: essence.to_owned(),
                proto: proto.map(str::to_owned),
            };
            assert_eq!(media_type(&headers), expected, "{text}");
        }
        assert_eq!(media_type(&HeaderMap::new()), MediaType::default());
    }
}
