//! Our own dial: name, TCP and TLS, each timed.

use super::clock::Alignment;
use super::clocks::Clocks;
use super::exchange::Connection;
use super::proxy::Proxy;
use super::settings::{Endpoint, HttpChoice};
use super::tls::{self, TlsError};
use http::StatusCode;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each part of a dial took. Absent: did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialPhases {
    /// Name to addresses; absent for a literal address.
    pub dns: Option<Duration>,
    /// TCP handshake, refused addresses before the good one included; and a proxy's tunnel.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// Of `connect`, what addresses took that did not answer.
    pub refused: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot resolve `{host}`: {source}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address took the connection.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// The last address tried, or the Unix socket.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The proxy makes no tunnel.
    #[error("the proxy {proxy} made no tunnel to {place}: {reason}")]
    Proxy {
        /// Without its secret.
        proxy: String,
        /// Host and port behind it.
        place: String,
        /// How it answered, where it did.
        status: Option<StatusCode>,
        /// The same in words.
        reason: String,
    },
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
}

/// Knows how to get a connection to one endpoint.
#[derive(Clone)]
pub struct Dialer {
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Of the certificate files' content, so that a renewed one is told from the old.
    digest: u64,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Dialer {
    /// Reads the certificates that the endpoint names.
    ///
    /// # Errors
    /// When they cannot be read or do not suit each other.
    pub fn new(endpoint: &Endpoint) -> Result<Self, TlsError> {
        let Some(settings) = &endpoint.tls else {
            return Ok(Self {
                tls: None,
                digest: 0,
            });
        };
        let name = settings.server_name.as_ref().unwrap_or(&endpoint.host);
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()))?;
        Ok(Self {
            tls: Some((tls::client_config(settings, endpoint.http)?, server_name)),
            digest: tls::digest(settings),
        })
    }

    /// Whether both were made of the same certificate files.
    pub fn same_files(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Opens a connection and tells what its parts took. `progress` holds what is done so far, so
    /// that a caller who gives up still knows.
    ///
    /// # Errors
    /// When a part fails. Time limits are the caller's.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        clocks: &Clocks,
        progress: &mut DialPhases,
    ) -> Result<Connection, DialError> {
        let mut connection = match (&endpoint.socket, &endpoint.proxy) {
            (Some(path), _) => connect_local(path, clocks, progress).await?,
            (None, None) => connect((&endpoint.host, endpoint.port), clocks, progress).await?,
            (None, Some(proxy)) => {
                let connected = connect((&proxy.host, proxy.port), clocks, progress).await;
                let mut connection = connected.map_err(|error| of_proxy(error, proxy))?;
                if self.tls.is_some() {
                    let started = Instant::now();
                    tunnel(&mut connection, proxy, endpoint).await?;
                    progress.connect = progress.connect.map(|took| took + started.elapsed());
                }
                connection
            }
        };
        if let Some((config, name)) = &self.tls {
            let started = Instant::now();
            let tls = ClientConnection::new(config.clone(), name.clone());
            let tls = tls.map_err(|error| DialError::Tls(io::Error::other(error)))?;
            connection.secure(tls).await?;
            progress.tls = Some(started.elapsed());
        }
        let agreed = connection.agreed() == Some(b"h2");
        match (endpoint.http, self.tls.is_some()) {
            (HttpChoice::Http2, true) if !agreed => {
                let reason = "the server does not agree to HTTP/2\nhint: `http: auto`";
                return Err(DialError::Tls(io::Error::other(reason)));
            }
            (HttpChoice::Http2, _) => connection.speak_http2(),
            (HttpChoice::Auto, _) if agreed => connection.speak_http2(),
            _ => {}
        }
        tracing::debug!(
            url = endpoint.url(),
            version = connection.version(),
            "connected"
        );
        Ok(connection)
    }
}

/// Says of which host these failures are.
fn of_proxy(error: DialError, proxy: &Proxy) -> DialError {
    match error {
        DialError::Dns { host, source } => DialError::Dns {
            host: format!("{host}` of the proxy `{proxy}"),
            source,
        },
        DialError::Connect { place, source } => DialError::Connect {
            place: format!("the proxy {proxy} at {place}"),
            source,
        },
        other => other,
    }
}

async fn tunnel(
    connection: &mut Connection,
    proxy: &Proxy,
    endpoint: &Endpoint,
) -> Result<(), DialError> {
    let place = endpoint.host_and_port();
    let answer = connection
        .tunnel(&place, proxy.authorization.as_ref())
        .await;
    let (status, reason) = match answer {
        Ok(head) if head.status.is_success() => return Ok(()),
        Ok(head) => (Some(head.status), format!("it answered `{}`", head.status)),
        Err(error) => (None, error.to_string()),
    };
    Err(DialError::Proxy {
        proxy: proxy.to_string(),
        place,
        status,
        reason,
    })
}

async fn resolve(
    (host, port): (&str, u16),
    progress: &mut DialPhases,
) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(literal) = host.parse() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let failed = |source| DialError::Dns {
        host: host.to_owned(),
        source,
    };
    let started = Instant::now();
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(failed)?
        .collect();
    progress.dns = Some(started.elapsed());
    match addresses.is_empty() {
        true => Err(failed(io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

async fn connect_local(
    path: &Path,
    clocks: &Clocks,
    progress: &mut DialPhases,
) -> Result<Connection, DialError> {
    let (started, began) = (Instant::now(), Alignment::now());
    let connected = clocks.connect_local(path).await;
    let socket = connected.map_err(|source| DialError::Connect {
        place: format!("`{}`", path.display()),
        source,
    })?;
    progress.connect = Some(started.elapsed());
    Ok(Connection::new(socket, None, began))
}

/// Tries the addresses one after the other, as the resolver orders them.
async fn connect(
    place: (&str, u16),
    clocks: &Clocks,
    progress: &mut DialPhases,
) -> Result<Connection, DialError> {
    let addresses = resolve(place, progress).await?;
    let started = Instant::now();
    let mut last = None;
    for address in addresses {
        let began = Alignment::now();
        match clocks.connect(address).await {
            Ok((socket, watch)) => {
                progress.connect = Some(started.elapsed());
                return Ok(Connection::new(socket, watch, began));
            }
            Err(source) => {
                progress.refused = started.elapsed();
                last = Some(DialError::Connect {
                    place: address.to_string(),
                    source,
                });
            }
        }
    }
    Err(last.unwrap_or_else(|| DialError::Dns {
        host: String::new(),
        source: io::ErrorKind::NotFound.into(),
    }))
}
