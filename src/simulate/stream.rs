//! The server's side of one TCP connection: it stamps writes and can end in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::log::{Recording, TokenTime};

/// What the HTTP layer tells the socket below it, and the other way round.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<Mutex<WireState>>);

#[derive(Debug)]
struct WireState {
    last_read: Instant,
    marks: Vec<Mark>,
    reset_on_close: bool,
}

#[derive(Debug)]
struct Mark {
    recording: Recording,
    tokens: u32,
    reasoning: bool,
}

impl Wire {
    /// A connection accepted just now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(WireState {
            last_read: Instant::now(),
            marks: Vec::new(),
            reset_on_close: false,
        })))
    }

    /// When bytes last arrived.
    pub(super) fn last_read(&self) -> Instant {
        self.0.lock().last_read
    }

    /// The next write completes a frame; one without tokens has 0.
    pub(super) fn mark(&self, recording: &Recording, tokens: u32, reasoning: bool) {
        self.0.lock().marks.push(Mark {
            recording: Arc::clone(recording),
            tokens,
            reasoning,
        });
    }

    /// Closing sends RST instead of FIN from now on.
    pub(super) fn reset_on_close(&self) {
        self.0.lock().reset_on_close = true;
    }

    fn stamp_marks(&self) {
        let mut state = self.0.lock();
        if state.marks.is_empty() {
            return;
        }
        let at = Instant::now();
        for mark in state.marks.drain(..) {
            let Mark {
                recording,
                tokens,
                reasoning,
            } = mark;
            recording.lock().wrote(TokenTime {
                at,
                tokens,
                reasoning,
            });
        }
    }
}

/// A connection that reports to its [`Wire`].
#[derive(Debug)]
pub(super) struct SimulatedStream {
    tcp: TcpStream,
    wire: Wire,
}

impl SimulatedStream {
    /// Wraps an accepted connection.
    pub(super) fn new(tcp: TcpStream, wire: Wire) -> Self {
        Self { tcp, wire }
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        if self.wire.0.lock().reset_on_close {
            // Fails only on a socket that is gone already, which is what we want.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.wire.0.lock().last_read = Instant::now();
        }
        result
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.stamp_marks();
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.stamp_marks();
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
