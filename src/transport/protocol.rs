//! The versions of HTTP behind one face.

use super::http1::{self, Event, HttpError, Response};
use super::http2::Http2;
use bytes::Bytes;
use http::{Method, Request};

/// What a connection speaks.
#[derive(Debug)]
pub(super) enum Protocol {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// The latest exchange.
#[derive(Debug)]
pub(super) struct Http1 {
    request: Vec<u8>,
    response: Response,
}

impl Protocol {
    /// `method`: of a request that is written by somebody else, if any is.
    pub(super) fn http1(method: &Method) -> Self {
        Self::Http1(Http1 {
            request: Vec::new(),
            response: Response::to(method),
        })
    }

    pub(super) fn http2(is_secure: bool) -> Self {
        Self::Http2(Box::new(Http2::new(is_secure)))
    }

    pub(super) fn version(&self) -> &'static str {
        match self {
            Self::Http1(_) => "HTTP/1.1",
            Self::Http2(_) => "HTTP/2",
        }
    }

    /// Begins an exchange.
    pub(super) fn request(&mut self, request: &Request<Bytes>) {
        match self {
            Self::Http1(exchange) => {
                exchange.request = http1::write_request(request);
                exchange.response = Response::to(request.method());
            }
            Self::Http2(connection) => connection.request(request),
        }
    }

    /// What is to be written now; what came before is thought to be.
    pub(super) fn outgoing(&mut self) -> Vec<u8> {
        match self {
            Self::Http1(exchange) => std::mem::take(&mut exchange.request),
            Self::Http2(connection) => connection.outgoing(),
        }
    }

    /// Whether nothing of the request waits for the peer's consent.
    pub(super) fn is_sent(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(connection) => connection.is_sent(),
        }
    }

    /// Takes bytes off the front. Without an event it needs more; at the end it says so each time and
    /// takes nothing.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, HttpError> {
        match self {
            Self::Http1(exchange) => exchange.response.next(bytes),
            Self::Http2(connection) => connection.next(bytes),
        }
    }

    /// Hears what the peer says between exchanges.
    pub(super) fn idle(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        match self {
            Self::Http2(connection) => connection.idle(bytes),
            Self::Http1(_) if bytes.is_empty() => Ok(()),
            Self::Http1(_) => Err(HttpError::Malformed("an answer that nobody asked for")),
        }
    }

    /// The peer sends no more.
    pub(super) fn end_of_stream(&mut self) -> Result<(), HttpError> {
        match self {
            Self::Http1(exchange) => exchange.response.end_of_stream(),
            Self::Http2(connection) => connection.end_of_stream(),
        }
    }

    /// Whether the connection can serve another request after this response, which is complete.
    pub(super) fn is_reusable(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.response.is_reusable(),
            Self::Http2(connection) => connection.is_reusable(),
        }
    }
}
