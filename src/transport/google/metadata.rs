//! The metadata server, which gives every pod on GKE and every machine of Google's the token of its service account.

use super::token::{Token, lease};
use super::{GoogleError, GoogleVariables, SCOPE};
use crate::base::clock::wall_now;
use crate::transport::lease::Lease;
use crate::transport::question::{Question, refusal};
use crate::transport::sigv4::RESERVED;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::utf8_percent_encode;
use std::time::Duration;

const HOST: &str = "metadata.google.internal";
const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// Without it no question is answered: a forged request from a browser could not have it.
const FLAVOR: (HeaderName, HeaderValue) = (
    HeaderName::from_static("metadata-flavor"),
    HeaderValue::from_static("Google"),
);
/// As in Google's libraries. Where there is no such server, its name does not resolve.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Asks for a token; without a lease, there is no such server.
///
/// # Errors
/// When there is one, and it gives nothing.
pub(super) async fn token(
    variables: &GoogleVariables,
) -> Result<Result<Lease<Token>, String>, GoogleError> {
    if variables.get("NO_GCE_CHECK") == Some("true") {
        return Ok(Err("the metadata server (off by `NO_GCE_CHECK`)".to_owned()));
    }
    let host = variables.get("GCE_METADATA_HOST");
    let host = host.or_else(|| variables.get("GCE_METADATA_ROOT"));
    let host = host.unwrap_or(HOST);
    let scope = utf8_percent_encode(SCOPE, RESERVED);
    let asked = wall_now();
    let question = Question {
        method: Method::GET,
        url: &format!("http://{host}{PATH}?scopes={scope}"),
        headers: vec![FLAVOR],
        body: String::new(),
        limit: TIME_LIMIT,
    };
    let answer = match question.ask().await {
        Ok((StatusCode::OK, body)) => lease(&body, asked),
        Ok((status, body)) => Err(words(status, &body)),
        Err(why) => return Ok(Err(format!("the metadata server `{host}` ({why})"))),
    };
    let refused = |reason| GoogleError::Refused {
        place: format!("the metadata server `{host}`"),
        reason,
    };
    answer.map(Ok).map_err(refused)
}

/// GKE's server says in plain text which permission is missing.
fn words(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    refusal(status, line)
}
