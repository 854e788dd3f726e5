//! RFC 9112, section by section, and what peers do to it.

mod oracle;
mod responses;

use super::*;
use proptest::prelude::*;

/// What a response has come to, its stream having ended.
#[derive(Clone, Debug, Default, PartialEq)]
struct Read {
    head: Option<(u16, HeaderMap)>,
    body: Vec<u8>,
    error: Option<HttpError>,
    /// Bytes behind the response.
    left: usize,
    reusable: bool,
}

impl Read {
    fn status(&self) -> Option<u16> {
        Some(self.head.as_ref()?.0)
    }

    fn is_complete(&self) -> bool {
        self.error.is_none()
    }

    #[track_caller]
    fn assert_body(&self, body: &str) {
        assert_eq!(String::from_utf8_lossy(&self.body), body, "{self:?}");
        assert!(self.is_complete(), "{self:?}");
    }
}

/// Feeds the pieces one after the other, and then the end of the stream.
fn read_pieces<'a>(method: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut response = Response::to(method);
    let mut read = Read::default();
    let mut ended = false;
    for piece in pieces {
        let mut bytes = piece;
        while !ended {
            let before = bytes.len();
            match response.next(&mut bytes) {
                Ok(Some(Event::Head(head))) => {
                    assert!(read.head.is_none(), "two heads");
                    read.head = Some((head.status.as_u16(), head.headers));
                }
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty() && before - bytes.len() >= data.len());
                    read.body.extend_from_slice(data);
                }
                Ok(Some(Event::End)) => ended = true,
                Ok(None) => {
                    assert!(bytes.is_empty(), "it wants more and leaves some");
                    break;
                }
                Err(error) => {
                    read.error = Some(error);
                    return read;
                }
            }
        }
        read.left += bytes.len();
    }
    read.reusable = response.is_reusable() && read.left == 0;
    read.error = response.end_of_stream().err();
    read
}

fn read_as(method: &Method, bytes: &[u8]) -> Read {
    read_pieces(method, [bytes])
}

fn read(text: &str) -> Read {
    read_as(&Method::GET, text.as_bytes())
}

#[track_caller]
fn assert_malformed(text: &str) {
    let error = read(text).error;
    assert!(matches!(error, Some(HttpError::Malformed(_))), "{error:?}");
}

#[track_caller]
fn assert_truncated(text: &str) {
    let error = read(text).error;
    assert!(matches!(error, Some(HttpError::Truncated(_))), "{error:?}");
}

/// A good answer with this body behind this head, as chunks.
fn chunked(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}")
}

#[test]
fn a_length_ends_the_body_and_what_follows_is_left() {
    let answer = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Two: a\r\nx-two: b\r\n\r\nhello");
    answer.assert_body("hello");
    assert!(answer.reusable);
    let headers = answer.head.unwrap().1;
    let two: Vec<_> = headers.get_all("x-two").iter().collect();
    assert_eq!(two, ["a", "b"]);

    let more = read("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1");
    more.assert_body("hello");
    assert_eq!((more.left, more.reusable), (8, false));
    let none = read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    none.assert_body("");
    assert!(none.reusable);
}

#[test]
fn chunks_are_joined_and_their_extensions_and_trailers_are_read_over() {
    let answer = read(&chunked(
        "5\r\nhello\r\n1;a=b\r\n \r\n00C ; c=\"d;e\"\r\nworld, 0\r\n\r\n\r\n0;last\r\nx-sum: 1\r\ny: 2\r\n\r\n",
    ));
    answer.assert_body("hello world, 0\r\n\r\n");
    assert!(answer.reusable);
    read(&chunked(
        "a\r\n0123456789\r\nA\t\r\n0123456789\r\n000\r\n\r\n",
    ))
    .assert_body("01234567890123456789");
}

#[test]
fn without_a_length_the_body_lasts_until_the_close() {
    let answer = read("HTTP/1.1 200 OK\r\n\r\nas long as it lasts");
    answer.assert_body("as long as it lasts");
    assert!(!answer.reusable);
    let gzip = read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n5\r\nhello");
    gzip.assert_body("5\r\nhello");
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    let says = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n");
    for status in ["204 No Content", "304 Not Modified"] {
        let answer = read(&says(status));
        answer.assert_body("");
        assert!(answer.reusable);
    }
    let head = read_as(&Method::HEAD, says("200 OK").as_bytes());
    head.assert_body("");
    assert!(head.reusable);
    let chunks = chunked("");
    read_as(&Method::HEAD, chunks.as_bytes()).assert_body("");
}

