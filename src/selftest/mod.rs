//! The prober against the fake runtime on this machine: how far off are its figures?
//!
//! The fake runs as a process of its own and notes when it hands each frame to the kernel, on the
//! clock that the prober stamps by; and when the kernel received each request. Run by run and clock by
//! clock, what the prober reports is compared with what it would have reported had it seen everything at
//! that instant. So the error holds all of the way from the fake's system call to the stamp, and
//! nothing is taken off for that. A system call takes some microseconds: a stamp within them has no
//! error. Of a cold run the beginning is the prober's own word.
//!
//! Every run also states how far off it may be. A run that is further off than its limit and not
//! tainted, or further than twice its own error bar, breaks the instrument's promise, and fails the test.

mod cost;
mod drive;
mod fake;
mod join;
mod ledger;
mod report;

pub use cost::Pressing;
pub use drive::{ProberThread, run};
pub use fake::FakeSource;
pub use join::{Figure, Joined, Mismatch, join};
pub use ledger::{ClockErrors, Promise};
pub use report::{Level, Report, Summary};

use crate::probe::ConnectionPolicy;
use crate::simulate::RequestsError;
use crate::transport::{DialError, EndpointError, ExchangeError, RequestError, TlsError};
use crate::workload::WorkloadError;
use http::StatusCode;
use serde::{Serialize, Serializer};
use std::time::Duration;
use tokio::task::JoinError;

/// Why a self-test cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// No process, no port, or no thread for the pressure.
    #[error("the system refuses what the self-test needs: {0}")]
    System(#[from] std::io::Error),
    /// A task has panicked.
    #[error("a part of the self-test has failed: {0}")]
    Task(#[from] JoinError),
    /// Our own dialect is not there.
    #[error("there is no runtime `{0}`")]
    Dialect(&'static str),
    /// The fake did not start as it should.
    #[error("the fake runtime gives no address but `{0}`")]
    NoAddress(String),
    /// The fake does not tell what it did.
    #[error(
        "the fake runtime answers HTTP {0} instead of its log\nhint: start it with `--log-requests`"
    )]
    NoLog(StatusCode),
    /// See [`RequestsError`].
    #[error(transparent)]
    Log(#[from] RequestsError),
    /// See [`EndpointError`].
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// See [`RequestError`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// See [`DialError`].
    #[error("the fake runtime cannot be reached: {0}")]
    Dial(#[from] DialError),
    /// See [`ExchangeError`].
    #[error("the fake runtime's log cannot be read: {0}")]
    Exchange(#[from] ExchangeError),
    /// See [`TlsError`].
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// See [`WorkloadError`].
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

/// What is measured, and under which circumstances.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Where the fake runtime comes from.
    #[serde(skip)]
    pub fake: FakeSource,
    /// Streams at the same time, level by level.
    #[serde(skip)]
    pub concurrency: Vec<usize>,
    /// Fewest runs of a level. Every stream makes as many as the next.
    #[serde(skip)]
    pub runs: usize,
    /// The fake's time from request to first token.
    #[serde(rename = "ttft_seconds", serialize_with = "as_seconds")]
    pub ttft: Duration,
    /// The fake's time from token to token.
    #[serde(rename = "itl_seconds", serialize_with = "as_seconds")]
    pub itl: Duration,
    /// Tokens of an answer, each a write of its own.
    pub tokens: u32,
    /// Whether connecting is part of each run.
    pub connection: ConnectionPolicy,
    /// Over TLS.
    pub tls: bool,
    /// What keeps cores busy while a level is measured.
    pub pressure: Pressing,
}

impl Settings {
    /// Runs that each of so many streams makes.
    pub fn runs_per_stream(&self, concurrency: usize) -> usize {
        self.runs.div_ceil(concurrency.max(1)).max(1)
    }

    /// How long all levels take, about.
    pub fn estimate(&self) -> Duration {
        // Each start waits for its place in the spread: up to one more gap.
        let run = self.ttft + self.itl * self.tokens;
        let rounds = self.concurrency.iter().map(|n| self.runs_per_stream(*n));
        run.mul_f64(rounds.sum::<usize>() as f64)
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
