//! Checks a request's signature by making it again.

use std::str::FromStr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::clock::wall_now;
use crate::base::secret::Secret;
use crate::simulate::refusal::Refusal;
use crate::transport::sigv4::{AMZ_DATE, AMZ_SECURITY_TOKEN, AwsCredentials, SigningScope, sign};

/// How far a request's time may be off.
const SKEW_SECONDS: u64 = 300;

/// An access key that requests are to be signed with. As text: `ID:SECRET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKey {
    /// Public.
    pub id: String,
    /// Never sent.
    pub secret: Secret,
}

/// A text is no [`AwsKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access key is written as `ID:SECRET`")]
pub struct AwsKeyError;

impl FromStr for AwsKey {
    type Err = AwsKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Self {
                id: id.to_owned(),
                secret: Secret::new(secret.to_owned()),
            }),
            _ => Err(AwsKeyError),
        }
    }
}

/// What a signature says of itself.
struct Claim<'a> {
    id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
}

impl<'a> Claim<'a> {
    /// Reads `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=…`.
    fn parse(text: &'a str) -> Option<Self> {
        let fields = text.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field = |name: &str| {
            let mut all = fields.split(',').map(str::trim);
            all.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = field("Credential")?.split('/');
        let claim = Self {
            id: scope.next()?,
            date: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed: field("SignedHeaders")?.split(';').collect(),
        };
        (scope.next() == Some("aws4_request")).then_some(claim)
    }
}

fn refused(name: &'static str, message: &str) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::FORBIDDEN, message);
    refusal.name = Some(name);
    refusal
}

/// Refuses a request that is not signed with `key`, in the names that Amazon's services have for that.
pub(in crate::simulate) fn check(key: &AwsKey, parts: &Parts, body: &[u8]) -> Result<(), Refusal> {
    let invalid = |message| refused("InvalidSignatureException", message);
    let given = parts.headers.get(AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()).ok_or_else(|| {
        refused(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )
    })?;
    let claim = Claim::parse(given).ok_or_else(|| {
        refused(
            "IncompleteSignatureException",
            "simulated: this is no signature of version 4",
        )
    })?;
    if claim.id != key.id {
        return Err(refused(
            "UnrecognizedClientException",
            "simulated: nobody has this access key",
        ));
    }
    let text = |name: &HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let time = text(&AMZ_DATE).and_then(read_time);
    let time = time.ok_or_else(|| invalid("simulated: `x-amz-date` is missing or no time"))?;
    if !text(&AMZ_DATE).is_some_and(|date| date.starts_with(claim.date)) {
        return Err(invalid(
            "simulated: the scope's date is not that of `x-amz-date`",
        ));
    }
    let off = wall_now().duration_since(time).unsigned_abs();
    if off.as_secs() > SKEW_SECONDS {
        return Err(invalid(
            "simulated: the signature's time is too far from now",
        ));
    }
    if !claim.signed.contains(&"host") {
        return Err(invalid(
            "simulated: `host` must be among the signed headers",
        ));
    }
    let credentials = AwsCredentials {
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.clone(),
        session_token: text(&AMZ_SECURITY_TOKEN).map(|token| Secret::new(token.to_owned())),
    };
    let scope = SigningScope {
        region: claim.region,
        service: claim.service,
        time,
    };
    let ours = signed_again(parts, &claim, body, &credentials, scope);
    match ours.is_some_and(|ours| ours == given) {
        true => Ok(()),
        false => Err(invalid(
            "simulated: the signature is not the one that this key gives",
        )),
    }
}

fn read_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The signature over the headers that are said to be signed.
fn signed_again(
    parts: &Parts,
    claim: &Claim<'_>,
    body: &[u8],
    credentials: &AwsCredentials,
    scope: SigningScope<'_>,
) -> Option<HeaderValue> {
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    for name in &claim.signed {
        let name = HeaderName::try_from(*name).ok()?;
        // The signer adds these two itself.
        if name == AMZ_DATE || name == AMZ_SECURITY_TOKEN {
            continue;
        }
        for value in parts.headers.get_all(&name) {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    let added = sign(&request, credentials, scope).ok()?;
    let signature = added.into_iter().find(|(name, _)| *name == AUTHORIZATION);
    signature.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AwsKey {
        "AKIDEXAMPLE:secret".parse().unwrap()
    }

    fn signed(time: Timestamp, change: impl FnOnce(&mut Request<Bytes>)) -> Request<Bytes> {
        let mut request = Request::post("/model/eu.meta.sim-v1%3A0/converse")
            .header("host", "127.0.0.1:8000")
            .header("content-type", "application/json")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        let credentials = AwsCredentials {
            access_key_id: key().id,
            secret_access_key: key().secret,
            session_token: Some(Secret::new("token".to_owned())),
        };
        let scope = SigningScope {
            region: "eu-central-1",
            service: "bedrock",
            time,
        };
        let added = sign(&request, &credentials, scope).unwrap();
        request.headers_mut().extend(added);
        change(&mut request);
        request
    }

    fn verdict(request: Request<Bytes>) -> Result<(), &'static str> {
        let (parts, body) = request.into_parts();
        check(&key(), &parts, &body).map_err(|refusal| refusal.name.unwrap())
    }

    #[test]
    fn whatever_was_signed_must_be_what_has_come() {
        let now = wall_now();
        assert_eq!(verdict(signed(now, |_| {})), Ok(()));
        // As with headers that a proxy adds.
        let add = |request: &mut Request<Bytes>| {
            let value = HeaderValue::from_static("1");
            request.headers_mut().insert("x-forwarded-for", value);
        };
        assert_eq!(verdict(signed(now, add)), Ok(()));
        let invalid = Err("InvalidSignatureException");
        let body = |request: &mut Request<Bytes>| *request.body_mut() = Bytes::from_static(b"{ }");
        assert_eq!(verdict(signed(now, body)), invalid);
        let path = |request: &mut Request<Bytes>| {
            *request.uri_mut() = "/model/eu.meta.sim-v1:0/converse".parse().unwrap();
        };
        assert_eq!(verdict(signed(now, path)), invalid);
        let header = |request: &mut Request<Bytes>| {
            let value = HeaderValue::from_static("text/plain");
            request.headers_mut().insert("content-type", value);
        };
        assert_eq!(verdict(signed(now, header)), invalid);
        let old = now - jiff::SignedDuration::from_mins(6);
        assert_eq!(verdict(signed(old, |_| {})), invalid);
    }

    #[test]
    fn who_does_not_sign_is_told_so() {
        let with = |text: &'static str| {
            move |request: &mut Request<Bytes>| {
                let headers = request.headers_mut();
                headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
            }
        };
        let without = |request: &mut Request<Bytes>| {
            request.headers_mut().remove(AUTHORIZATION);
        };
        let now = wall_now();
        let missing = Err("MissingAuthenticationTokenException");
        assert_eq!(verdict(signed(now, without)), missing);
        let other = Err("IncompleteSignatureException");
        assert_eq!(verdict(signed(now, with("Bearer x"))), other);
        let unknown = "AWS4-HMAC-SHA256 Credential=OTHER/20250101/r/s/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(
            verdict(signed(now, with(unknown))),
            Err("UnrecognizedClientException")
        );
        assert!("id".parse::<AwsKey>().is_err());
    }
}
