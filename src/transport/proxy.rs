//! An HTTP proxy on the way to an endpoint: a tunnel (`CONNECT`) to what speaks TLS, and requests in absolute form
//! to what does not.

use super::settings::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use http::uri::{Scheme, Uri};
use percent_encoding::percent_decode_str;
use std::fmt;

/// Which proxy, and how we prove who we are there. Shows itself without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address, an IPv6 address without its brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// `Basic …`, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

/// Why a URL is no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL.
    #[error("is not the URL of a proxy such as `http://proxy.internal:3128`")]
    Syntax,
    /// SOCKS, or TLS to the proxy itself.
    #[error("is a proxy that is not spoken to by plain HTTP, which is all that Sonde does")]
    Scheme,
}

impl Proxy {
    /// Reads `[http://][user:password@]host[:port]`; user and password may hold `%` escapes, a path is of no
    /// meaning, and the port is 80 unless said.
    ///
    /// # Errors
    /// When the text is no such URL.
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let url = url.trim();
        let whole = match url.contains("://") {
            true => url.to_owned(),
            false => format!("http://{url}"),
        };
        let uri: Uri = whole.parse().map_err(|_| ProxyError::Syntax)?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(ProxyError::Scheme);
        }
        let authority = uri.authority().ok_or(ProxyError::Syntax)?.as_str();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let place = Endpoint::parse(&format!("http://{place}")).map_err(|_| ProxyError::Syntax)?;
        Ok(Self {
            host: place.host,
            port: place.port,
            authorization: user.map(basic).transpose()?,
        })
    }
}

/// Of `user[:password]` with escapes.
fn basic(user: &str) -> Result<HeaderValue, ProxyError> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair: Vec<u8> = percent_decode_str(name).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let text = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(text).map_err(|_| ProxyError::Syntax)?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "http://[{}]:{}", self.host, self.port),
            false => write!(f, "http://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_and_shown_without_its_secret() {
        for (url, shown, pair) in [
            ("http://p:3128", "http://p:3128", None),
            ("p.internal", "http://p.internal:80", None),
            (" http://[::1]:8/ ", "http://[::1]:8", None),
            ("me:hunter2@p:1", "http://p:1", Some("me:hunter2")),
            (
                "http://me:hunter%402%3a@p:1/path",
                "http://p:1",
                Some("me:hunter@2:"),
            ),
            ("http://me@p:1", "http://p:1", Some("me:")),
        ] {
            let proxy = Proxy::parse(url).unwrap();
            assert_eq!(proxy.to_string(), shown);
            let expected = pair.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
            let found = proxy.authorization.as_ref();
            assert_eq!(
                found.map(HeaderValue::as_bytes),
                expected.as_deref().map(str::as_bytes)
            );
            let debug = format!("{proxy:?}");
            assert!(
                !debug.contains("hunter") && !debug.contains("Basic"),
                "{debug}"
            );
        }
        for (url, error) in [
            ("", ProxyError::Syntax),
            ("http://p:0", ProxyError::Syntax),
            ("http://a b", ProxyError::Syntax),
            ("socks5://p:1080", ProxyError::Scheme),
            ("https://p", ProxyError::Scheme),
        ] {
            assert_eq!(Proxy::parse(url), Err(error), "{url}");
        }
    }
}
