//! Server-sent events, by the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream".
//!
//! One deviation, on purpose: some servers close right behind the last `data:` line, without the
//! blank line that the standard wants. Where all lines are complete, that event still counts.

use super::lines::{Line, LineEnd, LineSplitter, check};
use super::{DecodeError, Decoder, Frame, FrameKind, OnFrame};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Decodes an event stream. Comments, `id` and `retry` are read over; events without data are none.
pub struct SseDecoder {
    lines: LineSplitter,
    event: PendingEvent,
}

/// The event so far, as far as it is kept: its data is, once it has several lines or more bytes must
/// come.
struct PendingEvent {
    limit: usize,
    first_line: bool,
    name: Option<Vec<u8>>,
    has_data: bool,
    data: Vec<u8>,
}

impl SseDecoder {
    /// `limit`: bytes of the longest line, and of the longest event.
    pub fn new(limit: usize) -> Self {
        Self {
            lines: LineSplitter::new(LineEnd::Any, limit),
            event: PendingEvent {
                limit,
                first_line: true,
                name: None,
                has_data: false,
                data: Vec::new(),
            },
        }
    }
}

impl Decoder for SseDecoder {
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        let Self { lines, event } = self;
        // The event's only line of data so far, where it lies in `bytes`.
        let mut held = None;
        lines.feed(bytes, |line, end| {
            event.on_line(line, end, &mut held, on_frame)
        })?;
        held.map_or(Ok(()), |data| event.append(data))
    }

    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        if self.lines.take_partial().is_empty() {
            self.event
                .dispatch(self.lines.offset(), &mut None, on_frame);
        }
        Ok(())
    }
}

impl PendingEvent {
    fn on_line<'fed>(
        &mut self,
        line: Line<'fed, '_>,
        end: u64,
        held: &mut Option<&'fed [u8]>,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(), DecodeError> {
        let bytes = match std::mem::take(&mut self.first_line) {
            true => line.bytes().strip_prefix(BOM).unwrap_or(line.bytes()),
            false => line.bytes(),
        };
        if bytes.is_empty() {
            self.dispatch(end, held, on_frame);
            return Ok(());
        }
        let (field, value_at) = field(bytes);
        let value = bytes.get(value_at..).unwrap_or_default();
        match field {
            b"data" => self.data(line, value, held)?,
            // llama.cpp's server wrote its errors as a field of this name until September 2025.
            b"error" => {
                self.name = Some(b"error".to_vec());
                self.data(line, value, held)?;
            }
            b"event" => self.name = Some(value.to_vec()),
            _ => {}
        }
        Ok(())
    }

    /// Takes a line of data, which is the end of `line`.
    fn data<'fed>(
        &mut self,
        line: Line<'fed, '_>,
        value: &[u8],
        held: &mut Option<&'fed [u8]>,
    ) -> Result<(), DecodeError> {
        if let Some(before) = held.take() {
            self.append(before)?;
        }
        match line {
            Line::Fed(fed) if !self.has_data => {
                *held = fed.get(fed.len().saturating_sub(value.len())..);
                Ok(())
            }
            _ => self.append(value),
        }
    }

    fn append(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        if std::mem::replace(&mut self.has_data, true) {
            check(self.data.len() + 1 + value.len(), self.limit)?;
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        Ok(())
    }

    fn dispatch(&mut self, end: u64, held: &mut Option<&[u8]>, on_frame: &mut OnFrame<'_>) {
        let name = self.name.take();
        let (kind, event) = (FrameKind::Event, name.as_deref());
        if let Some(data) = held.take() {
            on_frame(Frame {
                kind,
                event,
                data,
                end,
            });
        } else if std::mem::take(&mut self.has_data) {
            let data = &self.data;
            on_frame(Frame {
                kind,
                event,
                data,
                end,
            });
            self.data.clear();
        }
    }
}

/// A line's field name, and where its value begins.
fn field(line: &[u8]) -> (&[u8], usize) {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let (name, rest) = line.split_at(colon);
    let skipped = match rest {
        [b':', b' ', ..] => 2,
        [b':', ..] => 1,
        _ => 0,
    };
    (name, colon + skipped)
}

#[cfg(test)]
mod tests {
    use crate::wire::Framing;
    use crate::wire::tests::{decode, texts};

    #[test]
    fn events_follow_the_standard() {
        let stream = b"\xEF\xBB\xBF: hello\r\n\r\ndata: one\r\n\r\ndata:two\ndata: lines\n\nevent: ping\n\nid: 7\rdata\r\rdata: [DONE]\n";
        let frames = decode(Framing::Sse, &[stream]).unwrap();
        assert_eq!(texts(&frames), ["one", "two\nlines", "", "[DONE]"]);
    }

    #[test]
    fn an_event_cut_in_the_middle_of_a_line_is_none() {
        let frames = decode(Framing::Sse, &[b"data: one\n\ndata: tw"]).unwrap();
        assert_eq!(texts(&frames), ["one"]);
    }
}
