//! Access tokens, and the exchange that gives them (RFC 6749).

use crate::base::clock::wall_now;
use crate::base::secret::Secret;
use crate::transport::lease::Lease;
use crate::transport::question::{Question, form, refusal};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// Shorter than the time that a run has to connect, so that the run can say what has failed.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// What a request shows.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    /// Which project's quota is used, and which pays, unless the token's owner says.
    pub(super) quota_project: Option<String>,
}

/// The token in an answer to a question of `asked`, whoever gives it. What is wrong with it is not said: serde would
/// repeat a part of it.
pub(super) fn lease(body: &[u8], asked: Timestamp) -> Result<Lease<Token>, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let token = answer.get("access_token").and_then(Value::as_str);
    let token = token.ok_or("the answer holds no access token")?;
    let seconds = answer.get("expires_in");
    // Some servers write the number as text.
    let seconds = seconds.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
    Ok(Lease {
        credentials: Token {
            secret: Secret::new(token),
            quota_project: None,
        },
        expires: seconds.and_then(|s| asked.checked_add(SignedDuration::from_secs(s)).ok()),
    })
}

/// A token for what the fields say.
///
/// # Errors
/// Why there is none.
pub(super) async fn exchange(url: &str, fields: &[(&str, &str)]) -> Result<Lease<Token>, String> {
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let asked = wall_now();
    let question = Question {
        method: Method::POST,
        url,
        headers: vec![(CONTENT_TYPE, kind)],
        body: form(fields),
        limit: TIME_LIMIT,
    };
    let answer = question.ask().await;
    let of_url = |why: String| format!("{url}: {why}");
    match answer.map_err(of_url)? {
        (StatusCode::OK, body) => lease(&body, asked).map_err(of_url),
        (status, body) => Err(of_url(refusal(status, said(&body).as_deref()))),
    }
}

/// The error in its standard form.
fn said(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    let more = answer.get("error_description").and_then(Value::as_str);
    Some(more.map_or_else(|| error.to_owned(), |more| format!("{error}: {more}")))
}
