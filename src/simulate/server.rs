//! Connections: accepted, served and cut.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::engine::Engine;
use super::exchange::answer;
use super::log::RequestHistory;
use super::stream::{SimulatedStream, Wire};

/// Pause after a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) history: RequestHistory,
}

/// Accepts connections until shutdown. Each runs in a task of its own.
pub(super) async fn accept(
    listener: TcpListener,
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
                let connection = serve_connection(tcp, Arc::clone(&shared));
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

async fn serve_connection(tcp: TcpStream, shared: Arc<Shared>) {
    let wire = Wire::new();
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "cannot disable Nagle's algorithm");
    }
    if shared.engine.character.refuse_connections {
        wire.reset_on_close();
        drop(SimulatedStream::new(tcp, wire));
        return;
    }
    let io = TokioIo::new(SimulatedStream::new(tcp, wire.clone()));
    let service = service_fn(move |request| answer(Arc::clone(&shared), wire.clone(), request));
    if let Err(error) = http1::Builder::new().serve_connection(io, service).await {
        debug!(%error, "simulated connection ended early");
    }
}
