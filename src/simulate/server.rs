//! Connections: accepted, served and cut.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::engine::Engine;
use super::exchange::answer;
use super::log::RequestHistory;
use super::pacer::Pacer;
use super::stream::{SimulatedStream, Wire};

/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) history: RequestHistory,
    pub(super) pacer: Pacer,
}

/// Accepts connections until shutdown. Each runs in a task of its own.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                let connection = serve_connection(tcp, tls.clone(), Arc::clone(&shared));
                let shutdown = shutdown.clone();
                tracker.spawn(async move { shutdown.run_until_cancelled(connection).await });
            }
            Err(error) => {
                warn!(%error, "simulated runtime cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(tcp: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let wire = Wire::new();
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "cannot disable Nagle's algorithm");
    }
    if shared.engine.character.refuse_connections {
        wire.reset_on_close();
        drop(SimulatedStream::new(tcp, wire));
        return;
    }
    let stream = SimulatedStream::new(tcp, wire.clone());
    match tls {
        None => serve_http(stream, wire, shared).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve_http(stream, wire, shared).await,
            Err(error) => debug!(%error, "simulated TLS handshake failed"),
        },
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, wire: Wire, shared: Arc<Shared>) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| answer(Arc::clone(&shared), wire.clone(), request));
    if let Err(error) = http1::Builder::new().serve_connection(io, service).await {
        debug!(%error, "simulated connection ended early");
    }
}
