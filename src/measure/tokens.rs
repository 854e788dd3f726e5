//! Token counts and where they come from.

use serde::Serialize;

/// Counts as a runtime reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Prompt tokens that came from a cache.
    pub cached: Option<u64>,
    /// Answer tokens that were hidden reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Later reports replace earlier ones, number by number.
    pub fn merge(&mut self, other: Self) {
        self.input = other.input.or(self.input);
        self.output = other.output.or(self.output);
        self.cached = other.cached.or(self.cached);
        self.reasoning = other.reasoning.or(self.reasoning);
    }
}

/// Who counted the tokens of an answer. The best that is available serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// The response's usage block.
    Usage,
    /// Counters of the runtime's own dialect, such as Ollama's `eval_count`.
    Runtime,
    /// The model's tokenizer, run by us over the text.
    Tokenizer,
    /// Frames that carried text: a guess, and labelled as one.
    Chunks,
}

impl TokenSource {
    /// Every source, best first.
    pub const ALL: [Self; 4] = [Self::Usage, Self::Runtime, Self::Tokenizer, Self::Chunks];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Runtime => "runtime",
            Self::Tokenizer => "tokenizer",
            Self::Chunks => "chunks",
        }
    }
}

/// The counts of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokenCounts {
    /// What was counted.
    pub usage: Usage,
    /// Who counted the output.
    pub source: TokenSource,
}
