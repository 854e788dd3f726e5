//! Runs that ask for vectors or ranks.

use super::outcome::Outcome;
use super::run::{Query, Run};
use super::settings::RetrievalSettings;
use super::stream::{Answer, Failed, Reading};
use crate::measure::items::Items;
use crate::runtime::{Retrieval, RetrievalInput, head_input_tokens, head_timings, reader};
use crate::transport::ResponseHead;
use crate::wire::Framing;

/// A body as long as this takes milliseconds to read, which other probes on this thread must not wait for.
pub(super) const LONG_BODY: u64 = 64 * 1024;

/// What a complete answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) settings: RetrievalSettings,
    /// Vectors or ranks.
    pub(super) count: usize,
}

impl Expected {
    /// Judges what came.
    pub(super) fn verdict(&self, items: Items) -> Result<(), Failed> {
        let (wanted, found) = (self.count, items.count);
        let noun = match self.settings.kind {
            Retrieval::Embeddings => "vectors",
            Retrieval::Rerank => "ranks",
        };
        if found == 0 {
            let message = format!("the answer has no {noun}, {wanted} were asked for");
            return Err(Failed::new(Outcome::Empty, message));
        }
        if found != wanted {
            let message = format!("the answer has {found} {noun}, {wanted} were asked for");
            return Err(Failed::new(Outcome::Malformed, message));
        }
        if let Some(at) = items.zero {
            let message = format!("vector {at} is nothing but zeros");
            return Err(Failed::new(Outcome::Empty, message));
        }
        match (self.settings.dimensions, items.dimensions) {
            (Some(wanted), Some(found)) if wanted as usize != found => {
                let message = format!("the vectors have {found} dimensions, {wanted} were wanted");
                Err(Failed::new(Outcome::Assertion, message))
            }
            _ => Ok(()),
        }
    }
}

impl Run<'_> {
    /// The run's texts, in a request.
    pub(super) async fn retrieval_query(
        &self,
        settings: RetrievalSettings,
    ) -> Result<Query, Failed> {
        let runtime = self.probe.target.runtime;
        // No configuration lets it come to this.
        let retriever = runtime.retriever(settings.kind).ok_or_else(|| {
            let (name, kind) = (runtime.name, settings.kind.as_str());
            let message = format!("the runtime `{name}` has no `{kind}`");
            Failed::new(Outcome::Internal, message)
        })?;
        let ranked = settings.kind == Retrieval::Rerank;
        let texts = self
            .compose(move |workload, seed, calibration| {
                workload.texts(seed, settings.inputs, ranked, calibration)
            })
            .await?;
        let input = RetrievalInput {
            model: &self.probe.target.model,
            texts: &texts,
            extra_body: &self.probe.scenario.settings.generation.extra_body,
        };
        Ok(Query {
            request: retriever.request(input),
            generated_words: texts.generated_words,
            expected: Some(Expected {
                settings,
                count: input.expected(settings.kind),
            }),
        })
    }

    /// A reader of the answer. Its one frame may be as long as a body.
    pub(super) fn retrieval_answer(
        &self,
        head: &ResponseHead,
        expected: Expected,
    ) -> Option<Answer> {
        let limits = self.probe.scenario.settings.limits;
        let retriever = self
            .probe
            .target
            .runtime
            .retriever(expected.settings.kind)?;
        let most = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
        let answer = Answer::new(Reading {
            decoder: Framing::WholeBody.decoder(most),
            interpreter: reader(retriever, expected.settings.inputs as usize),
            limits,
            server: head_timings(&head.headers, false),
            keep_text: false,
            native_counts: retriever.counts_natively(),
        });
        Some(answer.expecting(expected, head_input_tokens(&head.headers)))
    }
}

#[cfg(test)]
mod tests;
