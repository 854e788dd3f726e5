//! What goes to the peer: the request, as far as its windows let it, and the answers to its own frames.

use super::frame::{self, Kind};
use super::{FIRST_WINDOW, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, hpack};
use crate::transport::http1::HttpError;
use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request};

/// Fields that speak of one connection of HTTP/1.1 (RFC 9113, section 8.2.2), and those that others replace.
const DROPPED: [HeaderName; 7] = [
    CONNECTION,
    HOST,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Writes the requests of one connection.
#[derive(Debug)]
pub(super) struct Sender {
    scheme: &'static str,
    /// Of the latest request; 0 before the first.
    stream: u32,
    pub(super) outgoing: Vec<u8>,
    /// What the windows do not let through yet.
    body: Bytes,
    /// Bytes that the peer still allows. A stream's can be below zero after a change of settings.
    connection_window: i64,
    stream_window: i64,
    first_window: i64,
    largest_payload: usize,
}

impl Sender {
    pub(super) fn new(is_secure: bool, hello: Vec<u8>) -> Self {
        Self {
            scheme: if is_secure { "https" } else { "http" },
            stream: 0,
            outgoing: hello,
            body: Bytes::new(),
            connection_window: i64::from(FIRST_WINDOW),
            stream_window: 0,
            first_window: i64::from(FIRST_WINDOW),
            largest_payload: frame::PAYLOAD,
        }
    }

    /// The stream of the latest request.
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    pub(super) fn is_through(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether the last request is written and numbers are left for another.
    pub(super) fn can_begin(&self) -> bool {
        self.is_through() && self.stream < frame::STREAM_BITS - 1
    }

    pub(super) fn say(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        frame::write(&mut self.outgoing, kind, flags, stream, payload);
    }

    /// Writes a request's head and of its body what may follow at once.
    pub(super) fn begin(&mut self, request: &Request<Bytes>) {
        self.stream = if self.stream == 0 { 1 } else { self.stream + 2 };
        self.stream_window = self.first_window;
        self.body = request.body().clone();
        let block = self.head(request);
        let mut parts = block.chunks(self.largest_payload).peekable();
        let ends_stream = match self.body.is_empty() {
            true => frame::END_STREAM,
            false => 0,
        };
        let (mut kind, mut flags) = (Kind::Headers, ends_stream);
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= frame::END_HEADERS;
            }
            self.say(kind, flags, self.stream, part);
            (kind, flags) = (Kind::Continuation, 0);
        }
        self.go_on();
    }

    fn head(&self, request: &Request<Bytes>) -> Vec<u8> {
        let mut block = Vec::new();
        let mut field = |name: &str, value: &[u8], is_secret: bool| {
            hpack::encode(&mut block, name.as_bytes(), value, is_secret);
        };
        let (headers, uri) = (request.headers(), request.uri());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        field(":method", request.method().as_str().as_bytes(), false);
        field(":scheme", self.scheme.as_bytes(), false);
        field(":path", path.as_bytes(), false);
        if let Some(host) = headers.get(HOST) {
            field(":authority", host.as_bytes(), false);
        }
        let length = request.body().len();
        if (length > 0 || request.method() == Method::POST) && !headers.contains_key(CONTENT_LENGTH)
        {
            field("content-length", length.to_string().as_bytes(), false);
        }
        for (name, value) in headers {
            if !DROPPED.contains(name) {
                field(name.as_str(), value.as_bytes(), value.is_sensitive());
            }
        }
        block
    }

    /// Writes what the windows let through of the body.
    pub(super) fn go_on(&mut self) {
        while !self.body.is_empty() {
            let window = self.connection_window.min(self.stream_window);
            let window = usize::try_from(window).unwrap_or(0);
            let length = window.min(self.largest_payload).min(self.body.len());
            if length == 0 {
                return;
            }
            let part = self.body.split_to(length);
            let flags = match self.body.has_remaining() {
                true => 0,
                false => frame::END_STREAM,
            };
            self.say(Kind::Data, flags, self.stream, &part);
            self.connection_window -= length as i64;
            self.stream_window -= length as i64;
        }
    }

    /// The peer wishes something. Most of it concerns what we never do.
    pub(super) fn set(&mut self, key: u16, value: u32) -> Result<(), HttpError> {
        const NOT_ALLOWED: HttpError = HttpError::Malformed("a setting has a value it cannot have");
        match key {
            INITIAL_WINDOW_SIZE if value > frame::STREAM_BITS => return Err(NOT_ALLOWED),
            INITIAL_WINDOW_SIZE => {
                self.stream_window += i64::from(value) - self.first_window;
                self.first_window = i64::from(value);
            }
            MAX_FRAME_SIZE => {
                let value = value as usize;
                if !(frame::PAYLOAD..1 << 24).contains(&value) {
                    return Err(NOT_ALLOWED);
                }
                self.largest_payload = value;
            }
            _ => {}
        }
        Ok(())
    }

    /// The peer allows so many bytes more, on a stream or on all.
    pub(super) fn allow(&mut self, stream: u32, more: u32) -> Result<(), HttpError> {
        let window = match stream {
            0 => &mut self.connection_window,
            stream if stream == self.stream => &mut self.stream_window,
            // Of an earlier request.
            _ => return Ok(()),
        };
        *window += i64::from(more);
        match more > 0 && *window <= i64::from(frame::STREAM_BITS) {
            true => Ok(()),
            false => Err(HttpError::Malformed("a window grows beyond its limits")),
        }
    }
}
