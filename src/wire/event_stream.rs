//! `application/vnd.amazon.eventstream`, the binary framing of Amazon's streamed answers: Bedrock's
//! `ConverseStream` and `InvokeModelWithResponseStream`, SageMaker's `InvokeEndpointWithResponseStream`.
//!
//! A message, by the Smithy specification "Amazon Event Stream", all numbers big-endian:
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | length of the whole message, T |
//! | 4 | length of its headers, H |
//! | 4 | CRC-32 of the 8 bytes before: the prelude's checksum |
//! | H | headers: length of the name in 1 byte, name, type in 1 byte, value |
//! | T − H − 16 | payload |
//! | 4 | CRC-32 of all bytes before: the message's checksum |
//!
//! `:message-type` says what a message is. An `event` carries its name in `:event-type`. An `exception`, one of those
//! that the API names, carries it in `:exception-type` and its details in the payload. An `error`, any other, carries a
//! name in `:error-code` and its details in `:error-message`. The last two are [`FrameKind::Fault`]. A message of
//! another type, or of none, is taken as an event, as botocore does.

mod headers;
#[cfg(test)]
mod tests;
mod write;

use super::lines::check;
use super::{DecodeError, Decoder, Frame, FrameKind, OnFrame};
pub use headers::HeaderFault;
use headers::Headers;
pub use write::message;

/// Two lengths and their checksum.
const PRELUDE: usize = 12;
/// A checksum's bytes.
const CHECKSUM: usize = 4;

/// What is wrong with a message, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event-stream message at byte {at} of the body {fault}")]
pub struct EventStreamError {
    /// Offset in the body of the message's first byte.
    pub at: u64,
    /// What is wrong with it.
    pub fault: MessageFault,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageFault {
    /// The lengths are not those that were sent, or this is no event stream.
    #[error(
        "declares {declared:#010x} as its prelude's checksum, but its prelude has {computed:#010x}"
    )]
    PreludeChecksum {
        /// As the peer says.
        declared: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// The message is not the one that was sent.
    #[error("declares {declared:#010x} as its checksum, but its bytes have {computed:#010x}")]
    MessageChecksum {
        /// As the peer says.
        declared: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// The headers, the prelude and the checksums do not fit into the message.
    #[error(
        "declares {total} bytes in all, which cannot hold {headers} bytes of headers and 16 of framing"
    )]
    Lengths {
        /// The declared length of the message, in bytes.
        total: u32,
        /// The declared length of its headers, in bytes.
        headers: u32,
    },
    /// The checksums are right, but a header cannot be read.
    #[error("has a header at its byte {at} {fault}")]
    Header {
        /// Offset in the message of the header's first byte.
        at: usize,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// The body ended within the message.
    #[error("ends after {had} of its bytes")]
    Truncated {
        /// How many bytes there were.
        had: usize,
    },
}

/// Decodes an event stream.
pub struct EventStreamDecoder {
    limit: usize,
    /// The message so far, where it did not come whole.
    partial: Vec<u8>,
    /// Of the message in `partial`, once it has come.
    prelude: Option<Prelude>,
    /// Offset in the body of the message that is next or has begun.
    at: u64,
}

impl EventStreamDecoder {
    /// `limit`: bytes of the longest message, its framing and headers included.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            prelude: None,
            at: 0,
        }
    }

    /// Reads the prelude, once it has come.
    fn prelude(&self, bytes: &[u8]) -> Result<Option<Prelude>, DecodeError> {
        let prelude = Prelude::read(bytes).map_err(|fault| self.error(fault))?;
        if let Some(prelude) = prelude {
            check(prelude.total, self.limit)?;
        }
        Ok(prelude)
    }

    /// Takes bytes of a message that has begun, and gives back those behind what it needs next.
    fn resume<'fed>(
        &mut self,
        fed: &'fed [u8],
        on_frame: &mut OnFrame<'_>,
    ) -> Result<&'fed [u8], DecodeError> {
        let wanted = self.prelude.map_or(PRELUDE, |prelude| prelude.total);
        let missing = wanted.saturating_sub(self.partial.len());
        let (taken, rest) = fed.split_at(missing.min(fed.len()));
        self.partial.extend_from_slice(taken);
        if self.partial.len() < wanted {
            return Ok(rest);
        }
        let Some(prelude) = self.prelude else {
            self.prelude = self.prelude(&self.partial)?;
            return Ok(rest);
        };
        let whole = std::mem::take(&mut self.partial);
        self.message(prelude, &whole, on_frame)?;
        self.partial = whole;
        self.partial.clear();
        self.prelude = None;
        Ok(rest)
    }

    fn message(
        &mut self,
        prelude: Prelude,
        bytes: &[u8],
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(), DecodeError> {
        let end = self.at.saturating_add(bytes.len() as u64);
        let message = Message::read(prelude, bytes).map_err(|fault| self.error(fault))?;
        on_frame(message.frame(end));
        self.at = end;
        Ok(())
    }

    fn error(&self, fault: MessageFault) -> DecodeError {
        EventStreamError { at: self.at, fault }.into()
    }
}

