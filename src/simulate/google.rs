//! Access tokens as Google gives them: for a service account's assertion, and by the metadata server to whoever asks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use ring::hmac;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::body::AnswerBody;
use super::refusal::Refusal;
use super::reply;
use crate::base::clock::wall_now;

const TOKEN_PATH: &str = "/token";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/";
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// As long as the real ones.
const LIFETIME: Duration = Duration::from_secs(3599);
/// How far the clocks of client and server may be apart.
const SKEW_SECONDS: i64 = 300;

/// The service account whose tokens are wanted. As text: the JSON of its key file.
#[derive(Clone, PartialEq, Eq)]
pub struct GoogleKey {
    email: String,
    public_key: Vec<u8>,
    /// What its tokens are sealed with, so that none has to be remembered.
    seal: Vec<u8>,
}

/// A text is no [`GoogleKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a service account's key is JSON with `client_email` and `private_key`, an RSA key in PKCS #8"
)]
pub struct GoogleKeyError;

impl FromStr for GoogleKey {
    type Err = GoogleKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Value = serde_json::from_str(text).map_err(|_| GoogleKeyError)?;
        let text = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .ok_or(GoogleKeyError)
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(text("private_key")?.as_bytes());
        let der = der.map_err(|_| GoogleKeyError)?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| GoogleKeyError)?;
        Ok(Self {
            email: text("client_email")?.to_owned(),
            public_key: pair.public().as_ref().to_vec(),
            seal: der.secret_pkcs8_der().to_vec(),
        })
    }
}

impl fmt::Debug for GoogleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GoogleKey").field(&self.email).finish()
    }
}

impl GoogleKey {
    /// A token until then: its end, and the seal over that.
    fn token(&self, end: Timestamp) -> String {
        let end = end.as_second().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.seal);
        let seal = URL_SAFE_NO_PAD.encode(hmac::sign(&key, end.as_bytes()));
        format!("ya29.{end}.{seal}")
    }

    fn is_valid(&self, token: &str) -> bool {
        let end = token.split('.').nth(1).and_then(|end| end.parse().ok());
        let end = end.and_then(|second| Timestamp::from_second(second).ok());
        end.is_some_and(|end| end > wall_now() && self.token(end) == token)
    }

    fn issued(&self) -> Value {
        let token = self.token(wall_now() + LIFETIME);
        json!({"access_token": token, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer"})
    }

    /// Refuses an assertion that this account has not made, with the reason.
    fn check_assertion(&self, assertion: &str) -> Result<(), &'static str> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or("it is no JWT")?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is no JWT");
        let signature = decoded(signature)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| "Invalid JWT Signature.")?;
        let (_, claims) = signed.split_once('.').ok_or("it is no JWT")?;
        let claims: Value =
            serde_json::from_slice(&decoded(claims)?).map_err(|_| "its claims are no JSON")?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(Value::as_i64).unwrap_or(i64::MIN);
        let now = wall_now().as_second();
        let (begin, end) = (time("iat"), time("exp"));
        let is_timely =
            begin <= now + SKEW_SECONDS && end > now && end <= begin.saturating_add(3600);
        match () {
            () if text("iss") != Some(&self.email) => Err("Not a valid email or user ID."),
            () if text("aud") != Some(AUDIENCE) => Err("The audience is not the token endpoint."),
            () if !is_timely => {
                Err("The token must be a short-lived token of a reasonable timeframe.")
            }
            () if !text("scope")
                .is_some_and(|scopes| scopes.split(' ').any(|one| one == SCOPE)) =>
            {
                Err("The scope is missing.")
            }
            () => Ok(()),
        }
    }

    /// What a request to Vertex AI lacks.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        let given = parts.headers.get(AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match given.is_some_and(|token| self.is_valid(token)) {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            )),
        }
    }

    /// The answer of whoever gives tokens, if it is asked.
    pub(super) fn answer(&self, parts: &Parts, body: &[u8]) -> Option<Response<AnswerBody>> {
        let path = parts.uri.path();
        if parts.method == Method::POST && path == TOKEN_PATH {
            let form = String::from_utf8_lossy(body);
            let assertion = form
                .split('&')
                .find_map(|pair| pair.strip_prefix("assertion="));
            let assertion = percent_decode_str(assertion.unwrap_or_default()).decode_utf8_lossy();
            return Some(match self.check_assertion(&assertion) {
                Ok(()) => reply::json(&self.issued()),
                Err(why) => {
                    let answer = json!({"error": "invalid_grant", "error_description": why});
                    reply::with_status(StatusCode::BAD_REQUEST, reply::json(&answer))
                }
            });
        }
        let asked = path.strip_prefix(METADATA);
        let is_ping = path == "/" && parts.headers.contains_key("metadata-flavor");
        if parts.method != Method::GET || (asked.is_none() && !is_ping) {
            return None;
        }
        Some(self.metadata(asked, parts))
    }

    fn metadata(&self, asked: Option<&str>, parts: &Parts) -> Response<AnswerBody> {
        let flavor = parts.headers.get("metadata-flavor");
        if flavor.is_none_or(|flavor| flavor != "Google") {
            return reply::plain(
                StatusCode::FORBIDDEN,
                "Missing Metadata-Flavor:Google header.",
            );
        }
        let mut answer = match asked {
            Some("token") => reply::json(&self.issued()),
            Some("") => reply::json(&json!({
                "aliases": ["default"],
                "email": self.email,
                "scopes": [SCOPE],
            })),
            Some(_) => reply::plain(StatusCode::NOT_FOUND, "simulated: only tokens are here"),
            None => reply::plain(StatusCode::OK, "computeMetadata/\n"),
        };
        let google = HeaderValue::from_static("Google");
        answer.headers_mut().insert("metadata-flavor", google);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn key(seal: &str) -> GoogleKey {
        GoogleKey {
            email: "probe@my-project.iam.gserviceaccount.com".to_owned(),
            public_key: Vec::new(),
            seal: seal.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_token_is_good_until_its_end_and_of_its_own_account_only() {
        let soon = wall_now() + SignedDuration::from_mins(1);
        let past = wall_now() - SignedDuration::from_secs(1);
        assert!(key("a").is_valid(&key("a").token(soon)));
        assert!(!key("a").is_valid(&key("a").token(past)));
        assert!(!key("a").is_valid(&key("b").token(soon)));
        let longer = key("a").token(past).replacen(
            &past.as_second().to_string(),
            &soon.as_second().to_string(),
            1,
        );
        assert!(!key("a").is_valid(&longer));
        assert!(!key("a").is_valid("ya29.x"));
    }
}
