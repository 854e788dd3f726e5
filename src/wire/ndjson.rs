//! Newline-delimited JSON: one frame per non-blank line.

use super::lines::{LineEnd, LineSplitter};
use super::{DecodeError, Decoder, Frame, FrameKind, OnFrame};

/// Decodes newline-delimited JSON. Blank lines are none; a last line without an end counts.
pub struct NdjsonDecoder {
    lines: LineSplitter,
}

impl NdjsonDecoder {
    /// `limit`: bytes of the longest line.
    pub fn new(limit: usize) -> Self {
        Self {
            lines: LineSplitter::new(LineEnd::Lf, limit),
        }
    }
}

impl Decoder for NdjsonDecoder {
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        self.lines.feed(bytes, |line, end| {
            hand_on(line.bytes(), end, on_frame);
            Ok(())
        })
    }

    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        let line = self.lines.take_partial();
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        hand_on(line, self.lines.offset(), on_frame);
        Ok(())
    }
}

fn hand_on(line: &[u8], end: u64, on_frame: &mut OnFrame<'_>) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    on_frame(Frame {
        kind: FrameKind::Event,
        event: None,
        data: line,
        end,
    });
}
