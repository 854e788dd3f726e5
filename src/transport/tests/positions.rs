//! Every byte of a body keeps its place in the peer's stream.

use super::server::{Peer, Tls, listener};
use super::{dial_as, get, run};
use crate::transport::{Connection, HttpChoice};
use rustls::version::{TLS12, TLS13};
use std::sync::mpsc;

/// Sizes of chunks, and of writes, which fall together nowhere for long.
const CHUNKS: [usize; 9] = [1, 15, 16, 17, 2, 255, 256, 700, 3];
const WRITES: [usize; 11] = [1, 7, 64, 2, 500, 3, 1400, 1, 1, 20_000, 33];

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    Length,
    Chunked,
    Http2,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    ip: &'static str,
    tls: Tls,
    coding: Coding,
    /// Whether the client gives up each wait at once and begins it anew.
    impatient: bool,
}

/// A response, and how many of its bytes end with each byte of the body. `turn`: which it is of its
/// connection, from 0.
fn response(body: &[u8], coding: Coding, turn: usize) -> (Vec<u8>, Vec<usize>) {
    if coding == Coding::Http2 {
        return frames(body, turn);
    }
    let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
    let mut ends = Vec::new();
    let mut push = |bytes: &mut Vec<u8>, part: &[u8]| {
        for byte in part {
            bytes.push(*byte);
            ends.push(bytes.len());
        }
    };
    if coding == Coding::Length {
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        push(&mut bytes, body);
        return (bytes, ends);
    }
    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    let (mut rest, mut sizes) = (body, CHUNKS.iter().cycle());
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        bytes.extend_from_slice(format!("{:x};some=extension\r\n", chunk.len()).as_bytes());
        push(&mut bytes, chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = behind;
    }
    bytes.extend_from_slice(b"0\r\nx-trailer: 1\r\n\r\n");
    (bytes, ends)
}

/// The same in HTTP/2: frames of data, some of them padded, pings between them, and trailers; and behind it
/// what a peer may say at any time.
fn frames(body: &[u8], turn: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let stream = turn as u8 * 2 + 1;
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = (payload.len() as u16).to_be_bytes();
        bytes.extend([0, length[0], length[1], kind, flags, 0, 0, 0, stream]);
        bytes.extend_from_slice(payload);
        bytes.len()
    };
    if turn == 0 {
        frame(0x4, 0, 0, &[]);
    }
    // `:status: 200` of the static table.
    frame(0x1, 0x4, stream, &[0x88]);
    let (mut rest, mut padding) = (body, 0_usize);
    for size in CHUNKS.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        padding = (padding + 1) % 3;
        let end = match padding {
            0 => frame(0x0, 0, stream, chunk),
            _ => {
                let padded = [&[padding as u8], chunk, &vec![0; padding]].concat();
                frame(0x0, 0x8, stream, &padded) - padding
            }
        };
        ends.extend(end - chunk.len() + 1..=end);
        frame(0x6, 0, 0, b"pingping");
        rest = behind;
    }
    // A literal without indexing.
    frame(0x1, 0x5, stream, b"\0\x09x-trailer\x011");
    frame(0x6, 0, 0, b"pingping");
    (bytes, ends)
}

/// Answers, and tells where in its stream each byte of the body ends; under TLS, its record.
fn answer(peer: &mut Peer, body: &[u8], shape: Shape, skip: usize) -> Vec<u64> {
    match shape.coding {
        Coding::Http2 => peer.take_frames(),
        _ => peer.take_request(),
    }
    let (bytes, ends) = response(body, shape.coding, skip);
    let (mut rest, mut written, mut truth) = (bytes.as_slice(), 0, Vec::new());
    let mut sizes = WRITES.iter().cycle().skip(skip);
    while !rest.is_empty() {
        let mut size = *sizes.next().unwrap();
        if shape.tls.is_some() {
            size = size.min(16 * 1024);
        }
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        let end = peer.write(piece).end;
        let within = ends
            .iter()
            .filter(|end| (written + 1..=written + piece.len()).contains(*end));
        for byte in within {
            truth.push(match shape.tls {
                Some(_) => end,
                None => end - (written + piece.len() - byte) as u64,
            });
        }
        written += piece.len();
        rest = behind;
    }
    truth
}

/// Body and positions as the client sees them.
async fn exchange(connection: &mut Connection, impatient: bool) -> (Vec<u8>, Vec<u64>) {
    connection.send(get()).await.unwrap();
    let (mut body, mut positions) = (Vec::new(), Vec::new());
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = connection.chunk() => chunk.unwrap(),
            () = tokio::task::yield_now(), if impatient => continue,
        };
        let Some(chunk) = chunk else {
            return (body, positions);
        };
        body.extend_from_slice(chunk.data);
        positions.extend((1..=chunk.data.len()).map(|bytes| chunk.position(bytes)));
    }
}

fn positions_are_true(shape: Shape) {
    let bodies: Vec<Vec<u8>> = [9_000, 1, 30_000]
        .map(|length| (0..length).map(|at: u32| (at % 251) as u8).collect())
        .to_vec();
    let (listener, address) = listener(shape.ip);
    let (truths, truth) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = Peer::accept_with(&listener, shape.tls, &[b"h2", b"http/1.1"]);
            for (skip, body) in bodies.iter().enumerate() {
                truths.send(answer(&mut peer, body, shape, skip)).unwrap();
            }
            peer.wait_for_close();
        });
        run(async |clocks| {
            let http = match shape.coding {
                Coding::Http2 => HttpChoice::Http2,
                _ => HttpChoice::Http1,
            };
            let dialled = dial_as(address, shape.tls.is_some(), http, &clocks).await;
            let mut connection = dialled.unwrap();
            for body in &bodies {
                let (read, positions) = exchange(&mut connection, shape.impatient).await;
                assert!(read == *body, "{shape:?}");
                assert_eq!(positions, truth.recv().unwrap(), "{shape:?}");
                assert!(connection.is_ready(), "{shape:?}");
            }
        });
    });
}

fn in_every_coding(ip: &'static str, tls: Tls) {
    for (coding, impatient) in [
        (Coding::Length, false),
        (Coding::Chunked, false),
        (Coding::Chunked, true),
        (Coding::Http2, false),
        (Coding::Http2, true),
    ] {
        positions_are_true(Shape {
            ip,
            tls,
            coding,
            impatient,
        });
    }
}

#[test]
fn positions_are_offsets_in_the_peers_stream_over_ipv4() {
    in_every_coding("127.0.0.1", None);
}

#[test]
fn positions_are_offsets_in_the_peers_stream_over_ipv6() {
    in_every_coding("::1", None);
}

#[test]
fn positions_are_the_ends_of_records_under_tls_1_3() {
    in_every_coding("127.0.0.1", Some(&TLS13));
}

#[test]
fn positions_are_the_ends_of_records_under_tls_1_2() {
    in_every_coding("127.0.0.1", Some(&TLS12));
}

#[test]
fn positions_are_the_ends_of_records_over_ipv6() {
    in_every_coding("::1", Some(&TLS13));
}
