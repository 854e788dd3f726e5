//! When bytes arrived, by the kernel's word: a server that is late to read does not know otherwise.
//! Not the prober's code for the same, on purpose: the judge must not share its faults.

pub(super) use imp::Arrivals;

#[cfg(target_os = "linux")]
mod imp {
    use std::io::{self, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd as _};
    use std::task::{Context, Poll, ready};
    use std::time::{Duration, Instant};

    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt, sockopt,
    };
    use nix::sys::time::TimeSpec;
    use rustix::time::ClockId;
    use tokio::io::{Interest, ReadBuf};
    use tokio::net::TcpStream;
    use tracing::debug;

    use crate::simulate::anchor::Anchor;

    /// Reads from a connection together with the kernel's stamps.
    #[derive(Debug)]
    pub(in crate::simulate) struct Arrivals {
        control: Vec<u8>,
    }

    impl Arrivals {
        /// Asks for stamps. On a listener, which hands the wish down to what it accepts, this has
        /// the kernel stamp before the first connection: it begins only a while after the first wish.
        pub(in crate::simulate) fn request(socket: &impl AsFd) {
            let flags = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
                | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
            if let Err(error) = setsockopt(&socket.as_fd(), sockopt::Timestamping, &flags) {
                debug!(%error, "the kernel does not stamp what arrives");
            }
        }

        /// A reader of stamped sockets.
        pub(in crate::simulate) fn new() -> Self {
            Self {
                control: nix::cmsg_space!(Timestamps),
            }
        }

        /// Reads, and tells when the last segment of what was read had arrived; absent where the
        /// kernel does not say.
        pub(in crate::simulate) fn poll_read(
            &mut self,
            tcp: &mut TcpStream,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<Option<Instant>>> {
            loop {
                ready!(tcp.poll_read_ready(context))?;
                let read = tcp.try_io(Interest::READABLE, || {
                    let mut into = [IoSliceMut::new(buffer.initialize_unfilled())];
                    let control = Some(self.control.as_mut_slice());
                    let message =
                        recvmsg::<()>(tcp.as_raw_fd(), &mut into, control, MsgFlags::empty())?;
                    let stamp = message.cmsgs()?.find_map(|control| match control {
                        ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system),
                        _ => None,
                    });
                    Ok((message.bytes, stamp))
                });
                match read {
                    Ok((length, stamp)) => {
                        buffer.advance(length);
                        return Poll::Ready(Ok(stamp.and_then(instant)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
    }

    /// The kernel stamps by the wall clock. A stamp of the future means that the clock was set
    /// back meanwhile; it tells nothing then.
    fn instant(stamp: TimeSpec) -> Option<Instant> {
        let now = Anchor::take(ClockId::Realtime);
        let stamp = Duration::from(stamp);
        let nanos = u64::try_from(stamp.as_nanos()).ok()?;
        now.instant(nanos).filter(|at| *at <= Instant::now())
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use tokio::io::{AsyncRead as _, ReadBuf};
    use tokio::net::TcpStream;

    /// Reads without stamps: this system has none of the kind.
    #[derive(Debug)]
    pub(in crate::simulate) struct Arrivals;

    impl Arrivals {
        pub(in crate::simulate) fn request<T>(_socket: &T) {}

        pub(in crate::simulate) fn new() -> Self {
            Self
        }

        pub(in crate::simulate) fn poll_read(
            &mut self,
            tcp: &mut TcpStream,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<Option<Instant>>> {
            Pin::new(tcp).poll_read(context, buffer).map_ok(|()| None)
        }
    }
}
