//! The oracle is Amazon's own implementation: it writes the messages, and reads them and what has become of them.

use super::*;
use crate::wire::Framing;
use crate::wire::tests::{Owned, decode, decode_some, split, texts};
use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_eventstream::smithy::parse_response_headers;
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Peer};
use proptest::collection::vec;
use proptest::prelude::*;

fn text(name: &str, value: &str) -> Header {
    Header::new(
        name.to_owned(),
        HeaderValue::String(value.to_owned().into()),
    )
}

fn bytes_of(headers: Vec<Header>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = Peer::new_from_parts(headers, payload.to_vec());
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = vec![text(":message-type", "event"), text(":event-type", name)];
    bytes_of(headers, payload.as_bytes())
}

/// A message of any lengths and headers, whose checksums are right.
fn framed(total: u32, headers_len: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [total.to_be_bytes(), headers_len.to_be_bytes()].concat();
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(rest);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn framed_headers(headers: &[u8]) -> Vec<u8> {
    let len = u32::try_from(headers.len()).unwrap();
    framed(len + 16, len, headers)
}

fn fault(at: u64, fault: MessageFault) -> DecodeError {
    EventStreamError { at, fault }.into()
}

fn error(bytes: &[u8]) -> DecodeError {
    decode(Framing::EventStream, &[bytes]).unwrap_err()
}

#[test]
fn events_exceptions_and_errors_are_told_apart() {
    let exception = vec![
        text(":exception-type", "throttlingException"),
        text(":content-type", "application/json"),
        text(":message-type", "exception"),
    ];
    let broken = vec![
        text(":message-type", "error"),
        text(":error-code", "InternalFailure"),
        text(":error-message", "it broke"),
    ];
    let stream = [
        event("contentBlockDelta", "{}"),
        bytes_of(exception, br#"{"message":"slow down"}"#),
        bytes_of(broken, b""),
        bytes_of(vec![], b"bare"),
    ];
    let frames = decode(Framing::EventStream, &[&stream.concat()]).unwrap();
    let names = frames.iter().map(|frame| {
        let name = frame.event.as_deref();
        (
            frame.kind,
            name.map(|name| std::str::from_utf8(name).unwrap()),
        )
    });
    let expected = [
        (FrameKind::Event, Some("contentBlockDelta")),
        (FrameKind::Fault, Some("throttlingException")),
        (FrameKind::Fault, Some("InternalFailure")),
        (FrameKind::Event, None),
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    assert_eq!(
        texts(&frames),
        ["{}", r#"{"message":"slow down"}"#, "it broke", "bare"]
    );
}

/// From the specification's test vectors.
#[test]
fn the_smallest_messages_are_as_published() {
    let empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff";
    let bare = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36";
    let frames = decode(Framing::EventStream, &[empty, bare]).unwrap();
    assert_eq!(texts(&frames), ["", "{'foo':'bar'}"]);
    assert_eq!(frames.iter().map(|f| f.end).collect::<Vec<_>>(), [16, 45]);
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    for (total, headers) in [
        (0, 0),
        (15, 0),
        (16, 1),
        (100, 85),
        (0, u32::MAX),
        (u32::MAX, u32::MAX),
        (15, u32::MAX - 15),
    ] {
        let expected = fault(0, MessageFault::Lengths { total, headers });
        assert_eq!(error(&framed(total, headers, b"")), expected);
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_by_its_prelude() {
    let oversized = DecodeError::Oversized { limit: 4096 };
    assert_eq!(error(&framed(4097, 0, b"")), oversized);
    assert_eq!(error(&framed(u32::MAX, 0, b"")), oversized);
    let longest = framed(4096, 0, &[b'x'; 4080]);
    let frames = decode(Framing::EventStream, &[&longest]).unwrap();
    assert_eq!(frames[0].data.len(), 4080);
}

#[test]
fn faults_say_what_and_where() {
    let first = event("ping", "");
    let after_first = |next: &[u8]| error(&[&first, next].concat()).to_string();
    let mut noise = framed(16, 0, b"");
    noise[3] ^= 1;
    assert_eq!(
        after_first(&noise),
        "the event-stream message at byte 57 of the body declares 0x05c248eb as its prelude's checksum, but its \
         prelude has 0x38a2615b"
    );
    let mut noise = framed(16, 0, b"");
    noise[15] ^= 1;
    assert_eq!(
        after_first(&noise),
        "the event-stream message at byte 57 of the body declares 0x7d98c8fe as its checksum, but its bytes have \
         0x7d98c8ff"
    );
    assert_eq!(
        after_first(&framed(20, 5, b"")),
        "the event-stream message at byte 57 of the body declares 20 bytes in all, which cannot hold 5 bytes of \
         headers and 16 of framing"
    );
    assert_eq!(
        after_first(&event("a", "b")[..20]),
        "the event-stream message at byte 57 of the body ends after 20 of its bytes"
    );
    for (headers, expected) in [
        (
            &b"\x01a\x00\x01b\x0a"[..],
            "15 whose value has the type 10, which is none of 0 to 9",
        ),
        (
            b"\x01a\x00\x01b\x07\x00\x05four",
            "15 that is longer than the headers are",
        ),
        (b"\x01\xff\x00", "12 that is not UTF-8"),
    ] {
        let expected = format!(
            "the event-stream message at byte 57 of the body has a header at its byte {expected}"
        );
        assert_eq!(after_first(&framed_headers(headers)), expected);
    }
}

fn value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::Byte),
        any::<i16>().prop_map(HeaderValue::Int16),
        any::<i32>().prop_map(HeaderValue::Int32),
        any::<i64>().prop_map(HeaderValue::Int64),
        vec(any::<u8>(), 0..20).prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
        "\\PC{0,20}".prop_map(|text| HeaderValue::String(text.into())),
        any::<i64>().prop_map(|millis| HeaderValue::Timestamp(DateTime::from_millis(millis))),
        any::<u128>().prop_map(HeaderValue::Uuid),
    ]
}

/// Headers of which many mean something, in any order and number.
fn headers() -> impl Strategy<Value = Vec<Header>> {
    let meant = prop_oneof![
        ("event|exception|error|other").prop_map(|kind| text(":message-type", &kind)),
        "[a-zA-Z]{0,8}".prop_map(|name| text(":event-type", &name)),
        "[a-zA-Z]{0,8}".prop_map(|name| text(":exception-type", &name)),
        "[a-zA-Z]{0,8}".prop_map(|name| text(":error-code", &name)),
        ("[:a-z-]{0,9}|:event-type|\\PC{0,9}", value())
            .prop_map(|(name, value)| Header::new(name, value)),
    ];
    vec(meant, 0..6)
}

fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let message = (headers(), vec(any::<u8>(), 0..100))
        .prop_map(|(headers, payload)| bytes_of(headers, &payload));
    vec(message, 0..6)
}

/// Checks a frame against what the peer's own client makes of the same bytes.
fn agrees(frame: &Owned, bytes: &[u8]) {
    let peer = read_message_from(bytes).unwrap();
    let Ok(said) = parse_response_headers(&peer) else {
        // An error, or what that client refuses as no message of a service.
        return;
    };
    let kind = match said.message_type.as_str() {
        "exception" => FrameKind::Fault,
        _ => FrameKind::Event,
    };
    assert_eq!(frame.kind, kind);
    assert_eq!(
        frame.event.as_deref(),
        Some(&said.smithy_type.as_bytes()[..])
    );
    assert_eq!(&frame.data, peer.payload());
}

/// Where each message begins.
fn starts(messages: &[Vec<u8>]) -> impl Iterator<Item = usize> {
    messages.iter().scan(0, |at, message| {
        let start = *at;
        *at += message.len();
        Some(start)
    })
}

proptest! {
    #[test]
    fn any_split_of_what_the_peer_writes_is_read_as_the_peer_reads_it(
        messages in stream(),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let whole = messages.concat();
        let frames = decode(Framing::EventStream, &[&whole]).unwrap();
        prop_assert_eq!(frames.len(), messages.len());
        for ((frame, message), start) in frames.iter().zip(&messages).zip(starts(&messages)) {
            agrees(frame, message);
            prop_assert_eq!(frame.end, (start + message.len()) as u64);
        }
        prop_assert_eq!(&decode(Framing::EventStream, &split(&whole, &cuts)).unwrap(), &frames);
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        prop_assert_eq!(&decode(Framing::EventStream, &single).unwrap(), &frames);
    }

    #[test]
    fn a_changed_byte_is_an_error_where_it_is(
        messages in stream(),
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
        cuts in vec(any::<usize>(), 0..6),
    ) {
        prop_assume!(!messages.is_empty());
        let mut bytes = messages.concat();
        let place = place.index(bytes.len());
        let (nth, start) = starts(&messages)
            .enumerate()
            .take_while(|(_, start)| *start <= place)
            .last()
            .unwrap();
        bytes[place] ^= change;
        let (frames, ended) = decode_some(Framing::EventStream, &split(&bytes, &cuts));
        prop_assert_eq!(frames.len(), nth);
        let Err(DecodeError::EventStream(error)) = ended else {
            panic!("{ended:?}");
        };
        prop_assert_eq!(error.at, start as u64);
        let in_prelude = matches!(error.fault, MessageFault::PreludeChecksum { .. });
        prop_assert_eq!(in_prelude, place - start < 12);
        assert!(in_prelude || matches!(error.fault, MessageFault::MessageChecksum { .. }));
    }

    #[test]
    fn a_body_that_ends_within_a_message_is_truncated(
        messages in stream(),
        place in any::<prop::sample::Index>(),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = messages.concat();
        let len = place.index(whole.len() + 1);
        let (frames, ended) = decode_some(Framing::EventStream, &split(&whole[..len], &cuts));
        let at = frames.last().map_or(0, |frame| frame.end);
        let had = len - usize::try_from(at).unwrap();
        let expected = match had {
            0 => Ok(()),
            _ => Err(fault(at, MessageFault::Truncated { had })),
        };
        prop_assert_eq!(ended, expected);
        let complete = starts(&messages).skip(1).chain([whole.len()]).filter(|end| *end <= len);
        prop_assert_eq!(frames.len(), complete.count().min(messages.len()));
    }

    #[test]
    fn what_we_write_is_what_the_peer_writes(
        headers in vec(("[:a-z-]{0,9}|\\PC{0,9}", "\\PC{0,20}"), 0..6),
        payload in vec(any::<u8>(), 0..100),
    ) {
        let ours: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let theirs = ours.iter().map(|(name, value)| text(name, value)).collect();
        prop_assert_eq!(message(&ours, &payload), bytes_of(theirs, &payload));
    }

    #[test]
    fn headers_that_the_peer_would_refuse_are_refused(
        headers in headers(),
        place in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..4),
        removed in 0usize..4,
    ) {
        let valid = bytes_of(headers, b"");
        let mut bytes = valid[12..valid.len() - 4].to_vec();
        let at = place.index(bytes.len() + 1);
        bytes.splice(at..(at + removed).min(bytes.len()), noise);
        let message = framed_headers(&bytes);
        match (decode(Framing::EventStream, &[&message]), read_message_from(&message[..])) {
            (Ok(frames), Ok(_)) => agrees(&frames[0], &message),
            (Err(DecodeError::EventStream(error)), Err(_)) => {
                assert!(matches!(error.fault, MessageFault::Header { .. }));
            }
            (ours, theirs) => panic!("ours: {ours:?}\ntheirs: {theirs:?}"),
        }
    }
}
