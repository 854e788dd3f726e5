//! Doors for the fuzz targets to what is private here.

use super::http1::{Event, HttpError, Response};
use http::{HeaderMap, Method, StatusCode};

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
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = read(std::iter::once(bytes));
    let cut = read(bytes.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, cut, "the response depends on how its bytes are cut");
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut response = Response::to(&Method::GET);
    let mut read = Read::default();
    let mut done = false;
    for mut piece in pieces {
        loop {
            match response.next(&mut piece) {
                Ok(Some(Event::Head(head))) => read.head = Some((head.status, head.headers)),
                Ok(Some(Event::Data(data))) => read.body.extend_from_slice(data),
                Ok(Some(Event::End)) => {
                    done = true;
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    read.error = Some(error);
                    return read;
                }
            }
        }
    }
    if !done {
        read.error = response.end_of_stream().err();
    }
    read.is_reusable = response.is_reusable();
    read
}
