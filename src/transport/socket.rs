//! The measured socket: everything that is pending is read in one go, and stamped before anybody looks
//! at a byte.

use super::clock::KernelTime;
use super::stream::Stream;
use super::wakeups::Wakeups;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// First size of a read; reads that fill it double it.
const READ_BYTES: usize = 16 * 1024;
/// Largest size of a read. What is beyond it comes with the next one.
const MOST_READ_BYTES: usize = 1 << 20;

/// One read of everything that was pending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// Offset in the peer's stream just behind the last byte.
    pub(super) end: u64,
    /// The monotonic clock right after the read.
    pub(super) user: Instant,
    /// When the kernel received the last segment of the read. It keeps no other stamp of a read.
    pub(super) kernel: Option<KernelTime>,
    /// No byte of the read arrived before this: the socket was seen empty then, or its thread was not
    /// even runnable yet.
    pub(super) not_before: Instant,
    /// More was pending than fits into one read, so that even its last byte may be older than its stamp.
    pub(super) cut_short: bool,
}

/// A connection that stamps what it reads.
#[derive(Debug)]
pub(super) struct StampedSocket {
    stream: Stream,
    wakeups: Arc<Wakeups>,
    control: receive::Control,
    buffer: Vec<u8>,
    /// The bytes of the last read are `buffer[..filled]`.
    filled: usize,
    received: u64,
    sent: u64,
    reads: Vec<Read>,
    /// The socket was empty at this instant.
    empty: Instant,
    /// What came behind the bytes of the last read, for the next one to tell.
    failure: Option<io::Error>,
    /// A deliberate flaw, see [`super::Clocks::with_read_delay`].
    pub(super) read_delay: Option<Duration>,
}

impl StampedSocket {
    /// `stamped`: ask the kernel for its receive stamps, which it has for TCP.
    pub(super) fn new(stream: impl Into<Stream>, wakeups: Arc<Wakeups>, stamped: bool) -> Self {
        let stream = stream.into();
        Self {
            control: receive::Control::new(&stream, stamped),
            stream,
            wakeups,
            buffer: Vec::new(),
            filled: 0,
            received: 0,
            sent: 0,
            reads: Vec::new(),
            empty: Instant::now(),
            failure: None,
            read_delay: None,
        }
    }

