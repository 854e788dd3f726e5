//! From stamped bytes to a judged answer. Sans-IO: whoever feeds it owns the socket and the clock.

use super::outcome::Outcome;
use super::retrieval::Expected;
use super::settings::{Assertion, Limits};
use crate::measure::delta::{Delta, Fault, FinishReason, ServerTimings};
use crate::measure::latency::Count;
use crate::measure::timeline::Timeline;
use crate::measure::tokens::{TokenCounts, TokenSource, Usage};
use crate::runtime::Interpreter;
use crate::transport::Chunk;
use crate::wire::event_stream::MessageFault;
use crate::wire::{DecodeError, Decoder, Frame};
use crate::workload::Tokenizer;
use std::time::Instant;

/// A verdict that is not success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    pub(super) message: String,
    pub(super) status: Option<u16>,
}

impl Failed {
    pub(super) fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
            status: None,
        }
    }
}

/// An answer while it comes in.
pub(super) struct Answer {
    decoder: Box<dyn Decoder>,
    reader: Reader,
    body_limit: u64,
    /// Where the first body byte ends in the peer's stream.
    pub(super) first_byte: Option<u64>,
    /// Where the latest body byte ends.
    pub(super) last_byte: Option<u64>,
    pub(super) body_bytes: u64,
}

/// What the frames say.
pub(super) struct Reader {
    interpreter: Box<dyn Interpreter>,
    keep_text: bool,
    native_counts: bool,
    failed: Option<Failed>,
    pub(super) timeline: Timeline,
    /// Where the dialect's last word ends.
    pub(super) terminated: Option<u64>,
    pub(super) server: ServerTimings,
    pub(super) finish: Option<FinishReason>,
    pub(super) model: Option<String>,
    pub(super) visible: String,
    usage: Usage,
    reasoning: String,
    saw_visible: bool,
    saw_reasoning: bool,
    /// Set where the answer is to be no text.
    expected: Option<Expected>,
}

/// What an [`Answer`] is read with.
pub(super) struct Reading {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) interpreter: Box<dyn Interpreter>,
    pub(super) limits: Limits,
    /// What the response's head says; the answer may know better.
    pub(super) server: ServerTimings,
    /// Somebody will want the text: the tokenizer, an assertion, the caller.
    pub(super) keep_text: bool,
    /// Counts are the dialect's own.
    pub(super) native_counts: bool,
}

impl Answer {
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            decoder: reading.decoder,
            reader: Reader {
                interpreter: reading.interpreter,
                keep_text: reading.keep_text,
                native_counts: reading.native_counts,
                failed: None,
                timeline: Timeline::default(),
                terminated: None,
                server: reading.server,
                finish: None,
                model: None,
                visible: String::new(),
                usage: Usage::default(),
                reasoning: String::new(),
                saw_visible: false,
                saw_reasoning: false,
                expected: None,
            },
            body_limit: reading.limits.body_bytes,
            first_byte: None,
            last_byte: None,
            body_bytes: 0,
        }
    }

    /// The same for vectors or ranks, where the head may have told how many tokens were read.
    pub(super) fn expecting(mut self, expected: Expected, input: Option<u64>) -> Self {
        self.reader.expected = Some(expected);
        self.reader.usage.input = input;
        self
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, chunk: Chunk<'_>) -> Result<(), Failed> {
        let before = self.body_bytes;
        self.first_byte.get_or_insert_with(|| chunk.position(1));
        self.last_byte = Some(chunk.position(chunk.data.len()));
        self.body_bytes += chunk.data.len() as u64;
        if self.body_bytes > self.body_limit {
            let message = format!(
                "the answer is longer than the limit of {} bytes",
                self.body_limit
            );
            return Err(Failed::new(Outcome::Oversized, message));
        }
        let reader = &mut self.reader;
        let fed = self.decoder.feed(chunk.data, &mut |frame| {
            // Frames end within the bytes that complete them.
            let within = frame.end.saturating_sub(before);
            let within = usize::try_from(within).unwrap_or(chunk.data.len());
            reader.on_frame(frame, chunk.position(within), chunk.user);
        });
        self.reader.failed.take().map_or(Ok(()), Err)?;
        fed.map_err(undecodable)
    }

    /// The body has ended, as we have `seen` just now.
    pub(super) fn end(&mut self, seen: Instant) -> Result<(), Failed> {
        let position = self.last_byte.unwrap_or(0);
        let reader = &mut self.reader;
        let finished = self
            .decoder
            .finish(&mut |frame| reader.on_frame(frame, position, seen));
        self.reader.failed.take().map_or(Ok(()), Err)?;
        finished.map_err(undecodable)?;
        let reader = &mut self.reader;
        if reader.terminated.is_none() && reader.interpreter.ends_with_body() {
            reader.terminated = Some(position);
        }
        Ok(())
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.reader.terminated.is_some()
    }

    /// What the frames have said so far.
    pub(super) fn said(&self) -> &Reader {
        &self.reader
    }
}

impl Reader {
    fn on_frame(&mut self, frame: Frame<'_>, position: u64, seen: Instant) {
        if self.terminated.is_some() || self.failed.is_some() {
            return;
        }
        let delta = self.interpreter.on_frame(frame);
        self.failed = match &delta.fault {
            Some(Fault::Malformed(reason)) => Some(Failed::new(Outcome::Malformed, reason.clone())),
            Some(Fault::InBand(reason)) => Some(Failed::new(Outcome::InBandError, reason.clone())),
            None => None,
        };
        if self.failed.is_some() {
            return;
        }
        self.timeline.record(&delta, position, seen);
        if delta.terminator {
            self.terminated = Some(position);
        }
        self.absorb(delta);
    }

