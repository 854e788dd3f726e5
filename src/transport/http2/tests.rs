//! RFC 9113 without sockets: any cut of the bytes reads the same, and each wrong ends as what it is.

use super::frame::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY, write};
use super::*;
use bytes::Bytes;
use proptest::prelude::*;

/// A frame of the peer.
fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, kind, flags, stream, payload);
    bytes
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode(&mut block, name.as_bytes(), value.as_bytes(), false);
    }
    block
}

fn hello() -> Vec<u8> {
    frame(Kind::Settings, 0, 0, &[])
}

fn head(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS | flags, 1, &block(fields))
}

fn ok() -> Vec<u8> {
    head(&[(":status", "200")], 0)
}

fn data(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(Kind::Data, flags, 1, payload)
}

/// A connection whose first request is written.
fn asked(body: usize) -> Http2 {
    let mut connection = Http2::new(true);
    let body = Bytes::from(vec![b'x'; body]);
    let request = Request::post("/v1?a=b").header("host", "h:1");
    connection.request(&request.body(body).unwrap());
    connection
}

/// What has come of a response.
#[derive(Debug, Default, PartialEq)]
struct Read {
    status: Option<u16>,
    body: Vec<u8>,
    /// Behind which byte of the stream each byte of the body was.
    ends: Vec<usize>,
    over: bool,
}

/// Feeds the pieces one after the other.
fn read<'a>(
    connection: &mut Http2,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Read, HttpError> {
    let (mut read, mut before) = (Read::default(), 0);
    for piece in pieces {
        let mut bytes = piece;
        loop {
            match connection.next(&mut bytes)? {
                Some(Event::Head(head)) => read.status = Some(head.status.as_u16()),
                Some(Event::Data(part)) => {
                    read.body.extend_from_slice(part);
                    let end = before + piece.len() - bytes.len();
                    read.ends.extend(end - part.len() + 1..=end);
                }
                Some(Event::End) => {
                    read.over = true;
                    connection.idle(bytes)?;
                    break;
                }
                None => {
                    assert!(bytes.is_empty(), "it wants more and leaves some");
                    break;
                }
            }
        }
        before += piece.len();
    }
    Ok(read)
}

fn answer(parts: &[Vec<u8>]) -> Result<Read, HttpError> {
    read(&mut asked(0), [parts.concat().as_slice()])
}

#[test]
fn a_request_is_written_with_its_preface_and_the_names_of_http2() {
    let mut connection = Http2::new(true);
    let request = Request::post("/v1?a=b")
        .header("host", "h:1")
        .header("connection", "keep-alive")
        .header("x-a", "1")
        .body(Bytes::from_static(b"hello"));
    connection.request(&request.unwrap());
    let written = connection.outgoing();
    let (preface, rest) = written.split_at(PREFACE.len());
    assert_eq!(preface, PREFACE);
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/v1?a=b"),
        (":authority", "h:1"),
        ("content-length", "5"),
        ("x-a", "1"),
    ];
    let tail = [head(&fields, 0), data(END_STREAM, b"hello")].concat();
    assert!(rest.ends_with(&tail));
    assert!(connection.is_sent() && connection.outgoing().is_empty());
}

#[test]
fn a_body_is_written_as_far_as_the_peer_allows() {
    let mut connection = asked(200_000);
    let mut sent = connection.outgoing().len();
    let wanted = 200_000;
    assert!(sent < 70_000 && !connection.is_sent());
    let more = |stream: u32, by: u32| frame(Kind::WindowUpdate, 0, stream, &by.to_be_bytes());
    // On one of the two alone nothing moves.
    read(&mut connection, [&*[hello(), more(0, wanted)].concat()]).unwrap();
    assert_eq!(connection.outgoing(), frame(Kind::Settings, ACK, 0, &[]));
    read(&mut connection, [&*more(1, 10_000)]).unwrap();
    let part = connection.outgoing();
    assert_eq!(part.len(), frame::HEADER + 10_000);
    sent += part.len();
    // A larger first window counts for the stream that is open, and a larger frame is used.
    let settings = [0, 4, 0, 16, 0, 0, 0, 5, 0, 1, 0, 0];
    read(&mut connection, [&*frame(Kind::Settings, 0, 0, &settings)]).unwrap();
    let rest = connection.outgoing();
    assert!(connection.is_sent());
    let frames = rest.len() + sent - 200_000;
    assert!(frames < 400, "{frames} bytes are not the body's");
    let last = rest.len() - (200_000 - FIRST_WINDOW as usize - 10_000) % 65_536 - frame::HEADER;
    assert_eq!(rest[last + 4], END_STREAM);
    // A smaller one is below zero then, and what is lacking is waited for.
    let settings = [0, 4, 0, 0, 0, 0];
    read(&mut connection, [&*frame(Kind::Settings, 0, 0, &settings)]).unwrap();
    assert!(connection.sender.allow(1, 1).is_ok());
}

