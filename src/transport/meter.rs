//! The stamp: taken the moment a read returns, below TLS and HTTP, before anybody looks at a byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// When a socket was last read and written. Shared by the socket and whoever wants to know.
#[derive(Debug)]
pub(super) struct Meter {
    base: Instant,
    last_read: AtomicU64,
    last_write: AtomicU64,
}

/// No read or write yet.
const NEVER: u64 = u64::MAX;

impl Meter {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            last_read: AtomicU64::new(NEVER),
            last_write: AtomicU64::new(NEVER),
        })
    }

    fn mark(&self, cell: &AtomicU64) {
        // 584 years of nanoseconds fit.
        let nanos = Instant::now().duration_since(self.base).as_nanos() as u64;
        cell.store(nanos, Ordering::Release);
    }

    fn read(&self, cell: &AtomicU64) -> Option<Instant> {
        match cell.load(Ordering::Acquire) {
            NEVER => None,
            nanos => Some(self.base + Duration::from_nanos(nanos)),
        }
    }

    /// When the last read that brought bytes returned.
    pub(super) fn last_read(&self) -> Option<Instant> {
        self.read(&self.last_read)
    }

    /// When the last write returned.
    pub(super) fn last_write(&self) -> Option<Instant> {
        self.read(&self.last_write)
    }
}

/// A socket that stamps its reads and writes.
pub(super) struct StampedStream {
    socket: TcpStream,
    meter: Arc<Meter>,
    /// The last read filled its buffer, so the next one continues it: what both bring was there at
    /// the same time, as far as can be told, and shares a stamp.
    more: bool,
}

impl StampedStream {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            meter: Meter::new(),
            more: false,
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }
}

impl AsyncRead for StampedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let Poll::Ready(result) = Pin::new(&mut self.socket).poll_read(cx, buf) else {
            self.more = false;
            return Poll::Pending;
        };
        if buf.filled().len() > before && !self.more {
            self.meter.mark(&self.meter.last_read);
        }
        self.more = buf.remaining() == 0;
        Poll::Ready(result)
    }
}

impl AsyncWrite for StampedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.socket).poll_write(cx, buf));
        self.meter.mark(&self.meter.last_write);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs));
        self.meter.mark(&self.meter.last_write);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
