//! One HTTP connection. Whatever is pending is read and stamped first; where decoding takes long, it
//! comes after every other connection of the thread that is due has been read as well.

mod tunnel;

use super::clock::Alignment;
use super::dial::DialError;
use super::http1::{self, Event, HttpError, ResponseHead};
use super::protocol::Protocol;
use super::records::Records;
use super::socket::StampedSocket;
use super::stamps::{Begun, Stamps};
use super::tap::Watch;
use bytes::Bytes;
use http::{Method, Request};
use std::io;
use std::ops::Range;
use std::time::Instant;

/// Bytes of a read from which on decoding gives way to the reads of other connections: it takes some
/// microseconds a kilobyte, and giving way takes one.
const LONG_READ: usize = 4096;

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
        "the response head is longer than {} bytes or has more than {} fields",
        http1::MAX_HEAD,
        http1::MAX_HEADERS
    )]
    HeadTooLarge,
    /// The peer says that there will be no answer, or no more of it: HTTP/2's `RST_STREAM`, `GOAWAY`.
    #[error("{0}")]
    GivenUp(String),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Protocol(error.to_string()),
            _ => Self::Closed(error.to_string()),
        }
    }
}

impl From<HttpError> for ExchangeError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::HeadTooLarge => Self::HeadTooLarge,
            HttpError::Malformed(reason) => Self::Protocol(reason.to_owned()),
            HttpError::Truncated(reason) => Self::Closed(reason.to_owned()),
            HttpError::GivenUp(reason) => Self::GivenUp(reason),
        }
    }
}

/// Bytes of the body that came together, transfer coding and encryption taken off.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// Offset in the peer's TCP stream just behind the last of them; under TLS, behind its record.
    end: u64,
    /// Under TLS the whole record came with its last byte, since it cannot be read before.
    in_record: bool,
    /// When the read returned, on the monotonic clock.
    pub user: Instant,
}

impl<'a> Chunk<'a> {
    /// Bytes without a socket, for tests: at the beginning of a plain stream.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn example(data: &'a [u8], end: u64, user: Instant) -> Self {
        Self {
            data,
            end,
            in_record: false,
            user,
        }
    }

    /// Where in the peer's TCP stream this byte of the chunk ends: its first is 1.
    pub fn position(&self, bytes: usize) -> u64 {
        match self.in_record {
            true => self.end,
            false => self.end - self.data.len().saturating_sub(bytes) as u64,
        }
    }
}

/// Bytes of a connection's TCP stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the peer.
    pub received: u64,
    /// To the peer.
    pub sent: u64,
}

/// An open connection. One exchange at a time.
pub struct Connection {
    socket: StampedSocket,
    tls: Option<Records>,
    watch: Option<Watch>,
    protocol: Protocol,
    /// What is to be written, encrypted, and how much of it is.
    outgoing: (Vec<u8>, usize),
    /// What of the last read is not decrypted or decoded yet.
    unread: Range<usize>,
    /// The same of the last record.
    undecoded: Range<usize>,
    /// Offset in the peer's stream behind the last record.
    record_end: u64,
    begun: Begun,
    /// Why the request could not be written to its end.
    unwritten: Option<io::Error>,
    open: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// What decoding has come to.
enum Step {
    Head(ResponseHead),
    /// So many bytes of the body, which end so many bytes before what is decoded next.
    Data(Range<usize>),
    End,
}

impl Connection {
    /// `began`: before the first packet of the connection left.
    pub(super) fn new(socket: StampedSocket, watch: Option<Watch>, began: Alignment) -> Self {
        Self {
            socket,
            tls: None,
            watch,
            protocol: Protocol::http1(&Method::GET),
            outgoing: (Vec::new(), 0),
            unread: 0..0,
            undecoded: 0..0,
            record_end: 0,
            begun: Begun::connecting(began),
            unwritten: None,
            open: true,
        }
    }

    /// Shakes hands.
    pub(super) async fn secure(&mut self, tls: rustls::ClientConnection) -> Result<(), DialError> {
        let mut records = Records::new(tls);
        let shaken = async {
            loop {
                self.socket.write_all(records.outgoing()?).await?;
                if !records.is_handshaking() {
                    return io::Result::Ok(());
                }
                if self.unread.is_empty() {
                    self.fill().await?;
                }
                let bytes = self.socket.bytes().get(self.unread.clone());
                let taken = records.take(bytes.unwrap_or_default());
                match taken {
                    Ok(taken) => self.unread.start += taken,
                    Err(error) => {
                        // The peer is to hear why.
                        let alert = records.outgoing().unwrap_or_default();
                        self.socket.write_all(alert).await.ok();
                        return Err(error);
                    }
                }
            }
        };
        shaken.await.map_err(DialError::Tls)?;
        self.tls = Some(records);
        Ok(())
    }