#[test]
fn consent_is_renewed_long_before_it_is_used_up() {
    let mut connection = asked(0);
    connection.outgoing();
    read(&mut connection, [&*[hello(), ok()].concat()]).unwrap();
    connection.outgoing();
    let part = data(0, &[0; frame::PAYLOAD]);
    let mut renewed = [0; 2];
    for _ in 0..WINDOW / frame::PAYLOAD as u32 {
        let mut bytes = &*part;
        connection.begin_for_test(&mut bytes);
        let said = connection.outgoing();
        for (index, chunk) in said.chunks(frame::HEADER + 4).enumerate() {
            renewed[index] += u32::from_be_bytes(*chunk.last_chunk().unwrap());
        }
    }
    assert_eq!(renewed, [WINDOW; 2]);
}

impl Http2 {
    fn begin_for_test(&mut self, bytes: &mut &[u8]) {
        while !bytes.is_empty() {
            self.advance(bytes).unwrap();
        }
    }
}

#[test]
fn pings_and_settings_are_answered_and_interim_responses_and_trailers_read_over() {
    let mut connection = asked(0);
    connection.outgoing();
    let stream = [
        hello(),
        head(&[(":status", "103"), ("link", "x")], 0),
        frame(Kind::Ping, 0, 0, b"12345678"),
        frame(Kind::Ping, ACK, 0, b"87654321"),
        head(&[(":status", "200"), ("content-length", "2")], 0),
        data(0, b"o"),
        data(0, b""),
        frame(Kind::Other, 0xff, 7, b"whatever"),
        data(0, b"k"),
        head(&[("x-trailer", "1")], END_STREAM),
    ];
    let read = read(&mut connection, [&*stream.concat()]).unwrap();
    assert_eq!(
        (read.status, &*read.body, read.over),
        (Some(200), &b"ok"[..], true)
    );
    let settings = frame(Kind::Settings, ACK, 0, &[]);
    let ping = frame(Kind::Ping, ACK, 0, b"12345678");
    assert_eq!(connection.outgoing(), [settings, ping].concat());
    assert!(connection.is_reusable());
    let next = Request::get("/").body(Bytes::new()).unwrap();
    connection.request(&next);
    assert_eq!(connection.sender.stream(), 3);
    assert!(!connection.is_reusable());
}

#[test]
fn a_peer_that_gives_up_says_which_and_why() {
    let reset = |code: u32| frame(Kind::ResetStream, 0, 1, &code.to_be_bytes());
    let away = |last: u32, code: u32| {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        frame(Kind::GoAway, 0, 0, &payload)
    };
    let said = |parts: &[Vec<u8>]| answer(parts).unwrap_err().to_string();
    let refused = "the peer gave the stream up: REFUSED_STREAM (0x7)";
    assert_eq!(said(&[hello(), reset(7)]), refused);
    let cancelled = "the peer gave the stream up: CANCEL (0x8)";
    assert_eq!(said(&[hello(), ok(), data(0, b"a"), reset(8)]), cancelled);
    let unknown = "the peer gave the stream up: an unknown code (0x99)";
    assert_eq!(said(&[hello(), reset(0x99)]), unknown);
    let away_now = "the peer gave the connection up: NO_ERROR (0x0)";
    assert_eq!(said(&[hello(), away(0, 0)]), away_now);
    // What was begun is still answered, but nothing else will be.
    let mut connection = asked(0);
    let parts = [hello(), away(1, 11), ok(), data(0, b"a")].concat();
    assert_eq!(read(&mut connection, [&*parts]).unwrap().body, b"a");
    let calm = "the peer gave the connection up: ENHANCE_YOUR_CALM (0xb)";
    assert_eq!(connection.end_of_stream().unwrap_err().to_string(), calm);
    read(&mut connection, [&*data(END_STREAM, b"b")]).unwrap();
    assert!(!connection.is_reusable());
    // An answer that is over cannot be taken back.
    let whole = answer(&[hello(), ok(), data(END_STREAM, b"a"), reset(0)]).unwrap();
    assert!(whole.over);
    // Nobody has to say why a stream ends with its connection.
    for (parts, message) in [
        (vec![hello()], "the peer closed without an answer"),
        (vec![hello(), ok()], "the peer closed within the body"),
    ] {
        let mut connection = asked(0);
        read(&mut connection, [&*parts.concat()]).unwrap();
        assert_eq!(connection.end_of_stream().unwrap_err().to_string(), message);
    }
}

