//! What each runtime says of itself over HTTP, under one set of names. Which of a runtime's own
//! names means what is a table, `dialects`.
//!
//! What a runtime does not tell is absent. One that does not answer is down and tells nothing; one
//! that has no such interface is unsupported, which is no failure.

mod dialects;
pub(super) mod fetch;
mod page;
mod scrape;
mod target;

pub use fetch::ScrapeFailure;
pub use scrape::{RuntimeReport, scrape};
pub use target::{PageAddress, PageSource, RuntimeLabels, RuntimeTarget};

use super::{FamilyKind, ResourceFamily, RuntimeState};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time between two scrapes of one target. A queue that builds up is seen before the third probe, and
/// a page of some hundred kilobytes costs the runtime a few milliseconds.
pub const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// The fastest pace: a page is made for us each time, by the process that we measure.
pub const SHORTEST_SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Whether runtimes are asked, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeMetricsSettings {
    /// Whether any is asked at all.
    pub enabled: bool,
    /// Time between two scrapes of one target.
    pub interval: Duration,
}

impl Default for RuntimeMetricsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: DEFAULT_SCRAPE_INTERVAL,
        }
    }
}

/// The labels of every family here.
const LABELS: &[&str] = &["target", "runtime", "model"];

/// Something that runtimes tell of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Requests being worked on.
    RequestsRunning,
    /// Requests that wait for a place.
    RequestsWaiting,
    /// Share of the key-value cache in use, 0 to 1.
    KvCacheUsage,
    /// Prompt tokens found in the prefix cache.
    PrefixCacheHits,
    /// Prompt tokens looked for in the prefix cache.
    PrefixCacheQueries,
    /// Requests thrown out to make room for others.
    Preemptions,
    /// Tokens generated.
    GenerationTokens,
    /// Prompt tokens worked on.
    PromptTokens,
    /// Whether the target's model is in memory, 1 or 0.
    ModelLoaded,
    /// Bytes that the loaded model takes, wherever they are.
    ModelMemory,
    /// Bytes of these that are on GPUs.
    ModelGpuMemory,
}

impl Quantity {
    /// Every quantity, in the order of the exposition.
    pub const ALL: [Self; 11] = [
        Self::RequestsRunning,
        Self::RequestsWaiting,
        Self::KvCacheUsage,
        Self::PrefixCacheHits,
        Self::PrefixCacheQueries,
        Self::Preemptions,
        Self::GenerationTokens,
        Self::PromptTokens,
        Self::ModelLoaded,
        Self::ModelMemory,
        Self::ModelGpuMemory,
    ];

    /// The family that it is exposed as.
    pub const fn family(self) -> ResourceFamily {
        use FamilyKind::{Counter, Gauge};
        let (name, kind, help) = match self {
            Self::RequestsRunning => (
                "llm_runtime_requests_running",
                Gauge,
                "Requests that the runtime is working on, by its own count",
            ),
            Self::RequestsWaiting => (
                "llm_runtime_requests_waiting",
                Gauge,
                "Requests that wait for a place in the runtime, by its own count",
            ),
            Self::KvCacheUsage => (
                "llm_runtime_kv_cache_usage_ratio",
                Gauge,
                "Share of the runtime's key-value cache in use, 0 to 1; the mean where it has several engines",
            ),
            Self::PrefixCacheHits => (
                "llm_runtime_prefix_cache_hits_total",
                Counter,
                "Prompt tokens that the runtime found in its prefix cache",
            ),
            Self::PrefixCacheQueries => (
                "llm_runtime_prefix_cache_queries_total",
                Counter,
                "Prompt tokens that the runtime looked for in its prefix cache",
            ),
            Self::Preemptions => (
                "llm_runtime_preemptions_total",
                Counter,
                "Requests that the runtime threw out of its batch to make room, to be begun anew later",
            ),
            Self::GenerationTokens => (
                "llm_runtime_generation_tokens_total",
                Counter,
                "Tokens that the runtime generated for all of its clients",
            ),
            Self::PromptTokens => (
                "llm_runtime_prompt_tokens_total",
                Counter,
                "Prompt tokens of all of the runtime's clients; llama.cpp leaves out those that its cache held",
            ),
            Self::ModelLoaded => (
                "llm_runtime_model_loaded",
                Gauge,
                "Whether the target's model is in memory, 1 or 0; absent where the runtime does not tell",
            ),
            Self::ModelMemory => (
                "llm_runtime_model_memory_bytes",
                Gauge,
                "Memory that the loaded model takes, on GPUs and off them, by the runtime's estimate",
            ),
            Self::ModelGpuMemory => (
                "llm_runtime_model_gpu_memory_bytes",
                Gauge,
                "Part of the loaded model's memory that is on GPUs; 0 where it runs on CPUs alone",
            ),
        };
        ResourceFamily {
            name,
            kind,
            labels: LABELS,
            help,
        }
    }
}

/// What one page told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    values: BTreeMap<Quantity, f64>,
    unloads_at: Option<Timestamp>,
}

impl Look {
    /// The same, for those who decide by it.
    fn state(&self, taken: Instant) -> RuntimeState {
        let value = |quantity| self.values.get(&quantity).copied();
        RuntimeState {
            running: value(Quantity::RequestsRunning),
            waiting: value(Quantity::RequestsWaiting),
            kv_cache_usage: value(Quantity::KvCacheUsage),
            generation_tokens: value(Quantity::GenerationTokens),
            prompt_tokens: value(Quantity::PromptTokens),
            model_loaded: value(Quantity::ModelLoaded).map(|loaded| loaded > 0.0),
            unloads_at: self.unloads_at,
            ..RuntimeState::at(taken)
        }
    }
}
