//! HTTP/2 over sockets: what is agreed, what a peer says between exchanges, and hyper's server.

use super::server::{Peer, Signals, Tls, listener, tls_config};
use super::{dial_as, get, read_body, run};
use crate::transport::{Connection, ExchangeError, HttpChoice};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingping";
const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0pingping";
/// The last stream is 0x7fffffff: a peer that will close, but not when.
const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0";

/// `:status: 200`, and five bytes.
fn hello(stream: u8) -> Vec<u8> {
    let head = [0, 0, 1, 1, 4, 0, 0, 0, stream, 0x88];
    let data = [0, 0, 5, 0, 1, 0, 0, 0, stream];
    [&head[..], &data, b"hello"].concat()
}

async fn exchange(connection: &mut Connection) -> Result<Vec<u8>, ExchangeError> {
    connection.send(get()).await?;
    read_body(connection).await
}

/// The protocols that a server agrees to.
type Known = &'static [&'static [u8]];

#[test]
fn what_is_spoken_is_what_both_sides_can() {
    let both: Known = &[b"http/1.1", b"h2"];
    let cases: [(HttpChoice, Known, Option<&str>); 8] = [
        (HttpChoice::Auto, &[b"h2", b"http/1.1"], Some("HTTP/2")),
        // The server's order counts.
        (HttpChoice::Auto, both, Some("HTTP/1.1")),
        (HttpChoice::Auto, &[b"http/1.1"], Some("HTTP/1.1")),
        // It has never heard of such agreements.
        (HttpChoice::Auto, &[], Some("HTTP/1.1")),
        (HttpChoice::Http1, both, Some("HTTP/1.1")),
        (HttpChoice::Http1, &[], Some("HTTP/1.1")),
        (HttpChoice::Http2, both, Some("HTTP/2")),
        (HttpChoice::Http2, &[], None),
    ];
    for (http, known, spoken) in cases {
        let (listener, address) = listener("127.0.0.1");
        std::thread::scope(|scope| {
            scope.spawn(|| Peer::accept_with(&listener, Some(&TLS13), known).wait_for_close());
            run(async |clocks| {
                let dialled = dial_as(address, true, http, &clocks).await;
                match spoken {
                    Some(version) => assert_eq!(dialled.unwrap().version(), version),
                    None => {
                        let error = dialled.unwrap_err().to_string();
                        assert!(error.contains("does not agree to HTTP/2"), "{error}");
                    }
                }
            });
        });
    }
}

#[test]
fn in_clear_http2_is_spoken_where_it_is_asked_for_and_nowhere_else() {
    for (http, begins) in [
        (HttpChoice::Auto, &b"GET / HTTP/1.1\r\n"[..]),
        (HttpChoice::Http1, b"GET / HTTP/1.1\r\n"),
        (HttpChoice::Http2, b"PRI * HTTP/2.0\r\n"),
    ] {
        let (listener, address) = listener("127.0.0.1");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut peer = Peer::accept(&listener, None);
                peer.take_until(begins);
                peer.write(b"HTTP/1.1 505 No\r\ncontent-length: 0\r\n\r\n");
                peer.wait_for_close();
            });
            run(async |clocks| {
                let dialled = dial_as(address, false, http, &clocks).await;
                let answer = exchange(&mut dialled.unwrap()).await;
                match (answer, http) {
                    (Ok(_), HttpChoice::Auto | HttpChoice::Http1) => {}
                    (Err(ExchangeError::Protocol(reason)), HttpChoice::Http2) => {
                        assert!(reason.contains("does not speak HTTP/2"), "{reason}");
                    }
                    (answer, _) => panic!("{answer:?}"),
                }
            });
        });
    }
}

/// What the peer does while nobody asks it anything.
type Idle = fn(&mut Peer);

#[test]
fn a_peer_may_speak_between_exchanges_but_not_leave() {
    let idles: [(Idle, bool); 5] = [
        (|_| {}, true),
        (|peer| _ = peer.write(PING), true),
        (|peer| _ = peer.write(GOAWAY), false),
        (|peer| _ = peer.write(&hello(5)), false),
        (|peer| peer.finish(true), false),
    ];
    for tls in [None, Some(&TLS13)] {
        for (at, (idle, ready)) in idles.into_iter().enumerate() {
            between(tls, at, idle, ready);
        }
    }
}

