//! Server-sent events, by the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream".
//!
//! One deviation, on purpose: some servers close right behind the last `data:` line, without the
//! blank line that the standard wants. Where all lines are complete, that event still counts.

use super::lines::{LineEnd, LineSplitter, check};
use super::{DecodeError, Decoder, Frame};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Decodes an event stream. Comments, `id` and `retry` are read over; events without data are none.
pub struct SseDecoder {
    lines: LineSplitter,
    event: PendingEvent,
}

struct PendingEvent {
    limit: usize,
    first_line: bool,
    name: Option<String>,
    data: Option<Vec<u8>>,
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
                data: None,
            },
        }
    }
}

impl Decoder for SseDecoder {
    fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), DecodeError> {
        let event = &mut self.event;
        self.lines
            .feed(bytes, |line, end| event.on_line(line, end, frames))
    }

    fn finish(&mut self, frames: &mut Vec<Frame>) -> Result<(), DecodeError> {
        if self.lines.take_partial().is_empty() {
            self.event.dispatch(self.lines.offset(), frames);
        }
        Ok(())
    }
}

impl PendingEvent {
    fn on_line(
        &mut self,
        line: &[u8],
        end: u64,
        frames: &mut Vec<Frame>,
    ) -> Result<(), DecodeError> {
        let line = match std::mem::take(&mut self.first_line) {
            true => line.strip_prefix(BOM).unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            self.dispatch(end, frames);
            return Ok(());
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => self.append(value)?,
            // llama.cpp's server wrote its errors as a field of this name until September 2025.
            b"error" => {
                self.name = Some("error".to_owned());
                self.append(value)?;
            }
            b"event" => self.name = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                check(data.len() + 1 + value.len(), self.limit)?;
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, end: u64, frames: &mut Vec<Frame>) {
        let event = self.name.take();
        if let Some(data) = self.data.take() {
            frames.push(Frame { event, data, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Framing;
    use proptest::prelude::*;

    fn decode(framing: Framing, parts: &[&[u8]]) -> Result<Vec<Frame>, DecodeError> {
        let mut decoder = framing.decoder(4096);
        let mut frames = Vec::new();
        for part in parts {
            decoder.feed(part, &mut frames)?;
        }
        decoder.finish(&mut frames)?;
        Ok(frames)
    }

    fn texts(frames: &[Frame]) -> Vec<String> {
        frames
            .iter()
            .map(|frame| String::from_utf8_lossy(&frame.data).into_owned())
            .collect()
    }

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

    #[test]
    fn a_last_json_line_needs_no_line_end() {
        let frames = decode(Framing::Ndjson, &[b"{\"a\":1}\r\n\n{\"b\":2}"]).unwrap();
        assert_eq!(texts(&frames), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(frames.iter().map(|f| f.end).collect::<Vec<_>>(), [9, 17]);
    }

    #[test]
    fn a_line_beyond_the_limit_is_an_error_and_not_memory() {
        for framing in [Framing::Sse, Framing::Ndjson, Framing::WholeBody] {
            let long = vec![b'x'; 5000];
            let error = decode(framing, &[&long]).unwrap_err();
            assert_eq!(error, DecodeError::Oversized { limit: 4096 });
        }
    }

    fn split(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|pair| bytes[pair[0]..pair[1]].to_vec())
            .collect()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            text in "(data: [a-zé\r\n]{0,6}|event: x|: ping|\r\n|\n|\r|\n\n|\\{\\}){0,30}",
            cuts in proptest::collection::vec(0usize..10_000, 0..12),
        ) {
            for framing in [Framing::Sse, Framing::Ndjson, Framing::WholeBody] {
                let whole = decode(framing, &[text.as_bytes()]);
                let parts = split(text.as_bytes(), &cuts);
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&decode(framing, &parts), &whole);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for framing in [Framing::Sse, Framing::Ndjson, Framing::WholeBody] {
                let _ = decode(framing, &[&bytes]);
            }
        }
    }
}
