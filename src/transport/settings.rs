//! Where a request goes and how it proves who it is.

use crate::base::secret::Secret;
use http::header::{HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use std::path::PathBuf;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Known since the configuration was read.
    Value(Secret),
    /// Read again for every run, since mounted secrets rotate.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as of now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self) -> std::io::Result<Secret> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => tokio::fs::read_to_string(path).await.map(Secret::new),
        }
    }
}

/// How a request proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// It does not.
    #[default]
    None,
    /// `Authorization: Bearer …`, or the header that a dialect has for its keys.
    Bearer(SecretSource),
    /// `Authorization: Basic …`.
    Basic {
        /// In clear.
        username: String,
        /// In secret.
        password: SecretSource,
    },
}

/// How a server's certificate is judged and ours is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of our private key.
    pub key_file: Option<PathBuf>,
    /// The name to expect in the certificate, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Trust any certificate.
    pub insecure_skip_verify: bool,
}

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpChoice {
    /// Under TLS what the server picks of both, in clear HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in clear without asking (prior knowledge).
    Http2,
}

impl HttpChoice {
    /// What is offered by ALPN.
    pub(super) fn offers(self) -> &'static [&'static [u8]] {
        match self {
            Self::Auto => &[b"h2", b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
        }
    }
}

/// One place to send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https` rather than `http`.
    pub tls: Option<TlsSettings>,
    /// See [`HttpChoice`].
    pub http: HttpChoice,
    /// Host name or address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path prefix of every request, without a slash at its end.
    pub base_path: String,
    /// See [`Auth`].
    pub auth: Auth,
    /// Sent with every request, after our own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a URL is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL.
    #[error("is not a URL such as `http://127.0.0.1:11434`")]
    Syntax,
    /// Neither http nor https.
    #[error("must begin with `http://` or `https://`")]
    Scheme,
    /// User info, query or fragment.
    #[error("may have no user name, query or fragment")]
    Extra,
}

impl Endpoint {
    /// Reads `http://host[:port][/prefix]`. TLS settings are the defaults where the scheme is
    /// `https`; authentication and headers are empty.
    ///
    /// # Errors
    /// When the text is no such URL.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        if url.contains('#') || url.contains('?') {
            return Err(EndpointError::Extra);
        }
        let uri: Uri = url.trim().parse().map_err(|_| EndpointError::Syntax)?;
        let authority = uri.authority().ok_or(EndpointError::Syntax)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Extra);
        }
        let (tls, default_port) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (None, 80),
            Some(scheme) if *scheme == Scheme::HTTPS => (Some(TlsSettings::default()), 443),
            _ => return Err(EndpointError::Scheme),
        };
        let host = authority.host();
        let has_port = authority.as_str().len() > host.len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if has_port => return Err(EndpointError::Syntax),
            None => default_port,
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() || port == 0 {
            return Err(EndpointError::Syntax);
        }
        Ok(Self {
            tls,
            http: HttpChoice::default(),
            host,
            port,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            auth: Auth::None,
            headers: Vec::new(),
        })
    }

    /// `host:port` as it stands in a URL and in the `Host` header.
    pub fn authority(&self) -> String {
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == default_port {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }

    /// The URL without anything secret.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together_again() {
        for (url, host, port, again) in [
            (
                "http://127.0.0.1:11434",
                "127.0.0.1",
                11434,
                "http://127.0.0.1:11434",
            ),
            (
                "https://llm.example/v2/",
                "llm.example",
                443,
                "https://llm.example/v2",
            ),
            ("http://[::1]:8000/", "::1", 8000, "http://[::1]:8000"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
            assert_eq!(endpoint.url(), again);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for (url, error) in [
            ("127.0.0.1:11434", EndpointError::Syntax),
            ("ftp://host", EndpointError::Scheme),
            ("http://u:p@host", EndpointError::Extra),
            ("http://host/?a=b", EndpointError::Extra),
            ("http://host:99999", EndpointError::Syntax),
            ("", EndpointError::Syntax),
        ] {
            assert!(
                matches!(Endpoint::parse(url), Err(found) if found == error || error == EndpointError::Syntax),
                "{url}"
            );
        }
    }
}
