//! What one frame says, whatever its dialect.

use super::tokens::Usage;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It said all it wanted.
    Stop,
    /// It used up the tokens it was given.
    Length,
    /// The runtime censored it.
    ContentFilter,
    /// The runtime gave up on it, as vLLM and SGLang do when they shut down or sleep, and TensorRT-LLM
    /// when a request takes too long.
    Aborted,
    /// Anything else, in the runtime's words.
    Other(String),
}

impl FinishReason {
    /// Reads the words that the dialects have in common.
    pub fn parse(text: &str) -> Self {
        match text {
            "stop" | "eos_token" | "stop_sequence" | "end_turn" => Self::Stop,
            "length" | "max_tokens" => Self::Length,
            "content_filter" => Self::ContentFilter,
            "abort" | "aborted" | "error" | "cancelled" | "timeout" => Self::Aborted,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }
}

/// Durations that the runtime itself reports about a run. Durations only, so that clock skew
/// cannot matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerTimings {
    /// Loading the model.
    pub load: Option<Duration>,
    /// Waiting for a slot.
    pub queue: Option<Duration>,
    /// Reading the prompt.
    pub prefill: Option<Duration>,
    /// Writing the answer.
    pub decode: Option<Duration>,
    /// Everything.
    pub total: Option<Duration>,
}

impl ServerTimings {
    /// Later frames fill what earlier ones left open.
    pub fn merge(&mut self, other: Self) {
        self.load = other.load.or(self.load);
        self.queue = other.queue.or(self.queue);
        self.prefill = other.prefill.or(self.prefill);
        self.decode = other.decode.or(self.decode);
        self.total = other.total.or(self.total);
    }

    /// With a total where none was told: what the phases come to, if both halves of the work are among
    /// them.
    pub fn completed(self) -> Self {
        let work = self.prefill.zip(self.decode);
        let sum = work.map(|(prefill, decode)| {
            [self.load, self.queue, Some(prefill), Some(decode)]
                .into_iter()
                .flatten()
                .fold(Duration::ZERO, Duration::saturating_add)
        });
        Self {
            total: self.total.or(sum),
            ..self
        }
    }

    /// Phase names and values, those that are known.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("load", self.load),
            ("queue", self.queue),
            ("prefill", self.prefill),
            ("decode", self.decode),
            ("total", self.total),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what the dialect allows.
    Malformed(String),
    /// It is the runtime's own report of a failure, inside a stream that began well.
    InBand(String),
}

/// What an adapter says that a frame means. Everything absent means "this frame does not say".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta<'a> {
    /// Text that a user would see.
    pub visible: Option<Cow<'a, str>>,
    /// Text of the model's hidden reasoning.
    pub reasoning: Option<Cow<'a, str>>,
    /// Why the model stopped.
    pub finish: Option<FinishReason>,
    /// Token counts; cumulative where they come with every frame.
    pub usage: Option<Usage>,
    /// The runtime's own durations.
    pub server: ServerTimings,
    /// The model that answered, in the runtime's words.
    pub model: Option<Cow<'a, str>>,
    /// The dialect's last word: nothing may follow.
    pub terminator: bool,
    /// What is wrong.
    pub fault: Option<Fault>,
}

impl Delta<'_> {
    /// A delta that is nothing but a complaint.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self {
            fault: Some(Fault::Malformed(reason.into())),
            ..Self::default()
        }
    }

    /// A failure that the runtime reported inside the stream.
    pub fn in_band(reason: impl Into<String>) -> Self {
        Self {
            fault: Some(Fault::InBand(reason.into())),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn phases_make_a_total_only_when_all_of_the_work_is_among_them() {
        let mut told = ServerTimings {
            queue: Some(7 * MS),
            prefill: Some(20 * MS),
            ..ServerTimings::default()
        };
        assert_eq!(told.completed().total, None, "the decode is missing");
        told.decode = Some(50 * MS);
        assert_eq!(told.completed().total, Some(77 * MS));
        told.total = Some(80 * MS);
        assert_eq!(told.completed().total, Some(80 * MS));
        told.total = None;
        told.decode = Some(Duration::MAX);
        assert_eq!(told.completed().total, Some(Duration::MAX));
    }
}