    fn absorb(&mut self, delta: Delta<'_>) {
        let visible = delta.visible.unwrap_or_default();
        let reasoning = delta.reasoning.unwrap_or_default();
        self.saw_visible |= !visible.is_empty();
        self.saw_reasoning |= !reasoning.is_empty();
        if self.keep_text {
            self.visible.push_str(&visible);
            self.reasoning.push_str(&reasoning);
        }
        if let Some(usage) = delta.usage {
            self.usage.merge(usage);
        }
        self.server.merge(delta.server);
        self.finish = delta.finish.or(self.finish.take());
        if self.model.is_none() {
            self.model = delta.model.map(std::borrow::Cow::into_owned);
        }
    }

    /// Token counts, by the best source at hand. Absent where nothing was said.
    pub(super) fn tokens(&self, tokenizer: Option<&Tokenizer>) -> Option<TokenCounts> {
        if self.expected.is_some() {
            let source = match self.native_counts {
                true => TokenSource::Runtime,
                false => TokenSource::Usage,
            };
            let usage = self.usage;
            return usage.input.map(|_| TokenCounts { usage, source });
        }
        let frames = self.timeline.text_frames();
        let (output, source) = match (self.usage.output.filter(|n| *n > 0), tokenizer) {
            (Some(output), _) if self.native_counts => (output, TokenSource::Runtime),
            (Some(output), _) => (output, TokenSource::Usage),
            (None, Some(tokenizer)) if frames > 0 => {
                let count = tokenizer.count(&self.visible) + tokenizer.count(&self.reasoning);
                (count as u64, TokenSource::Tokenizer)
            }
            (None, _) if frames > 0 => (frames, TokenSource::Chunks),
            (None, _) => return None,
        };
        let usage = Usage {
            output: Some(output),
            ..self.usage
        };
        Some(TokenCounts { usage, source })
    }

    /// How many tokens were made, and how many of them were sent.
    pub(super) fn count(&self, tokens: Option<TokenCounts>) -> Count {
        let made = tokens.and_then(|tokens| tokens.usage.output);
        let hidden = match self.saw_reasoning {
            true => 0,
            false => self.usage.reasoning.unwrap_or(0),
        };
        Count {
            made,
            sent: made.map(|made| made.saturating_sub(hidden)),
        }
    }

    /// Judges a body of so many bytes that has ended or whose terminator has come.
    pub(super) fn verdict(
        &self,
        bytes: u64,
        assertion: &Assertion,
        tokens: Option<&TokenCounts>,
    ) -> Result<(), Failed> {
        if self.terminated.is_none() {
            let message = format!("the answer ended after {bytes} bytes without its terminator");
            return Err(Failed::new(Outcome::Truncated, message));
        }
        if let Some(expected) = &self.expected {
            return expected.verdict(self.interpreter.items().unwrap_or_default());
        }
        if self.finish == Some(FinishReason::Aborted) {
            let message = "the runtime aborted the answer";
            return Err(Failed::new(Outcome::InBandError, message));
        }
        self.has_text()?;
        if self.finish.is_none() {
            let message = "the answer ended without a finish reason";
            return Err(Failed::new(Outcome::Truncated, message));
        }
        if let Some(wanted) = &assertion.contains
            && !self.visible.contains(wanted.as_str())
        {
            let message = format!("the answer does not contain `{wanted}`");
            return Err(Failed::new(Outcome::Assertion, message));
        }
        let count = tokens.and_then(|tokens| tokens.usage.output).unwrap_or(0);
        match assertion.min_output_tokens {
            Some(least) if count < least => {
                let message =
                    format!("the answer has {count} tokens; at least {least} were wanted");
                Err(Failed::new(Outcome::Assertion, message))
            }
            _ => Ok(()),
        }
    }

    fn has_text(&self) -> Result<(), Failed> {
        if self.saw_visible {
            return Ok(());
        }
        let counted = self.usage.output.unwrap_or(0);
        let reasoned = self.saw_reasoning || self.usage.reasoning.unwrap_or(0) > 0;
        if reasoned && self.finish == Some(FinishReason::Length) {
            let message = "all tokens were spent on hidden reasoning: raise `output_tokens`";
            return Err(Failed::new(Outcome::BudgetExhausted, message));
        }
        let message = match (reasoned, counted) {
            (true, _) => "the answer is hidden reasoning only".to_owned(),
            (false, 0) => "the answer has no token".to_owned(),
            (false, n) => format!("the runtime counts {n} tokens, but sent no text"),
        };
        Err(Failed::new(Outcome::Empty, message))
    }
}

fn undecodable(error: DecodeError) -> Failed {
    let outcome = match error {
        DecodeError::Oversized { .. } => Outcome::Oversized,
        DecodeError::EventStream(error) => match error.fault {
            MessageFault::Truncated { .. } => Outcome::Truncated,
            _ => Outcome::Malformed,
        },
    };
    Failed::new(outcome, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event_stream::{EventStreamError, HeaderFault};

    #[test]
    fn what_cannot_be_decoded_is_judged_by_its_reason() {
        let checksum = MessageFault::MessageChecksum {
            declared: 1,
            computed: 2,
        };
        let header = MessageFault::Header {
            at: 12,
            fault: HeaderFault::NotText,
        };
        let truncated = MessageFault::Truncated { had: 20 };
        for (fault, outcome) in [
            (checksum, Outcome::Malformed),
            (header, Outcome::Malformed),
            (truncated, Outcome::Truncated),
        ] {
            let error = EventStreamError { at: 7, fault };
            let failed = undecodable(error.into());
            assert_eq!(failed.outcome, outcome);
            assert_eq!(failed.message, error.to_string());
        }
        let oversized = undecodable(DecodeError::Oversized { limit: 9 });
        assert_eq!(oversized.outcome, Outcome::Oversized);
    }
}
