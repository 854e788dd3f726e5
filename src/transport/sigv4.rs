//! Signature Version 4, by which Amazon's services know who asks: HMAC-SHA256 over the request, the time, the region
//! and the service, as "Create a signed AWS API request" of the IAM user guide has it.
//!
//! Pure: the time is an argument. Not done: S3, which alone normalises and encodes paths in another way; signatures in
//! the query; chunks that are signed one by one.

use crate::base::secret::Secret;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// When the request was signed, to the second. Services refuse what is more than some minutes off.
pub const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The token of temporary credentials.
pub const AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that proxies may change on the way, and the one that holds the signature. The list is botocore's.
const UNSIGNED: [HeaderName; 15] = [
    AUTHORIZATION,
    HeaderName::from_static("baggage"),
    HeaderName::from_static("connection"),
    HeaderName::from_static("expect"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("te"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("trailer"),
    HeaderName::from_static("transfer-encoding"),
    HeaderName::from_static("upgrade"),
    HeaderName::from_static("user-agent"),
    HeaderName::from_static("x-amzn-trace-id"),
];

/// All but RFC 3986's unreserved characters.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// As above, but for what parts a path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Who asks.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// Public, and part of the signature.
    pub access_key_id: String,
    /// Never sent.
    pub secret_access_key: Secret,
    /// Comes with temporary credentials, and is sent along.
    pub session_token: Option<Secret>,
}

/// Whom the request is for, and when.
#[derive(Clone, Copy, Debug)]
pub struct SigningScope<'a> {
    /// As in `eu-central-1`.
    pub region: &'a str,
    /// The service's signing name, which may differ from its host's: `bedrock` for `bedrock-runtime.…`.
    pub service: &'a str,
    /// The wall clock's time.
    pub time: Timestamp,
}

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// There is no `host` header, and the URI names no host.
    #[error("the request names no host, which must be signed; hint: set its `host` header")]
    NoHost,
    /// A header's value is not UTF-8.
    #[error("the value of the header `{0}`, which must be signed, is not UTF-8")]
    HeaderText(HeaderName),
    /// The credentials or the scope hold characters that a header cannot.
    #[error(
        "the access key id, the session token, the region or the service holds characters that an HTTP header cannot"
    )]
    CredentialText,
}

/// The headers that prove who asks, which replace any of the same name: the time, the session's token if there is one,
/// and the signature. They hold for this request only, with all the headers it has now, save those that proxies may
/// change.
///
/// # Errors
/// When the request has no host, or headers or credentials are no text that HTTP can carry.
pub fn sign(
    request: &Request<Bytes>,
    credentials: &AwsCredentials,
    scope: SigningScope<'_>,
) -> Result<Vec<(HeaderName, HeaderValue)>, SigningError> {
    let time = scope.time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = scope.time.strftime("%Y%m%d").to_string();
    let mut added = vec![(AMZ_DATE, header_value(&time)?)];
    if let Some(token) = &credentials.session_token {
        let mut value = header_value(token.expose())?;
        value.set_sensitive(true);
        added.push((AMZ_SECURITY_TOKEN, value));
    }

    let headers = canonical_headers(request, &added)?;
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let canonical = canonical_request(request, &headers, &names);
    let SigningScope {
        region, service, ..
    } = scope;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{hash}");

    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [date.as_str(), region, service, "aws4_request"]
        .into_iter()
        .fold(hmac_key(secret.as_bytes()), |key, part| {
            hmac_key(hmac::sign(&key, part.as_bytes()).as_ref())
        });
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    let id = &credentials.access_key_id;
    let mut value = header_value(&format!(
        "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    ))?;
    value.set_sensitive(true);
    added.push((AUTHORIZATION, value));
    Ok(added)
}

fn canonical_request(
    request: &Request<Bytes>,
    headers: &BTreeMap<&str, String>,
    names: &str,
) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method(),
        canonical_path(request.uri().path()),
        canonical_query(request.uri().query().unwrap_or_default()),
    );
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    let body = hex(digest::digest(&digest::SHA256, request.body()).as_ref());
    let _ = write!(text, "\n{names}\n{body}");
    text
}

/// The path without its dot segments and empty segments, encoded once more: what was sent is encoded already.
fn canonical_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let end = match segments.is_empty() || !path.ends_with('/') {
        true => "",
        false => "/",
    };
    let path = format!("/{}{end}", segments.join("/"));
    utf8_percent_encode(&path, RESERVED_IN_PATH).to_string()
}

/// The pairs sorted by name and then by value, each encoded exactly once however they were sent.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let bytes = percent_decode_str(text).collect::<Vec<u8>>();
        percent_encoding::percent_encode(&bytes, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// What is signed of the headers, ours included: names in order, values without needless blanks.
fn canonical_headers<'a>(
    request: &'a Request<Bytes>,
    added: &'a [(HeaderName, HeaderValue)],
) -> Result<BTreeMap<&'a str, String>, SigningError> {
    let mut headers = BTreeMap::new();
    for name in request.headers().keys() {
        if !UNSIGNED.contains(name) {
            let values = request.headers().get_all(name);
            headers.insert(name.as_str(), canonical_value(name, values)?);
        }
    }
    for (name, value) in added {
        headers.insert(name.as_str(), canonical_value(name, [value])?);
    }
    if !headers.contains_key(HOST.as_str()) {
        let authority = request.uri().authority().ok_or(SigningError::NoHost)?;
        headers.insert("host", authority.as_str().to_owned());
    }
    Ok(headers)
}

fn canonical_value<'a>(
    name: &HeaderName,
    values: impl IntoIterator<Item = &'a HeaderValue>,
) -> Result<String, SigningError> {
    let mut joined = Vec::new();
    for value in values {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| SigningError::HeaderText(name.clone()))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        joined.push(words.join(" "));
    }
    Ok(joined.join(","))
}

fn header_value(text: &str) -> Result<HeaderValue, SigningError> {
    HeaderValue::try_from(text).map_err(|_| SigningError::CredentialText)
}

fn hmac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
