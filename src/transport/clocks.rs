//! What stamps there are for the connections of one thread.

use super::clock::{ClockChoice, ClockKind};
use super::socket::{Arming, StampedSocket};
use super::tap::{Tap, Watch};
use super::wakeups::Wakeups;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Whether a clock is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Available,
    /// The configuration does not want it.
    Off,
    /// It needs CAP_NET_RAW, which this process lacks.
    NoPermission,
    /// The system does not have it.
    Unsupported,
}

impl Availability {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Off => "off",
            Self::NoPermission => "no_permission",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Which clocks were asked for, and which are there. What a run has got is in its observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// As configured.
    pub choice: ClockChoice,
    /// The packet tap.
    pub wire: Availability,
    /// The kernel's receive stamps.
    pub socket: Availability,
}

impl ClockStatus {
    /// The best clock that runs can expect.
    pub fn best(&self) -> ClockKind {
        let available = |clock: &ClockKind| match clock {
            ClockKind::Wire => self.wire == Availability::Available,
            ClockKind::Socket => self.socket == Availability::Available,
            ClockKind::User => true,
        };
        let mut candidates = self.choice.candidates();
        candidates.find(available).unwrap_or(ClockKind::User)
    }
}

/// The clocks of one thread's connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Clocks {
    status: ClockStatus,
    wakeups: Arc<Wakeups>,
    tap: Option<Tap>,
    read_delay: Option<Duration>,
    _arming: Option<Arc<Arming>>,
}

impl Clocks {
    /// Opens what is there of what is wanted. `wakeups` are those of the thread.
    pub fn open(choice: ClockChoice, wakeups: Arc<Wakeups>) -> Self {
        // The user clock wants to know how late it is, so the kernel's stamps are read in any case.
        let arming = Arming::start();
        let socket = match arming {
            Some(_) => Availability::Available,
            None => Availability::Unsupported,
        };
        let wanted = choice.candidates().any(|clock| clock == ClockKind::Wire);
        let (wire, tap) = match wanted {
            false => (Availability::Off, None),
            true => match Tap::open() {
                Ok(tap) => (Availability::Available, Some(tap)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    (Availability::NoPermission, None)
                }
                Err(_) => (Availability::Unsupported, None),
            },
        };
        Self {
            status: ClockStatus {
                choice,
                wire,
                socket,
            },
            wakeups,
            tap,
            read_delay: None,
            _arming: arming.map(Arc::new),
        }
    }

    /// For what is not measured: no tap.
    pub fn plain() -> Self {
        Self::open(ClockChoice::Best(ClockKind::Socket), Wakeups::new())
    }

    /// The same with a deliberate flaw: the thread idles so long before each read. For the self-test's
    /// own test.
    pub fn with_read_delay(self, delay: Duration) -> Self {
        Self {
            read_delay: Some(delay),
            ..self
        }
    }

    /// What is there.
    pub fn status(&self) -> ClockStatus {
        self.status
    }

    /// Time that the thread has waited for a CPU since it began. To be called from it only.
    pub fn run_queue_delay(&self) -> Option<Duration> {
        self.wakeups.run_queue_delay()
    }

    /// Connects. With a tap the port is bound before, so that the tap sees the first packet.
    pub(super) async fn connect(
        &self,
        peer: SocketAddr,
    ) -> io::Result<(StampedSocket, Option<Watch>)> {
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        let watch = self.tap.as_ref().and_then(|tap| watch(tap, &socket, peer));
        let tcp = socket.connect(peer).await?;
        // Without it a small request may wait for the peer's delayed acknowledgement.
        tcp.set_nodelay(true).ok();
        let watch = watch.filter(|watch| is_connected(watch, &tcp));
        let stamped = self.status.socket == Availability::Available;
        let mut socket = StampedSocket::new(tcp, self.wakeups.clone(), stamped);
        socket.read_delay = self.read_delay;
        Ok((socket, watch))
    }

    /// Connects to a Unix socket: no packets for a tap, and no stamps of the kernel.
    pub(super) async fn connect_local(&self, path: &Path) -> io::Result<StampedSocket> {
        let stream = UnixStream::connect(path).await?;
        let mut socket = StampedSocket::new(stream, self.wakeups.clone(), false);
        socket.read_delay = self.read_delay;
        Ok(socket)
    }
}

impl Default for Clocks {
    /// Whatever is there, for a thread whose waits nobody notes.
    fn default() -> Self {
        Self::open(ClockChoice::Auto, Wakeups::new())
    }
}

/// Without a port or a place in the filter the next clock serves.
fn watch(tap: &Tap, socket: &TcpSocket, peer: SocketAddr) -> Option<Watch> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(any).ok()?;
    tap.watch(socket.local_addr().ok()?.port()).ok()
}

fn is_connected(watch: &Watch, tcp: &TcpStream) -> bool {
    let pair = tcp
        .local_addr()
        .and_then(|local| Ok((local, tcp.peer_addr()?)));
    pair.map(|(local, peer)| watch.connected(local, peer))
        .is_ok()
}