fn between(tls: Tls, at: usize, idle: Idle, ready: bool) {
    let (listener, address) = listener("127.0.0.1");
    let (peers, clients) = Signals::pair();
    let pinged = at == 1;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut peer = Peer::accept_with(&listener, tls, &[b"h2"]);
            peer.write(SETTINGS);
            for stream in [1, 3] {
                peer.take_frames();
                peer.write(&hello(stream));
            }
            peers.wait();
            idle(&mut peer);
            peers.tell();
            if pinged {
                // The answer has waited for the request.
                peer.take_until(PONG);
            }
            if ready {
                peer.take_frames();
                peer.write(&hello(5));
            }
            peer.wait_for_close();
        });
        run(async |clocks| {
            let dialled = dial_as(address, tls.is_some(), HttpChoice::Http2, &clocks).await;
            let mut connection = dialled.unwrap();
            for _ in 0..2 {
                assert_eq!(exchange(&mut connection).await.unwrap(), b"hello");
                assert!(connection.is_ready());
            }
            clients.tell();
            clients.wait();
            let answers = [connection.is_ready(), connection.is_ready()];
            assert_eq!(answers, [ready; 2], "{tls:?}, {at}");
            if ready {
                assert_eq!(exchange(&mut connection).await.unwrap(), b"hello");
            }
        });
    });
}

/// Answers with the body, five times, with the fields that begin with `x-`, and with trailers.
async fn echo(request: Request<Incoming>) -> Result<Response<Echo>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("1"));
    let trailers = std::future::ready(Some(Ok(trailers)));
    let mut response = Response::new(Full::from(body.repeat(5)).with_trailers(trailers));
    let own = parts
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"));
    for (name, value) in own {
        response.headers_mut().append(name, value.clone());
    }
    let authority = parts.uri.authority().unwrap().as_str();
    let authority = HeaderValue::try_from(authority).unwrap();
    response.headers_mut().insert("x-authority", authority);
    Ok(response)
}

type Echo = http_body_util::combinators::WithTrailers<
    Full<Bytes>,
    std::future::Ready<Option<Result<HeaderMap, Infallible>>>,
>;

/// Serves one connection on a thread of its own, with windows of 64 KiB.
fn serve(tls: bool) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let (listener, address) = listener("127.0.0.1");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.max_header_list_size(1 << 16)
                .initial_stream_window_size(65_535)
                .initial_connection_window_size(65_535);
            if tls {
                let mut config = tls_config(&[&TLS13]);
                config.alpn_protocols = vec![b"h2".to_vec()];
                let stream = TlsAcceptor::from(Arc::new(config))
                    .accept(tcp)
                    .await
                    .unwrap();
                http.serve_connection(TokioIo::new(stream), service_fn(echo))
                    .await
                    .ok();
            } else {
                http.serve_connection(TokioIo::new(tcp), service_fn(echo))
                    .await
                    .ok();
            }
        });
    });
    (address, thread)
}

#[test]
fn hyper_takes_our_requests_and_its_answers_are_read_beyond_every_window() {
    for tls in [false, true] {
        let (address, thread) = serve(tls);
        run(async |clocks| {
            let dialled = dial_as(address, tls, HttpChoice::Http2, &clocks).await;
            let mut connection = dialled.unwrap();
            for (turn, length) in [0, 1, 65_535, 65_536, 700_000].into_iter().enumerate() {
                let body: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
                // Of every letter, so that each code of Huffman's comes; some again, so that the table is used.
                let every: Vec<u8> = (0x20..0x7f).chain(0x80..=0xff).collect();
                let every = HeaderValue::from_bytes(&every[turn..]).unwrap();
                let request = Request::post("/v1/chat")
                    .header("host", "llm.example:8443")
                    .header("connection", "keep-alive")
                    .header("x-every", every.clone())
                    .header("x-same", "the same each time")
                    .header("x-long", "long ".repeat(turn * 1000));
                let request = request.body(Bytes::from(body.clone())).unwrap();
                let head = connection.send(request).await.unwrap();
                assert_eq!(head.status, 200);
                assert_eq!(head.headers.get("x-every"), Some(&every));
                assert_eq!(head.headers["x-same"], "the same each time");
                assert_eq!(head.headers["x-long"].len(), turn * 5000);
                assert_eq!(head.headers["x-authority"], "llm.example:8443");
                assert!(connection.request_written().is_some());
                let read = read_body(&mut connection).await.unwrap();
                assert!(read == body.repeat(5), "{tls}, {length}");
                assert!(connection.is_ready(), "{tls}, {length}");
            }
        });
        thread.join().unwrap();
    }
}
