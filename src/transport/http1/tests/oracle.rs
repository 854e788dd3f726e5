//! hyper's client as the oracle: both read the same bytes and are to agree on what they say, whether they
//! are complete, and whether the connection can go on. Where they do not is in [`DIFFERENCES`].

use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// What both can say about a response.
#[derive(Clone, Debug, Default, PartialEq)]
struct Verdict {
    /// Absent: refused before its head was complete, or cut within it.
    head: Option<(u16, HeaderMap)>,
    body: Vec<u8>,
    complete: bool,
    reusable: bool,
}

impl From<Read> for Verdict {
    fn from(read: Read) -> Self {
        Self {
            complete: read.is_complete(),
            head: read.head,
            body: read.body,
            reusable: read.reusable,
        }
    }
}

type Sender = SendRequest<Empty<Bytes>>;

/// hyper's client, and the server's end.
async fn connect(room: usize) -> (Sender, JoinHandle<()>, DuplexStream) {
    let (client, server) = duplex(room.max(4096));
    let (sender, connection) = handshake(TokioIo::new(client)).await.unwrap();
    let driver = TaskTracker::new().spawn(async move { connection.await.unwrap_or_default() });
    (sender, driver, server)
}

fn request(method: &Method) -> Request<Empty<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "x");
    request.body(Empty::new()).unwrap()
}

/// Takes a request off; bytes that come before it would be an offence.
async fn take_request(server: &mut DuplexStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        assert!(server.read_buf(&mut seen).await.unwrap() > 0);
    }
}

async fn hyper_reads(method: &Method, response: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    let (mut sender, driver, mut server) = connect(response.len()).await;
    let answering = async {
        take_request(&mut server).await;
        server.write_all(response).await.ok();
        drop(server);
    };
    let (answer, ()) = tokio::join!(sender.send_request(request(method)), answering);
    if let Ok(answer) = answer {
        let (parts, mut body) = answer.into_parts();
        verdict.head = Some((parts.status.as_u16(), parts.headers));
        verdict.complete = true;
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => verdict.body.extend_from_slice(&data),
                Ok(Err(_trailers)) => {}
                Err(_) => verdict.complete = false,
            }
        }
    }
    driver.abort();
    verdict.reusable = verdict.complete && hyper_goes_on(method, response).await;
    verdict
}

/// Whether hyper sends a second request behind this response, if nobody closes. One that ends with its
/// close never gets there: time is paused, and passes when nothing else is left to happen.
async fn hyper_goes_on(method: &Method, response: &[u8]) -> bool {
    let (mut sender, driver, mut server) = connect(response.len()).await;
    let second = async {
        let answering = async {
            take_request(&mut server).await;
            server.write_all(response).await.unwrap();
        };
        let (answer, ()) = tokio::join!(sender.send_request(request(method)), answering);
        let answer = answer.unwrap();
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return false;
        }
        answer.collect().await.unwrap();
        if sender.ready().await.is_err() {
            return false;
        }
        let mut first = [0];
        tokio::select! {
            refused = sender.send_request(request(method)) => refused.is_ok(),
            taken = server.read(&mut first) => taken.unwrap_or(0) > 0,
        }
    };
    let goes_on = tokio::time::timeout(Duration::from_secs(1), second).await;
    driver.abort();
    goes_on.unwrap_or(false)
}

fn both(method: &Method, response: &[u8]) -> (Verdict, Verdict) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let hypers = runtime.block_on(hyper_reads(method, response));
    (read_as(method, response).into(), hypers)
}

/// A difference that is meant.
struct Difference {
    reason: &'static str,
    /// Whether a response may show it.
    concerns: fn(&str) -> bool,
    example: fn() -> String,
    /// Whether we, and whether hyper, may find such a response complete, and find the example so.
    complete: (bool, bool),
}

/// Heads to which `with` applies, interim ones included.
fn in_head(text: &str, with: impl Fn(&str) -> bool) -> bool {
    text.lines().any(|line| with(&line.to_ascii_lowercase()))
}

/// Anything but the empty line behind the last chunk's size.
fn has_trailers(text: &str) -> bool {
    let lines = text
        .match_indices("\n0")
        .filter_map(|(at, _)| text.get(at..));
    let mut behind = lines.filter_map(|line| Some(line.split_once("\r\n")?.1));
    behind.any(|rest| !rest.starts_with("\r\n") && !"\r\n".starts_with(rest))
}

