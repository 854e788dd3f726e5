//! Connections: accepted, served and cut.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
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
use super::frames::MeteredStream;
use super::log::RequestHistory;
use super::pacer::Pacer;
use super::stream::{SimulatedStream, Wire};
use super::tls::HTTP_2;

/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How HTTP/2 in clear begins (RFC 9113, section 3.4), and no request of HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2";

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
                let exchanges = Exchanges {
                    shared: Arc::clone(&shared),
                    tracker: tracker.clone(),
                };
                let connection = serve_connection(tcp, tls.clone(), exchanges);
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

/// The answers of one connection. Those of HTTP/2 run in tasks of their own, which end with it.
#[derive(Clone)]
struct Exchanges {
    shared: Arc<Shared>,
    tracker: TaskTracker,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Exchanges {
    fn execute(&self, answer: F) {
        self.tracker.spawn(answer);
    }
}

async fn serve_connection(tcp: TcpStream, tls: Option<TlsAcceptor>, exchanges: Exchanges) {
    let wire = Wire::new();
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "cannot disable Nagle's algorithm");
    }
    if exchanges.shared.engine.character.refuse_connections {
        wire.reset_on_close();
        drop(SimulatedStream::new(tcp, wire));
        return;
    }
    match tls {
        None => {
            let mut first = [0; PREFACE.len()];
            let is_http2 = tcp.peek(&mut first).await.is_ok() && first == PREFACE;
            let stream = SimulatedStream::new(tcp, wire.clone());
            serve_http(stream, is_http2, wire, exchanges).await;
        }
        Some(tls) => match tls.accept(SimulatedStream::new(tcp, wire.clone())).await {
            Ok(stream) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                serve_http(stream, is_http2, wire, exchanges).await;
            }
            Err(error) => debug!(%error, "simulated TLS handshake failed"),
        },
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    is_http2: bool,
    wire: Wire,
    exchanges: Exchanges,
) {
    let (shared, of_answers) = (Arc::clone(&exchanges.shared), wire.clone());
    let service =
        service_fn(move |request| answer(Arc::clone(&shared), of_answers.clone(), request));
    let served = if is_http2 {
        let io = TokioIo::new(MeteredStream::new(stream, wire));
        let builder = http2::Builder::new(exchanges);
        builder.serve_connection(io, service).await
    } else {
        let io = TokioIo::new(stream);
        http1::Builder::new().serve_connection(io, service).await
    };
    if let Err(error) = served {
        debug!(%error, "simulated connection ended early");
    }
}
