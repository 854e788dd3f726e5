//! One HTTP/1.1 connection, driven by whoever reads from it.
//!
//! hyper's connection future is polled in the same task as the body and only when the body has
//! nothing to give. So hyper never reads ahead of us, and the last read of the socket is the read
//! that completed the chunk in hand: its stamp is the chunk's.

use super::dial::DialError;
use super::meter::Meter;
use super::{Chunk, Stamps};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// Most bytes of a response head, and of one read.
const READ_BUFFER: usize = 256 * 1024;
/// Most header fields of a response.
const MAX_HEADERS: usize = 128;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Why an exchange ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The peer closed or reset the connection in the middle.
    #[error("the connection was closed: {0}")]
    Closed(String),
    /// Not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Protocol(String),
    /// The response head exceeds its limit.
    #[error(
        "the response head is longer than {READ_BUFFER} bytes or has more than {MAX_HEADERS} fields"
    )]
    HeadTooLarge,
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
}

/// An open connection. One exchange at a time.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
    meter: Arc<Meter>,
    body: Option<Incoming>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.driver.is_some())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) async fn open<S>(stream: S, meter: Arc<Meter>) -> Result<Self, DialError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = Builder::new()
            .max_buf_size(READ_BUFFER)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Http)?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection)),
            meter,
            body: None,
        })
    }

    /// Sends a request and waits for the response's head.
    ///
    /// # Errors
    /// When the peer goes away or does not speak HTTP. Time limits are the caller's.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<ResponseHead, ExchangeError> {
        let mut response = Box::pin(self.sender.send_request(request));
        let driver = &mut self.driver;
        let response = poll_fn(|cx| alternate(cx, driver, |cx| response.as_mut().poll(cx)))
            .await
            .map_err(|error| classify(&error))?;
        let (parts, body) = response.into_parts();
        self.body = Some(body);
        Ok(ResponseHead {
            status: parts.status,
            headers: parts.headers,
        })
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When the body ends before it is complete.
    pub async fn chunk(&mut self) -> Result<Option<Chunk>, ExchangeError> {
        loop {
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            let driver = &mut self.driver;
            let frame =
                poll_fn(|cx| alternate(cx, driver, |cx| Pin::new(&mut *body).poll_frame(cx)));
            let Some(frame) = frame.await else {
                self.body = None;
                return Ok(None);
            };
            let user = self.meter.last_read().unwrap_or_else(Instant::now);
            let frame = frame.map_err(|error| classify(&error))?;
            // Trailers carry nothing for us.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(Chunk {
                    data,
                    stamps: Stamps { user },
                }));
            }
        }
    }

    /// When the last byte of the request went to the kernel.
    pub fn request_written(&self) -> Option<Instant> {
        self.meter.last_write()
    }

    /// Whether another exchange can begin: the last one is read to its end, and the peer has not
    /// closed since.
    pub async fn is_ready(&mut self) -> bool {
        if self.body.is_some() {
            return false;
        }
        poll_fn(|cx| {
            poll_driver(cx, &mut self.driver);
            let ready = self.driver.is_some() && self.sender.poll_ready(cx).is_ready();
            Poll::Ready(ready && self.sender.is_ready())
        })
        .await
    }
}

/// Polls `wanted`, then the connection, then `wanted` again.
fn alternate<T>(
    cx: &mut Context<'_>,
    driver: &mut Option<Driver>,
    mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    if let Poll::Ready(value) = wanted(cx) {
        return Poll::Ready(value);
    }
    poll_driver(cx, driver);
    wanted(cx)
}

/// An ended connection is dropped; the exchange's own future tells how it ended.
fn poll_driver(cx: &mut Context<'_>, driver: &mut Option<Driver>) {
    if let Some(future) = driver
        && future.as_mut().poll(cx).is_ready()
    {
        *driver = None;
    }
}

fn classify(error: &hyper::Error) -> ExchangeError {
    let cause = std::error::Error::source(error);
    let io_kind = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let text = match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    if error.is_parse_too_large() {
        return ExchangeError::HeadTooLarge;
    }
    let bad_coding = matches!(
        io_kind,
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    );
    match error.is_parse() || bad_coding {
        true => ExchangeError::Protocol(text),
        false => ExchangeError::Closed(text),
    }
}
