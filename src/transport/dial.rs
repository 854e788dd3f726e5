//! Our own dial: name, TCP and TLS, each timed.

use super::clock::Alignment;
use super::clocks::Clocks;
use super::exchange::Connection;
use super::settings::{Endpoint, HttpChoice};
use super::tls::{self, TlsError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each part of a dial took. Absent: did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialPhases {
    /// Name to addresses; absent for a literal address.
    pub dns: Option<Duration>,
    /// TCP handshake, refused addresses before the good one included.
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
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
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
        let addresses = resolve(endpoint, progress).await?;
        let mut connection = connect(&addresses, clocks, progress).await?;
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

async fn resolve(
    endpoint: &Endpoint,
    progress: &mut DialPhases,
) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(literal) = endpoint.host.parse() {
        return Ok(vec![SocketAddr::new(literal, endpoint.port)]);
    }
    let failed = |source| DialError::Dns {
        host: endpoint.host.clone(),
        source,
    };
    let started = Instant::now();
    let addresses: Vec<_> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(failed)?
        .collect();
    progress.dns = Some(started.elapsed());
    match addresses.is_empty() {
        true => Err(failed(io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

/// Tries the addresses one after the other, as the resolver orders them.
async fn connect(
    addresses: &[SocketAddr],
    clocks: &Clocks,
    progress: &mut DialPhases,
) -> Result<Connection, DialError> {
    let started = Instant::now();
    let mut last = None;
    for address in addresses {
        let began = Alignment::now();
        match clocks.connect(*address).await {
            Ok((socket, watch)) => {
                progress.connect = Some(started.elapsed());
                return Ok(Connection::new(socket, watch, began));
            }
            Err(source) => {
                progress.refused = started.elapsed();
                last = Some(DialError::Connect {
                    address: *address,
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
