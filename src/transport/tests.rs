//! Connections over real loopback sockets.

pub(in crate::transport) mod credentials;
mod endings;
mod http2;
mod positions;
pub(in crate::transport) mod server;
mod sockets;
#[cfg(target_os = "linux")]
mod stamps;

use super::*;
use bytes::Bytes;
use http::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long anything may take that must come: a wake-up that is lost says so.
const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime that notes its wake-ups, as the probing thread's does.
fn runtime() -> (Runtime, Arc<Wakeups>) {
    let wakeups = Wakeups::new();
    let (parking, woken) = (wakeups.clone(), wakeups.clone());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parking.parking())
        .on_thread_unpark(move || woken.unparked())
        .build();
    (runtime.unwrap(), wakeups)
}

/// Runs a client's side to its end.
fn run<T>(client: impl AsyncFnOnce(Clocks) -> T) -> T {
    let (runtime, wakeups) = runtime();
    runtime.block_on(async {
        let clocks = Clocks::open(ClockChoice::Auto, wakeups);
        tokio::time::timeout(PATIENCE, client(clocks))
            .await
            .expect("a wake-up was lost")
    })
}

async fn dial(address: SocketAddr, tls: bool, clocks: &Clocks) -> Connection {
    let dialled = dial_as(address, tls, HttpChoice::Auto, clocks).await;
    dialled.unwrap()
}

async fn dial_as(
    address: SocketAddr,
    tls: bool,
    http: HttpChoice,
    clocks: &Clocks,
) -> Result<Connection, DialError> {
    let mut endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    endpoint.http = http;
    endpoint.tls = tls.then(|| TlsSettings {
        insecure_skip_verify: true,
        ..TlsSettings::default()
    });
    let dialer = Dialer::new(&endpoint).unwrap();
    let mut progress = DialPhases::default();
    dialer.dial(&endpoint, clocks, &mut progress).await
}

fn get() -> Request<Bytes> {
    let request = Request::builder().uri("/").header("host", "x");
    request.body(Bytes::new()).unwrap()
}

/// The rest of the body.
async fn read_body(connection: &mut Connection) -> Result<Vec<u8>, ExchangeError> {
    let mut body = Vec::new();
    while let Some(chunk) = connection.chunk().await? {
        body.extend_from_slice(chunk.data);
    }
    Ok(body)
}
