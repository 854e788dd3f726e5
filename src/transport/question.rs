//! What is asked to get credentials. Not measured, and on a connection of its own.

use super::request::{ask_as_written, unproved};
use super::sigv4::RESERVED;
use super::{Dialer, Endpoint};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use percent_encoding::utf8_percent_encode;
use std::time::Duration;

/// Longest part of an answer that a message repeats, in characters.
const SHOWN: usize = 300;

/// A request in full.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: String,
    pub(super) limit: Duration,
}

impl Question<'_> {
    /// The status and the body that come back.
    ///
    /// # Errors
    /// What is wrong with the URL, or why there is no answer.
    pub(super) async fn ask(self) -> Result<(StatusCode, Vec<u8>), String> {
        let (endpoint, path) = taken_apart(self.url)?;
        // Reads the system's certificates, which takes some milliseconds that no probe is to wait for.
        let made = tokio::task::spawn_blocking(move || (Dialer::new(&endpoint), endpoint));
        let (dialer, endpoint) = made.await.map_err(|error| error.to_string())?;
        let dialer = dialer.map_err(|error| error.to_string())?;
        let request = unproved(&endpoint, self.method, &path, Bytes::from(self.body));
        let mut request = request.map_err(|error| error.to_string())?;
        for (name, value) in self.headers {
            request.headers_mut().insert(name, value);
        }
        let asked = ask_as_written(&endpoint, &dialer, request, self.limit);
        let (head, body) = asked.await.map_err(|error| error.to_string())?;
        Ok((head.status, body))
    }
}

/// The endpoint of a URL, and what is asked of it, query included.
pub(super) fn taken_apart(url: &str) -> Result<(Endpoint, String), String> {
    let uri = url.parse::<Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some((uri.scheme_str()?, uri.authority()?, path))
    });
    let (scheme, authority, path) = parts.ok_or_else(|| format!("`{url}` is not a URL"))?;
    let endpoint = Endpoint::parse(&format!("{scheme}://{authority}"));
    let endpoint = endpoint.map_err(|error| format!("`{url}` {error}"))?;
    Ok((endpoint, path.to_owned()))
}

/// Fields as the body of `application/x-www-form-urlencoded`.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, RESERVED)))
        .collect();
    pairs.join("&")
}

/// A value that is secret, as a header.
pub(super) fn secret_header(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(text);
    let mut value = value.map_err(|_| "the token holds what no HTTP header can".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an unsuccessful answer says.
pub(super) fn refusal(status: StatusCode, said: Option<&str>) -> String {
    match said {
        Some(said) => format!(
            "HTTP {status}: {}",
            said.chars().take(SHOWN).collect::<String>()
        ),
        None => format!("HTTP {status}"),
    }
}
