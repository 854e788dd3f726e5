//! What Amazon's services have in common: event streams, and errors that go by a name.

use super::EncodedRequest;
use super::text::one_line;
use crate::measure::delta::Delta;
use crate::wire::Frame;
use http::StatusCode;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::Value;

/// The name of an error, in the head of an unsuccessful answer.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// Names of the same meaning, of several services, and of streams and their heads.
const THROTTLING: [&str; 4] = [
    "ThrottlingException",
    "TooManyRequestsException",
    "Throttling",
    "ThrottledException",
];

/// A request whose answer is an event stream, or one JSON document without a stream.
pub(super) fn encoded(path: String, stream: bool, body: bytes::Bytes) -> EncodedRequest {
    let accept = match stream {
        true => HeaderValue::from_static("application/vnd.amazon.eventstream"),
        false => HeaderValue::from_static("application/json"),
    };
    EncodedRequest {
        path: path.into(),
        headers: vec![(ACCEPT, accept)],
        body,
    }
}

/// What a message means that ends a stream as an exception of the API.
pub(super) fn fault(frame: Frame<'_>) -> Delta<'static> {
    let name = frame.event.map(String::from_utf8_lossy).unwrap_or_default();
    let error = ErrorBody::read(frame.data);
    let words = error.in_words(&name, frame.data).unwrap_or_default();
    let status = standing_for(StatusCode::OK, &name, &error);
    match status == StatusCode::TOO_MANY_REQUESTS {
        true => Delta::throttled(words),
        false => Delta::in_band(words),
    }
}

/// See [`super::Runtime::refusal`].
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> (StatusCode, Option<String>) {
    let error = ErrorBody::read(body);
    let told = headers
        .get(ERROR_TYPE)
        .and_then(|value| value.to_str().ok());
    let name = told.or(error.text(&["__type", "code"])).unwrap_or_default();
    // Older services put a namespace in front of the name, and an address behind it.
    let name = name.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    let status = standing_for(status, name, &error);
    (status, error.in_words(name, body))
}

/// The status that counts: that of the container or model where it is told, and not one that says something else than
/// its name.
fn standing_for(status: StatusCode, name: &str, error: &ErrorBody) -> StatusCode {
    let original = error.0.get("OriginalStatusCode");
    let original = original.or_else(|| error.0.get("originalStatusCode"));
    let original = original
        .and_then(Value::as_u64)
        .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
        .filter(|status| status.is_client_error() || status.is_server_error());
    if THROTTLING
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
    {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    // A model that is still loading is not too many requests, although it comes with their status.
    if name.eq_ignore_ascii_case("ModelNotReadyException") {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    original.unwrap_or(status)
}

/// A JSON object, or nothing.
struct ErrorBody(Value);

impl ErrorBody {
    fn read(body: &[u8]) -> Self {
        Self(serde_json::from_slice(body).unwrap_or_default())
    }

    fn text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)?.as_str())
    }

    /// The name goes first: many messages do not say what went wrong.
    fn in_words(&self, name: &str, body: &[u8]) -> Option<String> {
        let told = self.text(&["message", "Message", "OriginalMessage", "originalMessage"]);
        let said = match told {
            Some(text) => Some(one_line(text)),
            None => super::text::error_message(body),
        };
        match (name, said) {
            ("", said) => said,
            (name, None) => Some(one_line(name)),
            (name, Some(said)) => Some(one_line(&format!("{name}: {said}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::delta::Fault;
    use crate::wire::FrameKind;

    #[test]
    fn too_many_requests_are_told_from_other_faults_of_a_stream() {
        let read = |name: &str, data: &str| {
            let delta = fault(Frame {
                kind: FrameKind::Fault,
                event: Some(name.as_bytes()),
                data: data.as_bytes(),
                end: 0,
            });
            delta.fault.unwrap()
        };
        assert_eq!(
            read("throttlingException", r#"{"message":"slow down"}"#),
            Fault::Throttled("throttlingException: slow down".to_owned())
        );
        assert_eq!(
            read(
                "modelStreamErrorException",
                r#"{"message":"busy","originalStatusCode":429}"#
            ),
            Fault::Throttled("modelStreamErrorException: busy".to_owned())
        );
        assert_eq!(
            read(
                "ModelStreamError",
                r#"{"Message":"it broke","ErrorCode":"StreamBroken"}"#
            ),
            Fault::InBand("ModelStreamError: it broke".to_owned())
        );
        assert_eq!(
            read("InternalFailure", ""),
            Fault::InBand("InternalFailure".to_owned())
        );
    }

    #[test]
    fn a_refusal_goes_by_its_name_and_by_whoever_refused() {
        for (status, name, body, stands_for, words) in [
            (
                403,
                "AccessDeniedException:",
                r#"{"Message":"no"}"#,
                403,
                "AccessDeniedException: no",
            ),
            (
                400,
                "ThrottlingException",
                r#"{"message":"wait"}"#,
                429,
                "ThrottlingException: wait",
            ),
            (
                429,
                "ModelNotReadyException",
                "{}",
                503,
                "ModelNotReadyException: {}",
            ),
            (
                424,
                "ModelError",
                r#"{"Message":"m","OriginalStatusCode":503}"#,
                503,
                "ModelError: m",
            ),
            (
                424,
                "ModelErrorException",
                r#"{"message":"m"}"#,
                424,
                "ModelErrorException: m",
            ),
            (
                424,
                "ModelError",
                r#"{"Message":"m","OriginalStatusCode":7}"#,
                424,
                "ModelError: m",
            ),
            (503, "", "down", 503, "down"),
            (
                400,
                "",
                r#"{"__type":"coral#Nope","message":"m"}"#,
                400,
                "Nope: m",
            ),
        ] {
            let mut headers = HeaderMap::new();
            if !name.is_empty() {
                headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let (found, said) = refusal(status, &headers, body.as_bytes());
            assert_eq!((found.as_u16(), said.as_deref()), (stands_for, Some(words)));
        }
    }
}
