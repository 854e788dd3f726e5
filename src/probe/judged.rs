//! Answers without a network, for tests.

use super::settings::{Assertion, Limits};
use super::stream::{Answer, Failed, Reading};
use crate::measure::delta::ServerTimings;
use crate::measure::tokens::TokenCounts;
use crate::runtime::{Operation, RuntimeSpec};
use crate::transport::Chunk;
use std::time::{Duration, Instant};

/// What an answer comes to, but for what depends on when its bytes came.
#[derive(Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Result<(), Failed>,
    pub(super) tokens: Option<TokenCounts>,
    pub(super) text_frames: u64,
    /// Where each token ends: the bytes themselves say, not how they are cut.
    pub(super) positions: Vec<u64>,
    pub(super) visible: String,
    pub(super) server_total: Option<Duration>,
}

/// Reads an answer that comes in these parts.
pub(super) fn judged<'a>(
    runtime: &RuntimeSpec,
    operation: Operation,
    stream: bool,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Judged {
    let adapter = runtime.adapter;
    let limits = Limits::default();
    let seen = Instant::now();
    let mut answer = Answer::new(Reading {
        decoder: adapter.framing(stream).decoder(limits.frame_bytes),
        interpreter: adapter.interpreter(operation, stream),
        limits,
        server: ServerTimings::default(),
        keep_text: true,
        native_counts: adapter.counts_natively(),
    });
    let mut end = 0;
    let mut fed = Ok(());
    for part in parts {
        end += part.len() as u64;
        fed = fed.and_then(|()| answer.feed(Chunk::example(part, end, seen)));
    }
    let ended = fed.and_then(|()| answer.end(seen));
    let said = answer.said();
    let tokens = said.tokens(None);
    let assertion = Assertion::default();
    let verdict = ended.and_then(|()| said.verdict(end, &assertion, tokens.as_ref()));
    Judged {
        verdict,
        tokens,
        text_frames: said.timeline.text_frames(),
        positions: said.timeline.positions().collect(),
        visible: said.visible.clone(),
        server_total: said.server.total,
    }
}