fn many(field: &str, count: usize) -> String {
    field.repeat(count)
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "empty lines in front of a status line: RFC 9112, section 2.2, has a server skip them, not a \
                 client, and what is not HTTP is told at its first byte",
        concerns: |text| {
            text.starts_with(['\r', '\n'])
                || text.contains("\n\r\nHTTP")
                || text.contains("\n\nHTTP")
                || text.contains("\n\r\n\r\n")
                || text.contains("\n\n")
        },
        example: || "\r\nHTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        complete: (false, true),
    },
    Difference {
        reason: "a transfer coding of HTTP/1.0: RFC 9112, section 6.1, has the message processed and the \
                 connection closed",
        concerns: |text| {
            text.contains("HTTP/1.0") && in_head(text, |line| line.starts_with("transfer-encoding"))
        },
        example: || chunked("2\r\nok\r\n0\r\n\r\n").replace("1.1", "1.0"),
        complete: (true, false),
    },
    Difference {
        reason: "space between a field's name and its colon, which hyper's users can allow: RFC 9112, \
                 section 5.1, forbids it to servers; nothing depends on it in a client",
        concerns: |text| {
            in_head(text, |line| {
                line.split_once(':')
                    .is_some_and(|(name, _)| name.ends_with([' ', '\t']))
            })
        },
        example: || "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok".to_owned(),
        complete: (true, false),
    },
    Difference {
        reason: "from 101 to 128 fields: runtimes behind several proxies have many",
        concerns: |text| text.lines().count() > 100,
        example: || format!("HTTP/1.1 204 No Content\r\n{}\r\n", many("a: b\r\n", 101)),
        complete: (true, false),
    },
    Difference {
        reason: "trailers are read over and not judged: nothing of them is used, and the body in front of \
                 them is complete",
        concerns: has_trailers,
        example: || chunked("2\r\nok\r\n0\r\nno colon\r\n\r\n"),
        complete: (true, false),
    },
    Difference {
        reason: "empty members in a list of codings are none: RFC 9110, section 5.6.1.2",
        concerns: |text| {
            in_head(text, |line| {
                line.starts_with("transfer-encoding") && line.ends_with([',', ' ', '\t'])
            })
        },
        example: || chunked("2\r\nok\r\n0\r\n\r\n").replace("chunked", "chunked,"),
        complete: (true, true),
    },
    Difference {
        reason: "a list with bytes beyond ASCII says nothing to hyper; here its other words count, such as \
                 `close`",
        concerns: |text| {
            in_head(text, |line| {
                line.starts_with(['c', 't']) && line.contains(':') && !line.is_ascii()
            })
        },
        example: || {
            "HTTP/1.1 200 OK\r\nconnection: \u{e9}, close\r\ncontent-length: 0\r\n\r\n".to_owned()
        },
        complete: (true, true),
    },
    Difference {
        reason: "extensions have a limit per chunk, not per body: a long stream of small ones is no attack",
        concerns: |text| text.len() > 16 * 1024,
        example: || {
            chunked(&format!(
                "{}0\r\n\r\n",
                many(&format!("2;{}\r\nok\r\n", "x".repeat(1000)), 20)
            ))
        },
        complete: (true, false),
    },
    Difference {
        reason: "a head of more than 256 KiB is too large",
        concerns: |text| text.len() > MAX_HEAD,
        example: || {
            format!(
                "HTTP/1.1 204 No Content\r\nx: {}\r\n\r\n",
                many("y", MAX_HEAD)
            )
        },
        complete: (false, true),
    },
    Difference {
        reason: "a length of nearly 2^64, two of which hyper keeps for itself, is refused there at the head and \
                 here when the stream ends: neither is complete",
        concerns: |text| text.contains("184467440737095516"),
        example: || format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX),
        complete: (false, false),
    },
];

/// What is wrong with the pair, if anything is.
fn disagreement(method: &Method, response: &[u8]) -> Result<(), String> {
    let (ours, hypers) = both(method, response);
    if ours == hypers {
        return Ok(());
    }
    let text = String::from_utf8_lossy(response);
    let meant = DIFFERENCES.iter().any(|known| {
        let (our, hyper) = known.complete;
        (known.concerns)(&text) && ours.complete <= our && hypers.complete <= hyper
    });
    match meant {
        true => Ok(()),
        false => Err(format!(
            "{method} {text:?}\n ours: {ours:?}\nhyper: {hypers:?}"
        )),
    }
}

