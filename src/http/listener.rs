//! Takes connections for [`axum::serve()`], plain or through TLS.
//!
//! A TLS handshake takes the client's time, so each has a task of its own: a client that says
//! nothing holds nobody else up.

#[cfg(test)]
mod tests;

use super::web_config::WebConfigState;
use crate::base::shutdown::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way at a time. Beyond it new clients wait in the kernel's queue.
const MOST_HANDSHAKES: usize = 128;
/// How long to wait when the process has no file descriptor left.
const BREATHER: Duration = Duration::from_secs(1);

/// A bound listener. See [`Listener::new`].
pub struct Listener {
    tcp: TcpListener,
    mode: Mode,
}

enum Mode {
    Plain,
    Tls(Handshakes),
}

/// The handshakes under way and the way out of them.
struct Handshakes {
    web: Arc<WebConfigState>,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Listener {
    /// Speaks TLS when the web configuration says so. Handshakes are tracked by `shutdown` and
    /// end with it.
    pub fn new(tcp: TcpListener, web: Arc<WebConfigState>, shutdown: &Shutdown) -> Self {
        let mode = match web.uses_tls() {
            false => Mode::Plain,
            true => {
                let (done, ready) = mpsc::channel(MOST_HANDSHAKES);
                Mode::Tls(Handshakes {
                    web,
                    shutdown: shutdown.clone(),
                    permits: Arc::new(Semaphore::new(MOST_HANDSHAKES)),
                    done,
                    ready,
                })
            }
        };
        Self { tcp, mode }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.mode {
            Mode::Plain => "http",
            Mode::Tls(_) => "https",
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let handshakes = match &mut self.mode {
            Mode::Plain => {
                let (stream, peer) = accept(&self.tcp).await;
                return (Connection::Plain(stream), peer);
            }
            Mode::Tls(handshakes) => handshakes,
        };
        loop {
            let next = async {
                let permit = handshakes.permits.clone().acquire_owned().await;
                (accept(&self.tcp).await, permit)
            };
            tokio::select! {
                Some((stream, peer)) = handshakes.ready.recv() => {
                    return (Connection::Tls(Box::new(stream)), peer);
                }
                ((stream, peer), permit) = next => {
                    if let Ok(permit) = permit {
                        handshakes.begin(stream, peer, permit);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The next connection; errors are waited out.
async fn accept(tcp: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match tcp.accept().await {
            Ok((stream, peer)) => {
                // Answers are small; without it the tail of one waits for the client's ACK.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
                }
                return (stream, peer);
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Handshakes {
    fn begin(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (web, done) = (self.web.clone(), self.done.clone());
        let token = self.shutdown.token().clone();
        let handshake = async move {
            let _permit = permit;
            let Some(config) = web.current().await.tls().cloned() else {
                return;
            };
            let handshake = TlsAcceptor::from(config).accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    // Refused only when the listener is gone; then nobody is there to serve it.
                    let _ = done.send((stream, peer)).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        };
        self.shutdown.tracker().spawn(async move {
            token.run_until_cancelled(handshake).await;
        });
    }
}

/// A connection to serve.
pub enum Connection {
    /// As it came.
    Plain(TcpStream),
    /// Decrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