    /// Waits for bytes and takes all that are pending; `false` at the end of the stream. The bytes of
    /// the read before are gone then.
    pub(super) async fn read(&mut self) -> io::Result<bool> {
        // Only what the thread slept for was not there before it woke.
        let mut waited = false;
        std::future::poll_fn(|cx| {
            let poll = self.poll_read(cx, waited);
            waited = true;
            poll
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, waited: bool) -> Poll<io::Result<bool>> {
        self.filled = 0;
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            if let Some(delay) = self.read_delay {
                std::thread::sleep(delay);
            }
            if let Some(end) = self.try_read(waited)? {
                return Poll::Ready(Ok(!end));
            }
        }
    }

    /// Reads until the socket is empty; `None` when it was from the beginning, else whether its end has
    /// come. An end or a failure behind bytes is left to the next read.
    fn try_read(&mut self, waited: bool) -> io::Result<Option<bool>> {
        if self.buffer.is_empty() {
            self.buffer.resize(READ_BYTES, 0);
        }
        let woke = self.wakeups.earliest().filter(|_| waited);
        let not_before = woke.map_or(self.empty, |woke| woke.max(self.empty));
        let mut last = None;
        let mut cut_short = false;
        loop {
            let space = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let (room, control, mut got) = (space.len(), &mut self.control, None);
            // What this finds nothing of, or takes everything of, comes later than that.
            let asked = Instant::now();
            let result = self.stream.try_io(Interest::READABLE, || {
                let received = control.receive(&self.stream, space)?;
                got = Some((Instant::now(), received));
                // Less than there was room for: the socket is empty, which saves asking it again. Only a
                // would-block clears the readiness.
                match received.bytes > 0 && received.bytes < room {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            let Some((user, received)) = got else {
                match result {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => match last {
                        Some(_) => self.failure = Some(error),
                        None => return Err(error),
                    },
                    _ => self.empty = asked,
                }
                break;
            };
            if received.bytes == 0 {
                match last {
                    Some(_) => break,
                    None => return Ok(Some(true)),
                }
            }
            self.filled += received.bytes;
            self.received += received.bytes as u64;
            last = Some((user, received.kernel));
            if received.bytes < room {
                self.empty = asked;
                break;
            }
            if self.buffer.len() >= MOST_READ_BYTES {
                cut_short = true;
                break;
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let Some((user, kernel)) = last else {
            return Ok(None);
        };
        self.reads.push(Read {
            end: self.received,
            user,
            kernel,
            not_before: not_before.min(user),
            cut_short,
        });
        Ok(Some(false))
    }

    /// Time that the thread has stood in the run queue.
    pub(super) fn run_queue_delay(&self) -> Option<Duration> {
        self.wakeups.run_queue_delay()
    }

    /// The bytes of the last read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Offset in the peer's stream just behind the bytes of the last read.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes written so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes all of it.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes some of it, and says how much. Nothing, where the wait is given up.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.sent += written as u64;
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what is pending, unstamped, without a wait; `false` when there is nothing. The kernel is asked,
    /// since the runtime's readiness is as old as its last turn.
    pub(super) fn take_pending(&mut self) -> io::Result<bool> {
        self.filled = 0;
        if self.buffer.is_empty() {
            self.buffer.resize(READ_BYTES, 0);
        }
        let asked = Instant::now();
        match self.control.receive(&self.stream, &mut self.buffer) {
            Ok(received) if received.bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => {
                self.filled = received.bytes;
                self.received += received.bytes as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.empty = asked;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The reads since they were last forgotten, in order.
    pub(super) fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// Another exchange begins.
    pub(super) fn forget_reads(&mut self) {
        self.reads.clear();
    }

    /// Gives the read buffer back: an idle connection holds none.
    pub(super) fn release_buffer(&mut self) {
        self.buffer = Vec::new();
        self.filled = 0;
    }
}

/// What one receive call brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    bytes: usize,
    kernel: Option<KernelTime>,
}

pub(super) use receive::Arming;

#[cfg(target_os = "linux")]
mod receive {
    use super::{KernelTime, Received, Stream};
    use nix::sys::socket::sockopt::Timestamping;
    use nix::sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, TimestampingFlag,
        Timestamps, recvmsg, setsockopt, socket,
    };
    use std::io::{self, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

    /// Software receive stamps, and to be told them.
    fn arm(socket: &impl AsFd) -> bool {
        let flags = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(socket, Timestamping, &flags).is_ok()
    }

    /// Keeps the kernel stamping. It starts to with the first socket that asks, and somewhat later than
    /// that; so one asks at the start and stays.
    #[derive(Debug)]
    pub(in super::super) struct Arming(#[expect(dead_code, reason = "held open")] OwnedFd);

    impl Arming {
        /// Absent where the kernel has no stamps.
        pub(in super::super) fn start() -> Option<Self> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None).ok()?;
            arm(&socket).then_some(Self(socket))
        }
    }

    /// Room for the control messages of a read.
    #[derive(Debug)]
    pub(super) struct Control(Option<Vec<u8>>);

    impl Control {
        /// A Unix socket gets no room: nothing is stamped there, and a peer could send files.
        pub(super) fn new(stream: &Stream, stamped: bool) -> Self {
            let stamped = stamped && matches!(stream, Stream::Tcp(_)) && arm(stream);
            Self(stamped.then(|| nix::cmsg_space!(Timestamps)))
        }

        pub(super) fn receive(&mut self, stream: &Stream, into: &mut [u8]) -> io::Result<Received> {
            let mut slices = [IoSliceMut::new(into)];
            let control = self.0.as_mut().map(|space| {
                space.resize(space.capacity(), 0);
                space.as_mut_slice()
            });
            let fd = stream.as_raw_fd();
            let message = recvmsg::<()>(fd, &mut slices, control, MsgFlags::MSG_DONTWAIT)?;
            let mut kernel = None;
            if message.bytes > 0
                && let Ok(messages) = message.cmsgs()
            {
                for message in messages {
                    if let ControlMessageOwned::ScmTimestampsns(stamps) = message {
                        let at = stamps.system;
                        let nanos = at.tv_sec().checked_mul(1_000_000_000);
                        let nanos = nanos.and_then(|nanos| nanos.checked_add(at.tv_nsec()));
                        kernel = nanos.filter(|nanos| *nanos > 0).map(KernelTime);
                    }
                }
            }
            Ok(Received {
                bytes: message.bytes,
                kernel,
            })
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod receive {
    use super::{Received, Stream};
    use std::io;

    /// There are no kernel stamps here.
    #[derive(Debug)]
    pub(in super::super) struct Arming;

    impl Arming {
        pub(in super::super) fn start() -> Option<Self> {
            None
        }
    }

    #[derive(Debug)]
    pub(super) struct Control;

    impl Control {
        pub(super) fn new(_stream: &Stream, _stamped: bool) -> Self {
            Self
        }

        pub(super) fn receive(&mut self, stream: &Stream, into: &mut [u8]) -> io::Result<Received> {
            // `try_io` of the caller and this one agree on what is pending.
            let bytes = stream.try_read(into)?;
            Ok(Received {
                bytes,
                kernel: None,
            })
        }
    }
}
