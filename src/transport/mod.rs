//! Layer 1: from a socket to stamped chunks. Our own dial (DNS, connect, TLS, each timed), sockets that
//! read everything that is pending and stamp it, TLS by records and HTTP by bytes, so that
//! every byte of a body keeps its place in the TCP stream, and with it its stamps.

mod aws;
mod clock;
mod clocks;
mod dial;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod google;
mod http1;
mod http2;
mod lease;
mod protocol;
mod proxy;
mod question;
mod records;
mod request;
#[cfg(target_os = "linux")]
mod segments;
mod settings;
pub mod sigv4;
mod socket;
mod stamps;
mod stream;
#[cfg(target_os = "linux")]
mod tap;
#[cfg(not(target_os = "linux"))]
#[path = "no_tap.rs"]
mod tap;
#[cfg(test)]
mod tests;
mod tls;
mod wakeups;

pub use aws::{
    AwsError, AwsSettings, AwsSigner, AwsVariables, SignatureError, region_of_host,
    region_of_profile,
};
pub use clock::{ClockChoice, ClockKind};
pub use clocks::{Availability, ClockStatus, Clocks};
pub use dial::{DialError, DialPhases, Dialer};
pub use exchange::{Chunk, Connection, ExchangeError, Traffic};
pub use google::{GoogleCredentials, GoogleError, GoogleSettings, GoogleVariables};
pub use http1::ResponseHead;
pub use proxy::{Proxy, ProxyError};
pub use request::{AskError, PROBE_HEADER, RequestError, RequestParts, ask, build_request};
pub use settings::{Auth, Endpoint, EndpointError, HttpChoice, SecretSource, TlsSettings};
pub use stamps::Stamps;
pub use tls::TlsError;
pub use wakeups::Wakeups;