#[test]
fn what_is_not_http2_is_told_from_what_is() {
    let large = "x".repeat(1 << 16);
    let field = block(&[("x", &large)]);
    let many: Vec<_> = std::iter::repeat_n(("x", ""), MAX_HEADERS + 1).collect();
    let begun = |payload: &[u8]| frame(Kind::Headers, 0, 1, payload);
    let go_on = |payload: &[u8]| frame(Kind::Continuation, 0, 1, payload);
    let status = block(&[(":status", "200")]);
    let undecodable = frame(Kind::Headers, END_HEADERS, 1, b"\xbe");
    let speaks_http1 = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let malformed: [(Vec<Vec<u8>>, &str); 14] = [
        (vec![speaks_http1], "does not speak HTTP/2"),
        (vec![frame(Kind::Settings, ACK, 0, &[])], "its settings"),
        (vec![hello(), data(0, b"a")], "a body without a head"),
        (vec![hello(), ok(), ok()], "a second head"),
        (vec![hello(), head(&[("x", "1")], 0)], "no status"),
        (vec![hello(), head(&[("X", "1")], 0)], "not allowed"),
        (
            vec![hello(), head(&[(":status", "2x0")], 0)],
            "no such status",
        ),
        (
            vec![hello(), head(&[(":status", "100")], END_STREAM)],
            "interim",
        ),
        (
            vec![hello(), begun(&status), data(0, b"")],
            "not in one piece",
        ),
        (vec![hello(), go_on(b"")], "not in one piece"),
        (vec![hello(), undecodable], "cannot be decoded"),
        (vec![hello(), ok(), data(PADDED, &[9, 0])], "its padding"),
        (
            vec![hello(), frame(Kind::PushPromise, 0, 1, &[])],
            "nobody asked",
        ),
        (vec![hello(), frame(Kind::Ping, 0, 0, b"1")], "the size"),
    ];
    for (parts, message) in malformed {
        let error = answer(&parts).unwrap_err();
        assert!(matches!(error, HttpError::Malformed(_)), "{error:?}");
        assert!(
            error.to_string().contains(message),
            "{error}, not {message}"
        );
    }
    let oversized = data(0, &vec![0; frame::PAYLOAD + 1]);
    let other = frame(Kind::Data, 0, 3, b"a");
    let short = head(&[(":status", "200"), ("content-length", "5")], 0);
    for (parts, message) in [
        (vec![hello(), ok(), oversized], "longer than allowed"),
        (vec![hello(), ok(), other], "not asked"),
        (
            vec![hello(), short, data(END_STREAM, b"four")],
            "content-length",
        ),
    ] {
        let error = answer(&parts).unwrap_err();
        assert!(
            error.to_string().contains(message),
            "{error}, not {message}"
        );
    }
    let pieces: Vec<_> = field.chunks(frame::PAYLOAD).map(go_on).collect();
    let endless: Vec<_> = std::iter::repeat_n(pieces.concat(), 5).collect();
    let too_large = [
        [hello(), begun(&status), endless.concat()].concat(),
        [hello(), head(&many, 0)].concat(),
    ];
    for bytes in too_large {
        let error = read(&mut asked(0), [&*bytes]).unwrap_err();
        assert_eq!(error, HttpError::HeadTooLarge);
    }
}

