//! Layer 1: sans-IO decoders, from bytes to frames. "Incomplete" is a state and not an error, and
//! every split of the same bytes gives the same frames.

pub mod event_stream;
mod lines;
pub mod ndjson;
mod payload_parts;
pub mod sse;
#[cfg(test)]
mod tests;
pub mod whole_body;

use event_stream::EventStreamError;

/// One decoded unit: an SSE event, a JSON line, an event-stream message, a whole body. It borrows from the bytes that were
/// fed, or from the decoder where they came in pieces: decoding a frame allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the framing itself says that this is.
    pub kind: FrameKind,
    /// The event's name, where the framing has names and the peer gave one. Not necessarily UTF-8.
    pub event: Option<&'a [u8]>,
    /// The payload, as sent. Not necessarily UTF-8.
    pub data: &'a [u8],
    /// Offset in the body just behind the frame's last byte.
    pub end: u64,
}

impl<'a> Frame<'a> {
    /// A payload alone: an event without a name, at the body's beginning.
    pub fn bare(data: &'a [u8]) -> Self {
        Self {
            kind: FrameKind::Event,
            event: None,
            data,
            end: 0,
        }
    }
}

/// What a framing says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Part of the answer, as far as the framing knows. Most framings know no other kind.
    Event,
    /// An error that ends the answer, by the name in [`Frame::event`].
    Fault,
}

/// Takes frames, in order.
pub type OnFrame<'s> = dyn FnMut(Frame<'_>) + 's;

/// Why bytes cannot become frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A line, frame or body grew beyond its limit.
    #[error("a frame is longer than the limit of {limit} bytes")]
    Oversized {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no event stream, or not as they were sent.
    #[error(transparent)]
    EventStream(#[from] EventStreamError),
}

/// Turns bytes into frames. Feed it everything that arrives, then call `finish` once.
pub trait Decoder: Send + Sync {
    /// Takes the next bytes and hands on every frame that they complete.
    ///
    /// # Errors
    /// When a limit is exceeded or the framing is broken. The decoder is of no further use then.
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError>;

    /// Says that the body has ended, and hands on what the end itself completes.
    ///
    /// # Errors
    /// When a limit is exceeded, or when the body ends within a frame whose framing tells.
    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError>;
}

/// How a response body is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON document per line.
    Ndjson,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
    /// The same, but its messages only carry pieces of a stream within: server-sent events, or JSON documents one
    /// per line.
    PayloadParts,
    /// The body is one frame.
    WholeBody,
}

impl Framing {
    /// A fresh decoder that holds at most `limit` bytes of an unfinished frame.
    pub fn decoder(self, limit: usize) -> Box<dyn Decoder> {
        match self {
            Self::Sse => Box::new(sse::SseDecoder::new(limit)),
            Self::Ndjson => Box::new(ndjson::NdjsonDecoder::new(limit)),
            Self::EventStream => Box::new(event_stream::EventStreamDecoder::new(limit)),
            Self::PayloadParts => Box::new(payload_parts::PayloadPartsDecoder::new(limit)),
            Self::WholeBody => Box::new(whole_body::WholeBodyDecoder::new(limit)),
        }
    }
}
