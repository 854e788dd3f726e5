//! A stream in pieces: SageMaker cuts what a container sends wherever it likes, and each piece is the payload of a
//! message of an event stream. The stream within is server-sent events or newline-delimited JSON, whichever the
//! container writes; its first byte tells.

use super::event_stream::EventStreamDecoder;
use super::{DecodeError, Decoder, Frame, FrameKind, Framing, OnFrame};

/// The event that carries a piece.
const PART: &[u8] = b"PayloadPart";

/// Decodes such a stream. Faults of the outer framing are handed on as they are. A frame of the stream within ends
/// where the message ends that completes it: nothing of a message is known before its checksum has come.
pub struct PayloadPartsDecoder {
    outer: EventStreamDecoder,
    /// Known since the first byte within.
    inner: Option<Box<dyn Decoder>>,
    /// Bytes of the longest message, and of the longest frame within.
    limit: usize,
    /// Where the latest message ends.
    end: u64,
}

impl PayloadPartsDecoder {
    /// `limit`: bytes of the longest message and of the longest frame within.
    pub fn new(limit: usize) -> Self {
        Self {
            outer: EventStreamDecoder::new(limit),
            inner: None,
            limit,
            end: 0,
        }
    }
}

/// No line of server-sent events begins as a JSON document does.
fn framing(first: u8) -> Framing {
    match first {
        b'{' | b'[' => Framing::Ndjson,
        _ => Framing::Sse,
    }
}

impl Decoder for PayloadPartsDecoder {
    fn feed(&mut self, bytes: &[u8], on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        let Self {
            outer,
            inner,
            limit,
            end,
        } = self;
        let mut within = Ok(());
        let fed = outer.feed(bytes, &mut |message| {
            if within.is_err() {
                return;
            }
            *end = message.end;
            if message.kind == FrameKind::Fault {
                return on_frame(message);
            }
            let piece = match message.event {
                Some(PART) => message.data,
                // Whatever the service adds.
                _ => return,
            };
            if inner.is_none() {
                let first = piece.trim_ascii_start().first();
                *inner = first.map(|first| framing(*first).decoder(*limit));
            }
            if let Some(decoder) = inner {
                within = decoder.feed(piece, &mut |frame| {
                    on_frame(Frame {
                        end: message.end,
                        ..frame
                    });
                });
            }
        });
        within.and(fed)
    }

    fn finish(&mut self, on_frame: &mut OnFrame<'_>) -> Result<(), DecodeError> {
        self.outer.finish(on_frame)?;
        let end = self.end;
        match &mut self.inner {
            Some(decoder) => decoder.finish(&mut |frame| on_frame(Frame { end, ..frame })),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event_stream::message;
    use crate::wire::tests::{Owned, decode, decode_some, split, texts};
    use proptest::prelude::*;

    fn part(piece: &[u8]) -> Vec<u8> {
        let headers = [(":message-type", "event"), (":event-type", "PayloadPart")];
        message(&headers, piece)
    }

    #[test]
    fn a_frame_ends_with_the_message_that_completes_it() {
        let parts = [
            part(b"\n"),
            part(b"data: {\"a\""),
            part(b":1}\n\ndata: 2\n\ndata: "),
            part(b"3\n"),
            part(b"\n"),
        ];
        let ends: Vec<u64> = (1..=parts.len())
            .map(|count| parts[..count].concat().len() as u64)
            .collect();
        let frames = decode(Framing::PayloadParts, &[&parts.concat()]).unwrap();
        assert_eq!(texts(&frames), ["{\"a\":1}", "2", "3"]);
        let found: Vec<u64> = frames.iter().map(|frame| frame.end).collect();
        assert_eq!(found, [ends[2], ends[2], ends[4]]);
    }

    #[test]
    fn lines_of_json_are_told_from_events_and_the_last_needs_no_end() {
        let parts = [part(b" {\"a\":"), part(b"1}\n{\"b\""), part(b":2}")];
        let whole = parts.concat();
        let frames = decode(Framing::PayloadParts, &[&whole]).unwrap();
        assert_eq!(texts(&frames), [" {\"a\":1}", "{\"b\":2}"]);
        let found: Vec<u64> = frames.iter().map(|frame| frame.end).collect();
        assert_eq!(
            found,
            [(parts[0].len() + parts[1].len()) as u64, whole.len() as u64]
        );
    }

    #[test]
    fn faults_come_through_and_other_events_do_not() {
        let fault = [
            (":message-type", "exception"),
            (":exception-type", "ModelStreamError"),
        ];
        let other = [(":message-type", "event"), (":event-type", "Tomorrow")];
        let stream = [
            part(b"data: 1\n\n"),
            message(&other, b"data: 9\n\n"),
            message(&fault, b"{}"),
        ];
        let frames = decode(Framing::PayloadParts, &[&stream.concat()]).unwrap();
        let [
            Owned {
                kind: FrameKind::Event,
                ..
            },
            last,
        ] = &frames[..]
        else {
            panic!("{frames:?}");
        };
        assert_eq!(last.kind, FrameKind::Fault);
        assert_eq!(last.event.as_deref(), Some(&b"ModelStreamError"[..]));
    }

    #[test]
    fn a_frame_within_has_the_limit_of_any_frame() {
        let parts: Vec<u8> = (0..5).flat_map(|_| part(&[b'x'; 1000])).collect();
        let (frames, ended) = decode_some(Framing::PayloadParts, &[&parts]);
        assert!(frames.is_empty());
        assert_eq!(ended, Err(DecodeError::Oversized { limit: 4096 }));
    }

    proptest! {
        #[test]
        fn however_the_pieces_and_the_bytes_are_cut_the_stream_within_is_the_same(
            text in "(data: [a-zé]{0,6}|event: x|: ping|\r\n|\n|\n\n|\\{\\}){0,30}",
            pieces in proptest::collection::vec(0usize..10_000, 0..8),
            cuts in proptest::collection::vec(0usize..10_000, 0..12),
        ) {
            let outer: Vec<u8> = split(text.as_bytes(), &pieces).into_iter().flat_map(part).collect();
            let frames = decode(Framing::PayloadParts, &[&outer]).unwrap();
            let first = text.trim_ascii_start().bytes().next().unwrap_or(b' ');
            let plain = decode(framing(first), &[text.as_bytes()]).unwrap();
            prop_assert_eq!(texts(&frames), texts(&plain));
            prop_assert_eq!(&decode(Framing::PayloadParts, &split(&outer, &cuts)).unwrap(), &frames);
        }
    }
}
