//! What a service account says to get a token: a JSON Web Token (RFC 7523) that its key has signed (RS256).

use super::SCOPE;
use super::file::TOKEN_URI;
use crate::base::clock::wall_now;
use crate::base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

/// The longest that Google takes.
const LIFETIME_SECONDS: i64 = 3600;

/// A service account and its key.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key_id: Option<String>,
    /// PEM.
    pub(super) private_key: Secret,
}

impl ServiceAccount {
    /// An assertion that holds from now.
    ///
    /// # Errors
    /// When the key is none that can sign.
    pub(super) fn assertion(&self) -> Result<String, String> {
        let (header, claims) = self.says(wall_now());
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        self.signed(&format!("{}.{}", part(header), part(claims)))
    }

    /// Header and claims. The audience is that of Google's libraries, whichever address the file names.
    pub(super) fn says(&self, now: Timestamp) -> (serde_json::Value, serde_json::Value) {
        let begin = now.as_second();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(header), Some(id)) = (header.as_object_mut(), &self.key_id) {
            header.insert("kid".to_owned(), id.as_str().into());
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": TOKEN_URI,
            "iat": begin,
            "exp": begin + LIFETIME_SECONDS,
        });
        (header, claims)
    }

    /// The text, and behind it its signature.
    pub(super) fn signed(&self, text: &str) -> Result<String, String> {
        let pair = self.pair()?;
        let mut signature = vec![0; pair.public().modulus_len()];
        let random = SystemRandom::new();
        pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .map_err(|_| "its `private_key` does not sign")?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn pair(&self) -> Result<RsaKeyPair, &'static str> {
        let pem = self.private_key.expose().as_bytes();
        let key = PrivateKeyDer::from_pem_slice(pem);
        let key = key.map_err(|_| "its `private_key` is no key in PEM")?;
        let pair = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err("its `private_key` is no RSA key"),
        };
        pair.map_err(|_| "its `private_key` is no RSA key of 2048 bits or more")
    }
}
