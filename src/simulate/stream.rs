//! The server's side of one TCP connection: it stamps reads and writes and can end in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::arrival::Arrivals;
use super::log::{OpenEntry, TokenTime};

/// What the HTTP layer tells the socket below it, and the other way round.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<Mutex<WireState>>);

/// When bytes arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When the read returned.
    pub(super) read: Instant,
    /// When the kernel received the last segment of what was read, if it says so.
    pub(super) kernel: Option<Instant>,
}

/// A frame on its way from the HTTP layer to the kernel.
#[derive(Debug)]
pub(super) struct Mark {
    /// Cannot end before the frame is written.
    pub(super) entry: Arc<OpenEntry>,
    /// Tokens that the frame completes; 0 for one without.
    pub(super) tokens: u32,
    pub(super) reasoning: bool,
}

/// One system call that the kernel took bytes from.
#[derive(Clone, Copy, Debug)]
struct Write {
    began: Instant,
    returned: Instant,
}

#[derive(Debug)]
struct WireState {
    last_arrival: Arrival,
    last_write: Option<Write>,
    mark: Option<Mark>,
    /// Who waits for the mark's end: under HTTP/2 several answers, in tasks of their own.
    waiting: Vec<Waker>,
    /// Bytes of bodies that the layers above have handed down, where somebody counts them, and how many it
    /// will be with what is marked.
    handed_down: Option<(u64, u64)>,
    reset_on_close: bool,
}

impl Wire {
    /// A connection accepted just now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(WireState {
            last_arrival: Arrival {
                read: Instant::now(),
                kernel: None,
            },
            last_write: None,
            mark: None,
            waiting: Vec::new(),
            handed_down: None,
            reset_on_close: false,
        })))
    }

    /// When bytes last arrived.
    pub(super) fn last_arrival(&self) -> Arrival {
        self.0.lock().last_arrival
    }

    /// Announces a frame of so many bytes that the HTTP layer gets now. Ask [`Wire::is_writing`] before.
    pub(super) fn mark(&self, mark: Mark, bytes: usize) {
        let mut state = self.0.lock();
        state.mark = Some(mark);
        if let Some((handed_down, due)) = &mut state.handed_down {
            *due = *handed_down + bytes as u64;
        }
    }

    /// Whether a frame is still on its way. If so, the task is woken when it is not.
    pub(super) fn is_writing(&self, context: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        let is_writing = state.mark.is_some();
        if is_writing {
            state.waiting.push(context.waker().clone());
        }
        is_writing
    }

    /// So many bytes of bodies have left HTTP/2, which may keep them for a while.
    pub(super) fn hand_down(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.handed_down.get_or_insert_default().0 += bytes;
    }

    /// Closing sends RST instead of FIN from now on.
    pub(super) fn reset_on_close(&self) {
        self.0.lock().reset_on_close = true;
    }

    fn wrote(&self, began: Instant) {
        let returned = Instant::now();
        self.0.lock().last_write = Some(Write { began, returned });
    }

    /// The layers above have nothing left to write: what was marked is written, TLS or not.
    fn flushed(&self) {
        let mut state = self.0.lock();
        if state.handed_down.is_some_and(|(now, due)| now < due) {
            return;
        }
        let Some(mark) = state.mark.take() else {
            return;
        };
        let waiting = std::mem::take(&mut state.waiting);
        let write = state.last_write;
        drop(state);
        if let Some(Write { began, returned }) = write {
            mark.entry.wrote(TokenTime {
                at: began,
                written: returned,
                tokens: mark.tokens,
                reasoning: mark.reasoning,
            });
        }
        for waker in waiting {
            waker.wake();
        }
    }
}

/// A connection that reports to its [`Wire`].
#[derive(Debug)]
pub(super) struct SimulatedStream {
    tcp: TcpStream,
    arrivals: Arrivals,
    wire: Wire,
}

impl SimulatedStream {
    /// Wraps an accepted connection.
    pub(super) fn new(tcp: TcpStream, wire: Wire) -> Self {
        Self {
            tcp,
            arrivals: Arrivals::new(),
            wire,
        }
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
        let Self { tcp, arrivals, .. } = &mut *self;
        let kernel = ready!(arrivals.poll_read(tcp, context, buffer))?;
        let read = Instant::now();
        if buffer.filled().len() > before {
            self.wire.0.lock().last_arrival = Arrival { read, kernel };
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let began = Instant::now();
        let written = ready!(Pin::new(&mut self.tcp).poll_write(context, bytes))?;
        self.wire.wrote(began);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let began = Instant::now();
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(context, slices))?;
        self.wire.wrote(began);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_flush(context))?;
        self.wire.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::simulate::log::{RequestHistory, tests::log};

    #[tokio::test]
    async fn a_frame_is_written_when_its_last_byte_is_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (tcp, _) = listener.accept().await.unwrap();
        let wire = Wire::new();
        let mut stream = SimulatedStream::new(tcp, wire.clone());
        let history = RequestHistory::new(1);
        let mark = Mark {
            entry: history.open(log(0)),
            tokens: 1,
            reasoning: false,
        };
        wire.mark(mark, 32 << 20);
        let nobody = Context::from_waker(Waker::noop());
        // More than the buffers of a loopback connection hold.
        let frame = vec![b'x'; 32 << 20];
        let mut rest = frame.as_slice();
        let stuck = async {
            while !rest.is_empty() {
                let written = stream.write(rest).await.unwrap();
                rest = &rest[written..];
            }
        };
        let patience = Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, stuck).await.is_err());
        assert!(rest.len() < frame.len(), "the kernel took a part");
        let [log] = &history.snapshot()[..] else {
            panic!("one request was made");
        };
        assert!(wire.is_writing(&nobody) && log.token_times.is_empty() && log.ended.is_none());

        let unstuck = Instant::now();
        let drain = async {
            let mut bytes = vec![0; frame.len()];
            client.unwrap().read_exact(&mut bytes).await.unwrap();
        };
        let finish = async {
            stream.write_all(rest).await.unwrap();
            stream.flush().await.unwrap();
        };
        tokio::join!(drain, finish);
        let finished = Instant::now();
        let [log] = &history.snapshot()[..] else {
            panic!("one request was made");
        };
        let [time] = log.token_times[..] else {
            panic!("one frame is one write");
        };
        assert!(log.ended >= Some(time.written));
        assert!(unstuck <= time.at && time.at <= time.written && time.written <= finished);
        assert!(!wire.is_writing(&nobody));
    }
}
