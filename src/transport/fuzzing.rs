//! Doors for the fuzz targets to what is private here.

use super::http1::{Event, HttpError};
use super::protocol::Protocol;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};

/// What a response has come to, its stream having ended.
#[derive(Debug, Default, PartialEq)]
struct Read {
    head: Option<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    error: Option<HttpError>,
    is_reusable: bool,
}

/// Reads a response that the first byte says how to cut: it must be read the same in one piece.
pub fn http1(input: &[u8]) {
    check(input, || Protocol::http1(&Method::GET));
}

/// As [`http1`], of HTTP/2.
pub fn http2(input: &[u8]) {
    check(input, || {
        let mut protocol = Protocol::http2(false);
        protocol.request(&Request::new(Bytes::new()));
        protocol
    });
}

fn check(input: &[u8], new: impl Fn() -> Protocol) {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = read(new(), std::iter::once(bytes));
    let cut = read(new(), bytes.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, cut, "the response depends on how its bytes are cut");
}

fn read<'a>(mut protocol: Protocol, pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut read = Read::default();
    for mut piece in pieces {
        loop {
            protocol.outgoing();
            match protocol.next(&mut piece) {
                Ok(Some(Event::Head(head))) => read.head = Some((head.status, head.headers)),
                Ok(Some(Event::Data(data))) => read.body.extend_from_slice(data),
                // What comes behind is of the next exchange.
                Ok(Some(Event::End)) => {
                    read.is_reusable = protocol.is_reusable();
                    return read;
                }
                Ok(None) => break,
                Err(error) => {
                    read.error = Some(error);
                    return read;
                }
            }
        }
    }
    read.error = protocol.end_of_stream().err();
    read.is_reusable = protocol.is_reusable();
    read
}
