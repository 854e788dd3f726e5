//! Layer 1: sans-IO decoders, from bytes to frames. "Incomplete" is a state and not an error, and
//! every split of the same bytes gives the same frames.

mod lines;
pub mod ndjson;
pub mod sse;
pub mod whole_body;

/// One decoded unit: an SSE event, a JSON line, a whole body. It borrows from the bytes that were
/// fed, or from the decoder where they came in pieces: decoding a frame allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's name, where the framing has names and the peer gave one. Not necessarily UTF-8.
    pub event: Option<&'a [u8]>,
    /// The payload, as sent. Not necessarily UTF-8.
    pub data: &'a [u8],
    /// Offset in the body just behind the frame's last byte.
    pub end: u64,
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
}

/// Turns bytes into frames. Feed it everything that arrives, then call `finish` once.
pub trait Decoder: Send + Sync {
    /// Takes the next bytes and hands on every frame that they complete.
    ///
    /// # Errors
    /// When a limit is exceeded. The decoder is of no further use then.
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError>;

    /// Says that the body has ended, and hands on what the end itself completes.
    ///
    /// # Errors
    /// When a limit is exceeded.
    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError>;
}

/// How a response body is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON document per line.
    Ndjson,
    /// The body is one frame.
    WholeBody,
}

impl Framing {
    /// A fresh decoder that holds at most `limit` bytes of an unfinished frame.
    pub fn decoder(self, limit: usize) -> Box<dyn Decoder> {
        match self {
            Self::Sse => Box::new(sse::SseDecoder::new(limit)),
            Self::Ndjson => Box::new(ndjson::NdjsonDecoder::new(limit)),
            Self::WholeBody => Box::new(whole_body::WholeBodyDecoder::new(limit)),
        }
    }
}
