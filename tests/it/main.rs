//! The one integration binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "clippy excuses functions marked as tests only, and helpers are tests too"
)]

mod architecture;
mod attribution;
mod aws;
mod daemon;
mod documents;
mod gate;
mod google;
mod harm;
mod http2;
mod matrix;
mod nvml;
mod outcomes;
mod process;
mod proxy;
mod regression;
mod retrieval;
mod runtime_metrics;
mod selftest;
mod simulate;
mod slo;
mod support;
mod transport;
mod unix;
