//! A body that is one answer: nothing is known before its end.

use super::{DecodeError, Decoder, Frame, FrameKind, OnFrame, lines};

/// Collects the body into a single frame.
pub struct WholeBodyDecoder {
    limit: usize,
    body: Vec<u8>,
}

impl WholeBodyDecoder {
    /// `limit`: bytes of the longest body.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            body: Vec::new(),
        }
    }
}

impl Decoder for WholeBodyDecoder {
    fn feed(&mut self, bytes: &[u8], _on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        lines::check(self.body.len() + bytes.len(), self.limit)?;
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        if !self.body.is_empty() {
            on_frame(Frame {
                kind: FrameKind::Event,
                event: None,
                data: &self.body,
                end: self.body.len() as u64,
            });
        }
        Ok(())
    }
}
