//! Newline-delimited JSON: one frame per non-blank line.

use super::lines::{LineEnd, LineSplitter};
use super::{DecodeError, Decoder, Frame};

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
    fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), DecodeError> {
        self.lines.feed(bytes, |line, end| {
            push_line(line, end, frames);
            Ok(())
        })
    }

    fn finish(&mut self, frames: &mut Vec<Frame>) -> Result<(), DecodeError> {
        let line = self.lines.take_partial();
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        push_line(line, self.lines.offset(), frames);
        Ok(())
    }
}

fn push_line(line: &[u8], end: u64, frames: &mut Vec<Frame>) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    frames.push(Frame {
        event: None,
        data: line.to_vec(),
        end,
    });
}