#[test]
fn interim_answers_are_read_over_but_a_changed_protocol_is_the_last_word() {
    let answer = read(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    answer.assert_body("ok");
    assert_eq!(answer.status(), Some(200));
    assert!(!answer.head.unwrap().1.contains_key("link"));
    assert_truncated("HTTP/1.1 100 Continue\r\n\r\n");

    let changed = read("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
    changed.assert_body("");
    assert_eq!((changed.status(), changed.reusable), (Some(101), false));
}

#[test]
fn a_flood_of_interim_answers_is_read_over_in_one_piece() {
    let mut flood = "HTTP/1.1 100 \r\n\r\n".repeat(1 << 16);
    flood.push_str("HTTP/1.1 204 \r\n\r\n");
    assert_eq!(read(&flood).status(), Some(204));
}

#[test]
fn equal_lengths_are_one_and_different_ones_are_refused() {
    for twice in [
        "content-length: 2\r\nContent-Length: 2",
        "content-length: 2, 2",
        "content-length: 2 ,\t002",
    ] {
        read(&format!("HTTP/1.1 200 OK\r\n{twice}\r\n\r\nok")).assert_body("ok");
    }
    for wrong in [
        "2\r\ncontent-length: 3",
        "2, 3",
        "2,",
        "+2",
        "-2",
        "0x2",
        "2 2",
        "",
        "2.0",
    ] {
        assert_malformed(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {wrong}\r\n\r\nok"
        ));
    }
    let most = u128::from(u64::MAX);
    assert_truncated(&format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {most}\r\n\r\nok"
    ));
    assert_malformed(&format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nok",
        most + 1
    ));
}

#[test]
fn the_transfer_coding_goes_before_the_length() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    read(both).assert_body("ok");
    let twice = both.replace("content-length: 3", "transfer-encoding: gzip");
    read(&twice).assert_body("ok");
    // Empty members of a list are none: RFC 9110, section 5.6.1.2.
    let empty = both.replace("Chunked", "chunked, ,");
    read(&empty).assert_body("ok");
}

#[test]
fn who_stays_open_is_for_the_version_and_the_connection_field_to_say() {
    let reusable = |version: &str, fields: &str| {
        let answer = read(&format!(
            "HTTP/{version} 200 OK\r\ncontent-length: 2\r\n{fields}\r\nok"
        ));
        answer.assert_body("ok");
        answer.reusable
    };
    assert!(reusable("1.1", ""));
    assert!(reusable("1.1", "connection: upgrade\r\n"));
    assert!(!reusable("1.1", "connection: close\r\n"));
    assert!(!reusable("1.1", "connection: te, Close\r\n"));
    assert!(!reusable(
        "1.1",
        "connection: close\r\nconnection: keep-alive\r\n"
    ));
    assert!(!reusable("1.0", ""));
    assert!(reusable("1.0", "connection: Keep-Alive\r\n"));
    // RFC 9112, section 9.3: `close` is asked for first.
    assert!(!reusable("1.0", "connection: keep-alive, close\r\n"));
    assert!(!reusable(
        "1.0",
        "connection: keep-alive\r\nconnection: close\r\n"
    ));
}

#[test]
fn an_old_answer_in_chunks_is_read_but_its_connection_is_not_trusted() {
    // RFC 9112, section 6.1: process the message, and close.
    let old = chunked("2\r\nok\r\n0\r\n\r\n").replace("1.1", "1.0");
    let old = read(&old.replace("\r\n\r\n2", "\r\nconnection: keep-alive\r\n\r\n2"));
    old.assert_body("ok");
    assert!(!old.reusable);
}

#[test]
fn heads_have_a_longest_length_and_a_greatest_number_of_fields() {
    let with = |fields: &str| read(&format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"));
    let field = |length: usize| format!("x: {}\r\n", "y".repeat(length - 5));
    let around = "HTTP/1.1 204 No Content\r\n\r\n".len();
    assert!(with(&field(MAX_HEAD - around)).is_complete());
    let long = with(&field(MAX_HEAD - around + 1));
    assert_eq!(long.error, Some(HttpError::HeadTooLarge));
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
    assert_eq!(read(&endless).error, Some(HttpError::HeadTooLarge));

    assert!(with(&"a: b\r\n".repeat(MAX_HEADERS)).is_complete());
    let many = with(&"a: b\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(many.error, Some(HttpError::HeadTooLarge));
}

#[test]
fn size_lines_and_trailers_have_a_longest_length_too() {
    let extension = |length: usize| chunked(&format!("0;{}\r\n\r\n", "x".repeat(length - 4)));
    assert!(read(&extension(MAX_SIZE_LINE)).is_complete());
    assert_malformed(&extension(MAX_SIZE_LINE + 1));
    let trailers = |bytes: usize| chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(bytes / 6)));
    assert!(read(&trailers(MAX_HEAD - 6)).is_complete());
    assert_malformed(&trailers(MAX_HEAD + 6));
}

#[test]
fn what_is_not_http_is_told_at_once() {
    for garbage in [
        "S",
        "SSH-2.0",
        "HTTP/2 200 OK\r\n",
        "HTTQ",
        "http/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\x16\x03\x01",
        "<html>",
        "\n",
    ] {
        let mut response = Response::to(&Method::GET);
        let told = response.next(&mut garbage.as_bytes());
        assert!(
            matches!(told, Err(HttpError::Malformed(_))),
            "{garbage:?}: {told:?}"
        );
    }
    for head in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nnul: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nlone: \r \r\n\r\n",
    ] {
        assert_malformed(head);
    }
}