/// What a peer may say while it answers.
#[derive(Clone, Debug)]
enum Said {
    Data(Vec<u8>, Option<u8>),
    Ping([u8; 8]),
    Settings,
    Window(u32),
    Unknown(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => (bytes.clone(), prop::option::of(any::<u8>())).prop_map(|(data, padding)| Said::Data(data, padding)),
        1 => any::<[u8; 8]>().prop_map(Said::Ping),
        1 => Just(Said::Settings),
        1 => (1..1000_u32).prop_map(Said::Window),
        1 => bytes.prop_map(Said::Unknown),
    ]
}

/// The stream, and where each byte of the body ends in it.
fn written(said: &[Said], with_trailers: bool) -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let mut stream = hello();
    let fields = block(&[(":status", "200"), ("x-some", "thing")]);
    let (first, rest) = fields.split_at(7);
    // Padded, of some priority, and in two frames.
    let padded = [&[3, 0, 0, 0, 0, 9], first, &[0; 3]].concat();
    stream.extend(frame(Kind::Headers, PADDED | PRIORITY, 1, &padded));
    stream.extend(frame(Kind::Continuation, END_HEADERS, 1, rest));
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for said in said {
        match said {
            Said::Data(bytes, padding) => {
                let mut payload: Vec<u8> = padding.iter().copied().collect();
                let start = stream.len() + frame::HEADER + payload.len();
                payload.extend(bytes);
                payload.extend(std::iter::repeat_n(0, usize::from(padding.unwrap_or(0))));
                let flags = if padding.is_some() { PADDED } else { 0 };
                stream.extend(data(flags, &payload));
                body.extend(bytes);
                ends.extend(start + 1..=start + bytes.len());
            }
            Said::Ping(echo) => stream.extend(frame(Kind::Ping, 0, 0, echo)),
            Said::Settings => stream.extend(frame(Kind::Settings, 0, 0, &[0, 3, 0, 0, 0, 9])),
            Said::Window(more) => {
                stream.extend(frame(Kind::WindowUpdate, 0, 1, &more.to_be_bytes()));
            }
            Said::Unknown(bytes) => stream.extend(frame(Kind::Other, 0x55, 0, bytes)),
        }
    }
    stream.extend(match with_trailers {
        true => head(&[("x-trailer", "1")], END_STREAM),
        false => data(END_STREAM, b""),
    });
    (stream, body, ends)
}

proptest! {
    #[test]
    fn however_the_bytes_come_they_read_the_same_and_keep_their_places(
        said in prop::collection::vec(said(), 0..12),
        with_trailers: bool,
        sizes in prop::collection::vec(1..400_usize, 1..6),
    ) {
        let (stream, body, ends) = written(&said, with_trailers);
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let mut connection = asked(0);
        connection.outgoing();
        let found = read(&mut connection, pieces).unwrap();
        let expected = Read { status: Some(200), body, ends, over: true };
        prop_assert_eq!(found, expected);
        prop_assert!(connection.is_reusable());
        let answers = said.iter().filter_map(|said| match said {
            Said::Ping(echo) => Some(frame(Kind::Ping, ACK, 0, echo)),
            Said::Settings => Some(frame(Kind::Settings, ACK, 0, &[])),
            _ => None,
        });
        let answers: Vec<u8> = std::iter::once(frame(Kind::Settings, ACK, 0, &[])).chain(answers).flatten().collect();
        prop_assert_eq!(connection.outgoing(), answers);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..400), kinds in prop::collection::vec((0..10_u8, any::<u8>(), 0..3_u8, 0..40_u8), 0..10)) {
        let mut stream = [hello(), ok()].concat();
        let mut bytes = bytes.into_iter();
        for (kind, flags, id, length) in kinds {
            stream.extend([0, 0, length, kind, flags, 0, 0, 0, id]);
            stream.extend(bytes.by_ref().take(usize::from(length)));
        }
        stream.extend(bytes);
        read(&mut asked(0), stream.chunks(7)).ok();
    }
}
