//! Every byte of a body keeps its place in the peer's stream.

use super::server::{Peer, Tls, listener};
use super::{dial, get, run};
use crate::transport::Connection;
use rustls::version::{TLS12, TLS13};
use std::sync::mpsc;

/// Sizes of chunks, and of writes, which fall together nowhere for long.
const CHUNKS: [usize; 9] = [1, 15, 16, 17, 2, 255, 256, 700, 3];
const WRITES: [usize; 11] = [1, 7, 64, 2, 500, 3, 1400, 1, 1, 20_000, 33];

#[derive(Clone, Copy, Debug)]
struct Shape {
    ip: &'static str,
    tls: Tls,
    chunked: bool,
    /// Whether the client gives up each wait at once and begins it anew.
    impatient: bool,
}

/// A response, and how many of its bytes end with each byte of the body.
fn response(body: &[u8], chunked: bool) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
    let mut ends = Vec::new();
    let mut push = |bytes: &mut Vec<u8>, part: &[u8]| {
        for byte in part {
            bytes.push(*byte);
            ends.push(bytes.len());
        }
    };
    if !chunked {
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

/// Answers, and tells where in its stream each byte of the body ends; under TLS, its record.
fn answer(peer: &mut Peer, body: &[u8], shape: Shape, skip: usize) -> Vec<u64> {
    peer.take_request();
    let (bytes, ends) = response(body, shape.chunked);
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
            let mut peer = Peer::accept(&listener, shape.tls);
            for (skip, body) in bodies.iter().enumerate() {
                truths.send(answer(&mut peer, body, shape, skip)).unwrap();
            }
            peer.wait_for_close();
        });
        run(async |clocks| {
            let mut connection = dial(address, shape.tls.is_some(), &clocks).await;
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
    for (chunked, impatient) in [(false, false), (true, false), (true, true)] {
        positions_are_true(Shape {
            ip,
            tls,
            chunked,
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