impl Decoder for EventStreamDecoder {
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.partial.is_empty() {
                rest = self.resume(rest, on_frame)?;
                continue;
            }
            let prelude = self.prelude(rest)?;
            let whole = prelude.and_then(|prelude| {
                let (message, behind) = rest.split_at_checked(prelude.total)?;
                Some((prelude, message, behind))
            });
            let Some((prelude, message, behind)) = whole else {
                self.prelude = prelude;
                self.partial.extend_from_slice(rest);
                break;
            };
            self.message(prelude, message, on_frame)?;
            rest = behind;
        }
        Ok(())
    }

    fn finish(&mut self, _on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        match self.partial.len() {
            0 => Ok(()),
            had => Err(self.error(MessageFault::Truncated { had })),
        }
    }
}

/// Lengths that fit each other, in bytes.
#[derive(Clone, Copy)]
struct Prelude {
    total: usize,
    headers: usize,
}

impl Prelude {
    /// Reads the beginning of a message, where `bytes` are enough for it.
    fn read(bytes: &[u8]) -> Result<Option<Self>, MessageFault> {
        let Some(&[t0, t1, t2, t3, h0, h1, h2, h3, c0, c1, c2, c3]) =
            bytes.first_chunk::<PRELUDE>()
        else {
            return Ok(None);
        };
        let declared = u32::from_be_bytes([c0, c1, c2, c3]);
        let computed = crc32fast::hash(&[t0, t1, t2, t3, h0, h1, h2, h3]);
        if declared != computed {
            return Err(MessageFault::PreludeChecksum { declared, computed });
        }
        let total = u32::from_be_bytes([t0, t1, t2, t3]);
        let headers = u32::from_be_bytes([h0, h1, h2, h3]);
        // Sums of 64 bits, which no length can overflow.
        let least = u64::from(headers) + (PRELUDE + CHECKSUM) as u64;
        let sizes = usize::try_from(total)
            .ok()
            .zip(usize::try_from(headers).ok());
        match sizes {
            Some((total, headers)) if total as u64 >= least => Ok(Some(Self { total, headers })),
            _ => Err(MessageFault::Lengths { total, headers }),
        }
    }
}

/// A message whose checksum is right and whose headers can be read.
struct Message<'a> {
    headers: Headers<'a>,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the whole message that `prelude` begins.
    fn read(prelude: Prelude, bytes: &'a [u8]) -> Result<Self, MessageFault> {
        let truncated = MessageFault::Truncated { had: bytes.len() };
        let (covered, declared) = bytes.split_last_chunk::<CHECKSUM>().ok_or(truncated)?;
        let declared = u32::from_be_bytes(*declared);
        let computed = crc32fast::hash(covered);
        if declared != computed {
            return Err(MessageFault::MessageChecksum { declared, computed });
        }
        let (headers, payload) = covered
            .get(PRELUDE..)
            .and_then(|rest| rest.split_at_checked(prelude.headers))
            .ok_or(truncated)?;
        let headers = Headers::read(headers).map_err(|(at, fault)| MessageFault::Header {
            at: PRELUDE + at,
            fault,
        })?;
        Ok(Self { headers, payload })
    }

    fn frame(&self, end: u64) -> Frame<'a> {
        let headers = &self.headers;
        let (kind, event, data) = match headers.message_type {
            Some("exception") => (FrameKind::Fault, headers.exception_type, self.payload),
            Some("error") => {
                let details = headers.error_message.map_or(self.payload, str::as_bytes);
                (FrameKind::Fault, headers.error_code, details)
            }
            _ => (FrameKind::Event, headers.event_type, self.payload),
        };
        Frame {
            kind,
            event: event.map(str::as_bytes),
            data,
            end,
        }
    }
}