    /// What the handshake has agreed to speak, if the peer cares.
    pub(super) fn agreed(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(Records::agreed)
    }

    /// Nothing has been said yet but the handshake.
    pub(super) fn speak_http2(&mut self) {
        self.protocol = Protocol::http2(self.tls.is_some());
    }

    /// The version spoken: `HTTP/1.1`, `HTTP/2`.
    pub fn version(&self) -> &'static str {
        self.protocol.version()
    }

    /// Sends a request and waits for the response's head. The stamps of earlier exchanges are gone.
    ///
    /// # Errors
    /// When the peer goes away or does not speak HTTP. Time limits are the caller's.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<ResponseHead, ExchangeError> {
        self.protocol.request(&request);
        self.begin();
        self.speak().await;
        loop {
            match self.step()? {
                Some(Step::Head(head)) => {
                    self.request_is_written();
                    return Ok(head);
                }
                Some(_) => return Err(ExchangeError::Protocol("a body without a head".to_owned())),
                None => self.more().await?,
            }
        }
    }

    /// Writes what HTTP and TLS have to say. Whoever gives up the wait may ask again. A failure is for the
    /// reader to tell: the peer may have said why before it hung up.
    async fn speak(&mut self) {
        if let Err(error) = self.write().await {
            self.outgoing = (Vec::new(), 0);
            self.open = false;
            self.unwritten.get_or_insert(error);
        }
        if self.protocol.is_sent() || self.unwritten.is_some() {
            self.request_is_written();
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let said = self.protocol.outgoing();
        match &mut self.tls {
            None if self.outgoing.0.is_empty() => self.outgoing.0 = said,
            None => self.outgoing.0.extend_from_slice(&said),
            Some(records) => {
                records.seal(&said)?;
                self.outgoing.0.extend_from_slice(records.outgoing()?);
            }
        }
        while let Some(rest) = self.outgoing.0.get(self.outgoing.1..)
            && !rest.is_empty()
        {
            self.outgoing.1 += self.socket.write(rest).await?;
        }
        self.outgoing = (Vec::new(), 0);
        Ok(())
    }

    /// As far as it ever will be.
    fn request_is_written(&mut self) {
        if !self.begun.is_over() {
            let queued = self.socket.run_queue_delay();
            self.begun.written(self.socket.sent(), queued);
        }
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When the body ends before it is complete.
    pub async fn chunk(&mut self) -> Result<Option<Chunk<'_>>, ExchangeError> {
        let data = loop {
            match self.step()? {
                Some(Step::Data(data)) => break data,
                Some(Step::End) => return Ok(None),
                Some(Step::Head(_)) => {
                    return Err(ExchangeError::Protocol("a second head".to_owned()));
                }
                None => self.more().await?,
            }
        };
        Ok(Some(self.body(data)))
    }

    fn body(&self, range: Range<usize>) -> Chunk<'_> {
        let user = self
            .socket
            .reads()
            .last()
            .map_or_else(Instant::now, |r| r.user);
        let read_start = self.socket.received() - self.socket.bytes().len() as u64;
        match &self.tls {
            None => Chunk {
                end: read_start + range.end as u64,
                data: self.socket.bytes().get(range).unwrap_or_default(),
                in_record: false,
                user,
            },
            Some(records) => Chunk {
                end: self.record_end,
                data: records.plaintext().get(range).unwrap_or_default(),
                in_record: true,
                user,
            },
        }
    }

    /// Decodes what has been read; `None` when more must be.
    fn step(&mut self) -> Result<Option<Step>, ExchangeError> {
        loop {
            let plain = match &self.tls {
                None => self.socket.bytes(),
                Some(records) => records.plaintext(),
            };
            let left = match self.tls {
                None => &mut self.unread,
                Some(_) => &mut self.undecoded,
            };
            let mut bytes = plain.get(left.clone()).unwrap_or_default();
            let event = self.protocol.next(&mut bytes)?;
            left.start = left.end - bytes.len();
            let step = match event {
                Some(Event::Head(head)) => Step::Head(head),
                Some(Event::Data(data)) => Step::Data(left.start - data.len()..left.start),
                Some(Event::End) => Step::End,
                None => match self.next_record()? {
                    true => continue,
                    false => return Ok(None),
                },
            };
            return Ok(Some(step));
        }
    }

    /// Decrypts the next record of the last read, where there is one.
    fn next_record(&mut self) -> Result<bool, ExchangeError> {
        let Some(records) = &mut self.tls else {
            return Ok(false);
        };
        if self.unread.is_empty() {
            return Ok(false);
        }
        let bytes = self.socket.bytes().get(self.unread.clone());
        self.unread.start += records.take(bytes.unwrap_or_default())?;
        self.undecoded = 0..records.plaintext().len();
        self.record_end = self.socket.received() - self.unread.len() as u64;
        Ok(true)
    }

    /// Reads on, or finds that the stream has ended.
    async fn more(&mut self) -> Result<(), ExchangeError> {
        // Such as the answer to a ping or a key update, and the rest of a request.
        self.speak().await;
        if self.tls.as_ref().is_some_and(Records::is_closed) {
            self.open = false;
            return Ok(self.protocol.end_of_stream()?);
        }
        match self.fill().await {
            Ok(()) => Ok(()),
            // What ends because the request did is cut short.
            Err(error) if self.unwritten.is_some() => {
                Err(self.unwritten.take().unwrap_or(error).into())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.tls.is_none() => {
                Ok(self.protocol.end_of_stream()?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads everything that is pending.
    async fn fill(&mut self) -> io::Result<()> {
        self.unread = 0..0;
        let more = self.socket.read().await;
        if !matches!(more, Ok(true)) {
            self.open = false;
        }
        if !more? {
            let closed = "the peer closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, closed));
        }
        self.unread = 0..self.socket.bytes().len();
        if let Some(watch) = &self.watch {
            watch.note_read();
        }
        if self.unread.len() >= LONG_READ {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Whatever came before belongs to an exchange that is over.
    fn begin(&mut self) {
        if self.begun.is_over() {
            self.begun = Begun::reusing(self.socket.sent());
            self.socket.forget_reads();
            if let Some(watch) = &self.watch {
                watch.begin(self.socket.sent(), self.socket.received());
            }
        }
        self.begun.writes_from(self.socket.sent());
    }

    /// Bytes of the TCP stream so far, from the peer and to it: of every exchange, heads, framing and
    /// encryption included.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            received: self.socket.received(),
            sent: self.socket.sent(),
        }
    }

    /// When the request went to the kernel, as we see it.
    pub fn request_written(&self) -> Option<Instant> {
        self.begun.request_written()
    }

    /// Time that the thread had stood in the run queue when the request was written.
    pub fn queued_at_written(&self) -> Option<std::time::Duration> {
        self.begun.queued_at_written()
    }

    /// The stamps of the exchange so far, the tap's included.
    pub fn stamps(&self) -> Stamps<'_> {
        if let Some(watch) = &self.watch {
            watch.drain().ok();
        }
        Stamps::new(self.socket.reads(), self.watch.as_ref(), &self.begun)
    }

    /// Whether another exchange can begin: the last one is read to its end, and the peer has neither
    /// closed since nor said what it may not.
    pub fn is_ready(&mut self) -> bool {
        if !(self.open && self.protocol.is_reusable()) {
            return false;
        }
        self.open = self.heed().is_ok_and(|()| self.protocol.is_reusable());
        self.socket.release_buffer();
        self.open
    }

    /// Hears what the peer says while nobody asks it anything, which TLS and HTTP/2 allow. The answers go
    /// with the next request.
    fn heed(&mut self) -> Result<(), ExchangeError> {
        loop {
            let (plain, left) = match &self.tls {
                None => (self.socket.bytes(), &mut self.unread),
                Some(records) => (records.plaintext(), &mut self.undecoded),
            };
            let bytes = plain.get(std::mem::take(left)).unwrap_or_default();
            self.protocol.idle(bytes)?;
            if self.next_record()? {
                continue;
            }
            if self.tls.as_ref().is_some_and(Records::is_closed) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if !self.socket.take_pending()? {
                return Ok(());
            }
            self.unread = 0..self.socket.bytes().len();
        }
    }
}