#[test]
fn lines_of_a_head_may_end_with_lf_alone() {
    read("HTTP/1.1 200 OK\ncontent-length: 2\n\nok").assert_body("ok");
    read("HTTP/1.1 200 OK\ncontent-length: 2\n\r\nok").assert_body("ok");
    read("HTTP/1.1 200\r\ncontent-length: 2\r\n\nok").assert_body("ok");
}

#[test]
fn chunks_that_do_not_fit_are_refused() {
    for rest in [
        "2\r\nokay\r\n0\r\n\r\n",
        "4\r\nok\r\n0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "2\r\nok\r0\r\n\r\n",
        "2\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\n\r\n",
        "2\r\nok\r\n0\r\n\n",
        "2\r\nok\r\n0\r\na: b\n\r\n",
        "2;a\rb\r\nok\r\n0\r\n\r\n",
        "2\r\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\na\r: b\r\n\r\n",
        "2\x0c\r\nok\r\n0\r\n\r\n",
        " 2\r\nok\r\n0\r\n\r\n",
        "2 2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "-1\r\nok\r\n0\r\n\r\n",
        ";a\r\nok\r\n0\r\n\r\n",
        "\r\n2\r\nok\r\n0\r\n\r\n",
        "g\r\nok\r\n0\r\n\r\n",
    ] {
        assert_malformed(&chunked(rest));
    }
}

#[test]
fn a_size_beyond_64_bits_is_refused_and_one_within_them_is_waited_for() {
    assert_truncated(&chunked("ffffffffffffffff\r\nok"));
    assert_malformed(&chunked("10000000000000000\r\nok"));
    read(&chunked("0000000000000000000002\r\nok\r\n0\r\n\r\n")).assert_body("ok");
}

#[test]
fn a_response_that_is_cut_anywhere_is_never_complete() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for whole in [
        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world".to_owned(),
        chunked("5;x\r\nhello\r\n6\r\n world\r\n0;y\r\nx-sum: 1\r\n\r\n"),
        format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world"),
    ] {
        let complete = read(&whole);
        complete.assert_body("hello world");
        for end in 0..whole.len() {
            let cut = read(&whole[..end]);
            assert!(
                matches!(cut.error, Some(HttpError::Truncated(_))),
                "{end}: {cut:?}"
            );
            assert!(complete.body.starts_with(&cut.body) && !cut.reusable);
        }
    }
}

#[test]
fn the_end_is_told_each_time_and_takes_nothing() {
    let mut response = Response::to(&Method::GET);
    let mut bytes: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\nmore";
    assert!(matches!(
        response.next(&mut bytes),
        Ok(Some(Event::Head(_)))
    ));
    for _ in 0..3 {
        assert!(matches!(response.next(&mut bytes), Ok(Some(Event::End))));
        assert_eq!(bytes, b"more");
    }
}

#[test]
fn a_request_is_written_with_its_target_its_length_and_its_fields() {
    let request = |method: &str, body: &'static str| {
        let request = Request::builder().method(method).uri("/v1/models?a=b");
        let request = request.header("host", "x:1").header("accept", "*/*");
        let request = request.body(bytes::Bytes::from_static(body.as_bytes()));
        String::from_utf8(write_request(&request.unwrap())).unwrap()
    };
    assert_eq!(
        request("GET", ""),
        "GET /v1/models?a=b HTTP/1.1\r\nhost: x:1\r\naccept: */*\r\n\r\n"
    );
    assert_eq!(
        request("POST", "{}"),
        "POST /v1/models?a=b HTTP/1.1\r\ncontent-length: 2\r\nhost: x:1\r\naccept: */*\r\n\r\n{}"
    );
    assert!(request("POST", "").contains("\r\ncontent-length: 0\r\n"));
}

/// Cuts at these places, each taken modulo what is left.
fn pieces<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(cut % (bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![4 => Just(Method::GET), 1 => Just(Method::HEAD)]
}

proptest! {
    #[test]
    fn every_split_of_a_response_reads_the_same(
        method in method(),
        bytes in responses::any(),
        cuts in proptest::collection::vec(0..200_usize, 0..24),
    ) {
        let whole = read_as(&method, &bytes);
        prop_assert_eq!(&read_pieces(&method, pieces(&bytes, &cuts)), &whole);
        prop_assert_eq!(&read_pieces(&method, bytes.chunks(1)), &whole);
    }

    #[test]
    fn whatever_comes_behind_a_version_is_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        chunks in any::<bool>(),
        head in any::<bool>(),
    ) {
        read_as(&Method::GET, &bytes);
        let start = match (chunks, head) {
            (true, _) => chunked("").into_bytes(),
            (_, true) => b"HTTP/1.1 200 OK\r\n".to_vec(),
            _ => b"HTTP/1.".to_vec(),
        };
        let bytes = [start, bytes].concat();
        let whole = read_as(&Method::GET, &bytes);
        prop_assert_eq!(&read_pieces(&Method::GET, bytes.chunks(1)), &whole);
    }
}
