//! The prober against the fake runtime on this machine: how far off are its figures?
//!
//! The fake runtime notes when it hands each frame to the kernel, on the clock that the prober
//! stamps its reads with. Run by run, what the prober reports is compared with what it would have
//! reported had it seen every frame at that instant. So the error holds everything from the fake's
//! system call to the prober's stamp: loopback, wake-up, our own queueing; and nothing is taken off
//! for that. Where the interval begins, at dispatch, is the prober's own word; the return of its write
//! and the arrival of the request at the fake bound how wrong that can be.

mod cost;
mod drive;
mod join;
mod report;

pub use drive::{SelftestError, Threads, run};
pub use join::{Figure, Joined, Mismatch, join};
pub use report::{ClockErrors, Level, Report, Summary};

use crate::probe::ConnectionPolicy;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// What is measured, and under which circumstances.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
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
    /// Threads of this process that do nothing but keep a core busy while a level is measured.
    pub pressure: usize,
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
