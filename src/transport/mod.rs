//! Layer 1: from a socket to stamped chunks. Our own dial (DNS, connect, TLS, each timed), hyper's
//! connection API on top of it, and nothing between a read and its stamp.

mod dial;
mod exchange;
mod meter;
mod request;
mod settings;
mod tls;

pub use dial::{DialError, DialPhases, Dialer};
pub use exchange::{Connection, ExchangeError, ResponseHead};
pub use request::{AskError, PROBE_HEADER, RequestError, ask, build_request};
pub use settings::{Auth, Endpoint, EndpointError, SecretSource, TlsSettings};
pub use tls::TlsError;

use bytes::Bytes;
use std::time::Instant;

/// When a chunk arrived, by every clock that was there to see it. Today that is the user clock;
/// kernel stamps take their places beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The monotonic clock right after the read that completed the chunk.
    pub user: Instant,
}

/// Bytes of one socket read, with their stamps.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Body bytes, transfer coding taken off.
    pub data: Bytes,
    /// When they came.
    pub stamps: Stamps,
}

/// Which clock made an observation's stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// The monotonic clock right after the read.
    User,
}

impl ClockKind {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
        }
    }
}
