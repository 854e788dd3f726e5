//! Layer 1: what is sent. A workload is pure: the same seed and calibration give the same prompt.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

mod calibration;
mod corpus;
mod fixed;
mod nonce;
mod synthetic;
mod tokenizer;

pub use calibration::Calibration;
pub use fixed::FixedWorkload;
pub use synthetic::SyntheticWorkload;
pub use tokenizer::{Tokenizer, TokenizerError};

/// What the prefix cache of the runtime is meant to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePolicy {
    /// A nonce in front of every prompt: no two runs share a prefix.
    #[default]
    Cold,
    /// Every run repeats the same prompt, so that all but its last token may come from the cache.
    Warm,
}

/// A prompt, ready for an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The system message, where the scenario has one.
    pub system: Option<Arc<str>>,
    /// The user's message.
    pub user: String,
    /// Words that [`Calibration::observe`] is told about: those of `system` and `user` but for the
    /// nonce. Absent where nothing was generated.
    pub generated_words: Option<usize>,
}

/// The texts of one request for vectors or ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// What the others are ranked by.
    pub query: Option<String>,
    /// What is embedded or ranked.
    pub inputs: Vec<String>,
    /// Words of one input on average, its share of the nonces not among them, and with the query where there is one,
    /// since a model reads both together. Absent where nothing was generated.
    pub generated_words: Option<usize>,
}

/// Yields prompts. Pure and shareable.
pub trait Workload: fmt::Debug + Send + Sync {
    /// The prompt of the run with this seed.
    fn next(&self, seed: u64, calibration: &Calibration) -> Prompt;

    /// One text of the run with this seed, to be embedded or ranked: as long as a prompt, and with nothing to be done.
    fn text(&self, seed: u64, index: u32, calibration: &Calibration) -> Prompt;

    /// What the run's texts are ranked by.
    fn query(&self, seed: u64) -> Prompt;

    /// The texts of a request for so many vectors, or for ranks of so many documents.
    fn texts(&self, seed: u64, count: u32, ranked: bool, calibration: &Calibration) -> Texts {
        let query = ranked.then(|| self.query(seed));
        let texts = (0..count).map(|index| self.text(seed, index, calibration));
        let texts: Vec<Prompt> = texts.collect();
        let words: Option<usize> = texts.iter().map(|text| text.generated_words).sum();
        let beside = query
            .as_ref()
            .map_or(Some(0), |query| query.generated_words);
        Texts {
            generated_words: words
                .zip(beside)
                .map(|(words, beside)| words / texts.len().max(1) + beside),
            query: query.map(|query| query.user),
            inputs: texts.into_iter().map(|text| text.user).collect(),
        }
    }
}

/// What a scenario asks of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSettings {
    /// A name in [`WORKLOADS`].
    pub kind: String,
    /// Cold or warm.
    pub cache: CachePolicy,
    /// The system message.
    pub system: Option<String>,
    /// `fixed`: the prompt.
    pub prompt: Option<String>,
    /// `synthetic`: wanted prompt length, in tokens of the model.
    pub input_tokens: Option<u32>,
    /// `synthetic`: the model's `tokenizer.json`, for exact lengths.
    pub tokenizer_file: Option<PathBuf>,
}

/// A kind of workload: one file and one line in [`WORKLOADS`].
pub struct WorkloadSpec {
    /// The value of `workload.kind`.
    pub name: &'static str,
    /// One line for documentation and help.
    pub summary: &'static str,
    /// The keys of [`WorkloadSettings`] that it reads besides `cache` and `system`.
    pub keys: &'static [&'static str],
    /// Builds it, or says what is wrong.
    pub build: fn(&WorkloadSettings) -> Result<Arc<dyn Workload>, WorkloadError>,
}

/// Every kind of workload.
pub const WORKLOADS: &[WorkloadSpec] = &[fixed::SPEC, synthetic::SPEC];

/// Why a workload cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Nothing in [`WORKLOADS`] has this name.
    #[error("unknown workload `{0}`")]
    UnknownKind(String),
    /// A key that the kind needs is absent.
    #[error("`{key}` is required")]
    Missing {
        /// Which.
        key: &'static str,
    },
    /// A key's value is out of range.
    #[error("`{key}` must be {rule}")]
    Range {
        /// Which.
        key: &'static str,
        /// What holds for it.
        rule: &'static str,
    },
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Builds the workload that the settings ask for.
///
/// # Errors
/// When the kind is unknown, or its settings do not suit it.
pub fn build(settings: &WorkloadSettings) -> Result<Arc<dyn Workload>, WorkloadError> {
    let spec = WORKLOADS
        .iter()
        .find(|spec| spec.name == settings.kind)
        .ok_or_else(|| WorkloadError::UnknownKind(settings.kind.clone()))?;
    (spec.build)(settings)
}
