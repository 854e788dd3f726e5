//! Answers that are no generation: one status, one type, one body.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::body::AnswerBody;

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: AnswerBody,
) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

pub(super) fn with_status(
    status: StatusCode,
    mut response: Response<AnswerBody>,
) -> Response<AnswerBody> {
    *response.status_mut() = status;
    response
}

pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<AnswerBody> {
    response(status, content_type, AnswerBody::Whole(Some(text.into())))
}

pub(super) fn json(value: &Value) -> Response<AnswerBody> {
    text(StatusCode::OK, "application/json", value.to_string())
}

pub(super) fn plain(status: StatusCode, words: &'static str) -> Response<AnswerBody> {
    text(status, "text/plain; charset=utf-8", words)
}