#[test]
fn every_accepted_difference_is_there_and_concerns_its_example() {
    for known in DIFFERENCES {
        let example = (known.example)();
        let (ours, hypers) = both(&Method::GET, example.as_bytes());
        assert_ne!(ours, hypers, "no difference any more: {}", known.reason);
        assert_eq!(
            (ours.complete, hypers.complete),
            known.complete,
            "{}",
            known.reason
        );
        assert!((known.concerns)(&example), "{}", known.reason);
    }
}

#[test]
fn hyper_reads_the_corpus_as_we_do() {
    let length = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello");
    let mut corpus = vec![
        length("content-length: 5"),
        length("content-length: 5\r\ncontent-length: 5"),
        length("content-length: 5, 5"),
        length("content-length: 5\r\ncontent-length: 6"),
        length("content-length: 5, 6"),
        length("content-length: five"),
        length("content-length: +5"),
        length("content-length:"),
        length("content-length: 4"),
        length("content-length: 6"),
        length("content-length: 18446744073709551616"),
        length("content-length: 5\r\nconnection: close"),
        length("content-length: 5\r\nconnection: close\r\nconnection: keep-alive"),
        length("content-length: 5\r\nconnection: keep-alive, close"),
        length("content-length: 5\nx: bare"),
        length("connection: keep-alive"),
        length("transfer-encoding: gzip, chunked").replace("hello", "5\r\nhello\r\n0\r\n\r\n"),
        length("transfer-encoding: chunked, gzip"),
        length("transfer-encoding: identity"),
        length("transfer-encoding: chunked\r\ncontent-length: 5"),
        length("x: a\r\n folded\r\ncontent-length: 5"),
        length(": nameless\r\ncontent-length: 5"),
        length("set-cookie: a\r\nset-cookie: b\r\nx: \u{e9}\r\ncontent-length: 5"),
        length("x:\r\ny: \t z \t\r\ncontent-length: 5"),
        "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 Sch\u{f6}n\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 999 Whatever\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 099 Whatever\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1  200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1\t200 OK\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.2 200 OK\r\n\r\n".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        "nothing like it".to_owned(),
        String::new(),
        "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_owned(),
        "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 5, 6\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\n{}",
            length("content-length: 5")
        ),
        format!(
            "HTTP/1.1 103 Early\r\ncontent-length: 9\r\n\r\n{}",
            length("content-length: 5")
        ),
        "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nnothing like it\r\n\r\n".to_owned(),
    ];
    for old in [
        "",
        "connection: keep-alive\r\n",
        "connection: close\r\n",
        "connection: keep-alive, close\r\n",
    ] {
        corpus.push(format!(
            "HTTP/1.0 200 OK\r\n{old}content-length: 5\r\n\r\nhello"
        ));
        corpus.push(format!("HTTP/1.0 200 OK\r\n{old}\r\nhello"));
    }
    for rest in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\nmore",
        "5;a=\"b;c\"\r\nhello\r\n0;d\r\nx-sum: 1\r\ny: 2\r\n\r\n",
        "5 \t;a\r\nhello\r\n00\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5\x0c\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx\r: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: y\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "00000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello",
        "10000000000000000\r\nhello",
        "-5\r\nhello\r\n0\r\n\r\n",
        ";\r\nhello\r\n0\r\n\r\n",
    ] {
        corpus.push(chunked(rest));
    }
    let mut wrong = Vec::new();
    for response in &corpus {
        for method in [Method::GET, Method::HEAD] {
            wrong.extend(disagreement(&method, response.as_bytes()).err());
        }
    }
    // And each of two of them cut at every byte.
    for whole in ["5\r\nhello\r\n0;e\r\nx: y\r\n\r\n"]
        .map(chunked)
        .iter()
        .chain(corpus.first())
    {
        for end in 0..whole.len() {
            wrong.extend(disagreement(&Method::GET, &whole.as_bytes()[..end]).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn hyper_reads_any_response_as_we_do(method in method(), bytes in responses::any()) {
        prop_assert_eq!(disagreement(&method, &bytes), Ok(()));
    }
}
