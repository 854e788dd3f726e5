//! The fake runtime: every dialect, scripted timing and faults, and a log of its own writes.
//!
//! A [`Character`] says how the runtime behaves; [`Simulator`] serves it on a socket. An answer is
//! drawn in full when its request gets a slot, rendered to bytes with absolute deadlines counted
//! from the arrival of the request, reshaped by a [`Fault`], and then played: each frame is one
//! write. A late frame does not move later ones. [`RequestHistory`] has the true times, and
//! [`parse_requests`] reads them in another process.
//!
//! Tests ask for a fault with the request header `x-simulate-fault: NAME` and find their request
//! in the history by its `x-llm-probe` header. Every response carries `x-simulated: true`.

mod anchor;
mod anthropic;
mod arrival;
mod aws;
mod azure;
mod body;
mod character;
mod cohere;
mod distribution;
mod engine;
mod exchange;
mod fault;
mod frames;
mod gemini;
mod generation;
mod google;
mod inventory;
mod log;
mod log_lines;
mod metrics;
mod native;
mod ollama;
mod openai;
mod pacer;
mod prefix_cache;
mod refusal;
mod reply;
mod residence;
mod responses;
mod retrieval;
mod route;
mod script;
mod server;
mod stream;
mod timing_headers;
mod tls;
mod triton;
mod vertex;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use aws::{AwsKey, AwsKeyError};
pub use character::{Character, FlavorError, RuntimeFlavor};
pub use distribution::{Distribution, DistributionError, Quantity};
pub use fault::{Fault, FaultError, FaultPlan, FaultTuning};
pub use google::{GoogleKey, GoogleKeyError};
pub use log::{RequestHistory, RequestLog, TokenTime};
pub use log_lines::{RequestsError, parse_requests};
pub use timing_headers::{TimingHeaders, TimingHeadersError};

use arrival::Arrivals;
use engine::Engine;
use pacer::Pacer;
use server::Shared;
use tls::Identity;

/// A simulated runtime that has its port but does not answer yet.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    local_addr: SocketAddr,
    identity: Option<Identity>,
    shared: Arc<Shared>,
}

impl Simulator {
    /// Takes an address; port 0 takes any free port. Clients can connect from now on, and are
    /// answered once [`Simulator::serve`] runs.
    ///
    /// # Errors
    /// When the address cannot be bound, the system has no timer to spare, or no certificate can be
    /// made for TLS.
    pub async fn bind(address: impl ToSocketAddrs, character: Character) -> io::Result<Self> {
        let identity = character.tls.then(Identity::generate).transpose()?;
        let listener = TcpListener::bind(address).await?;
        Arrivals::request(&listener);
        let local_addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            history: RequestHistory::new(character.log_capacity),
            engine: Arc::new(Engine::new(character)),
            pacer: Pacer::new()?,
        });
        Ok(Self {
            listener,
            local_addr,
            identity,
            shared,
        })
    }

    /// The bound address, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The certificate that clients must trust, as PEM, if it speaks TLS. It is new with every
    /// simulator, and good for `localhost`, `127.0.0.1` and `::1`.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.identity.as_ref().map(Identity::certificate_pem)
    }

    /// The log of generation requests. It stays readable while the simulator serves and after.
    pub fn requests(&self) -> RequestHistory {
        self.shared.history.clone()
    }

    /// Serves in tasks of the tracker until shutdown, which cuts the streams in flight at once.
    pub fn serve(self, shutdown: CancellationToken, tracker: &TaskTracker) {
        let Self {
            listener,
            local_addr: _,
            identity,
            shared,
        } = self;
        let pacer = shared.pacer.clone();
        let stop = shutdown.clone();
        tracker.spawn(async move { stop.run_until_cancelled(pacer.run()).await });
        let tls = identity.map(Identity::into_acceptor);
        let accept = server::accept(listener, tls, shared, shutdown, tracker.clone());
        tracker.spawn(accept);
    }
}
