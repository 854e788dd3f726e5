//! Where a request goes and how it proves who it is.

use super::aws::AwsSigner;
use super::google::GoogleCredentials;
use super::proxy::Proxy;
use crate::base::secret::Secret;
use http::header::{HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use std::path::PathBuf;

/// Longest path of a Unix socket, in bytes: Linux has room for 108, with the zero at their end.
const MOST_SOCKET_PATH: usize = 107;

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
    /// By a signature, where the service asked has one. Anything else is asked without.
    Aws(AwsSigner),
    /// `Authorization: Bearer …`, with an access token of Google's.
    Google(GoogleCredentials),
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
    /// A Unix socket to connect to; host and port are then `localhost` and 80, for the `Host` header.
    pub socket: Option<PathBuf>,
    /// A proxy on the way there.
    pub proxy: Option<Proxy>,
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
    /// Not an absolute path, or too long.
    #[error("is no Unix socket such as `unix:///run/llm.sock`, its path of up to 107 bytes")]
    Socket,
    /// User info, query or fragment.
    #[error("may have no user name, query or fragment")]
    Extra,
}

impl Endpoint {
    /// Reads `http://host[:port][/prefix]`, or `unix:///socket[:/prefix]` as nginx parts the two (`unix:/socket`
    /// too). TLS settings are the defaults where the scheme is `https`; authentication and headers are
    /// empty.
    ///
    /// # Errors
    /// When the text is no such URL.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        if url.contains('#') || url.contains('?') {
            return Err(EndpointError::Extra);
        }
        if let Some(place) = url.trim().strip_prefix("unix:") {
            return Self::of_socket(place.strip_prefix("//").unwrap_or(place));
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
            socket: None,
            proxy: None,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            auth: Auth::None,
            headers: Vec::new(),
        })
    }

    /// A path, and behind `:/` the prefix of requests. Without any escapes: it is taken as it is.
    fn of_socket(place: &str) -> Result<Self, EndpointError> {
        let (path, prefix) = match place.find(":/") {
            Some(colon) => (place.get(..colon), place.get(colon + 1..)),
            None => (Some(place), Some("")),
        };
        let path = path.unwrap_or_default();
        let fits = path.len() > 1 && path.len() <= MOST_SOCKET_PATH && !path.ends_with('/');
        if !(fits && path.starts_with('/') && !path.contains('\0')) {
            return Err(EndpointError::Socket);
        }
        let base_path = prefix.unwrap_or_default().trim_end_matches('/');
        let is_path = base_path.is_empty() || base_path.parse::<Uri>().is_ok();
        if !is_path {
            return Err(EndpointError::Syntax);
        }
        Ok(Self {
            tls: None,
            http: HttpChoice::default(),
            host: "localhost".to_owned(),
            port: 80,
            socket: Some(PathBuf::from(path)),
            proxy: None,
            base_path: base_path.to_owned(),
            auth: Auth::None,
            headers: Vec::new(),
        })
    }

    /// What tells it from others, for people and for the label `url_host`: host and port, or `unix:/socket`.
    pub fn place(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => self.authority(),
        }
    }

    /// ` through the proxy …`, where there is one.
    pub fn through(&self) -> String {
        let proxy = self.proxy.as_ref();
        proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
    }

    /// `host:port`, the port always there.
    pub(super) fn host_and_port(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether whoever answers at the one answers at the other, whatever the port.
    pub fn same_host(&self, other: &Self) -> bool {
        self.host == other.host && self.socket == other.socket
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
        if let Some(path) = &self.socket {
            let colon = if self.base_path.is_empty() { "" } else { ":" };
            return format!("unix://{}{colon}{}", path.display(), self.base_path);
        }
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
    fn a_unix_socket_may_have_a_prefix_and_is_told_by_its_path() {
        for (url, path, prefix, again) in [
            (
                "unix:///run/llm.sock",
                "/run/llm.sock",
                "",
                "unix:///run/llm.sock",
            ),
            (
                "unix:/run/llm.sock",
                "/run/llm.sock",
                "",
                "unix:///run/llm.sock",
            ),
            ("unix:///a:b c:/v2/", "/a:b c", "/v2", "unix:///a:b c:/v2"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.socket.as_deref(), Some(std::path::Path::new(path)));
            assert_eq!(endpoint.base_path, prefix);
            assert_eq!(
                (endpoint.url(), endpoint.authority()),
                (again.to_owned(), "localhost".to_owned())
            );
            assert_eq!(endpoint.place(), format!("unix:{path}"));
            assert!(!endpoint.same_host(&Endpoint::parse("http://localhost").unwrap()));
        }
        let long = format!("unix:///{}", "a".repeat(107));
        for url in [
            "unix:",
            "unix://",
            "unix:///",
            "unix://run/llm.sock",
            "unix:llm",
            "unix:///a/",
            &long,
        ] {
            assert_eq!(Endpoint::parse(url), Err(EndpointError::Socket), "{url}");
        }
        assert_eq!(
            Endpoint::parse("unix:///a:/v 1"),
            Err(EndpointError::Syntax)
        );
        assert_eq!(Endpoint::parse("unix:///a?b"), Err(EndpointError::Extra));
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
