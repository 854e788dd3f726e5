//! The tap: packet sockets on which the kernel shows the segments of our connections, each with its own
//! stamp. A TCP socket's own stamps are exact only for the last segment of a read; these always are.
//!
//! Only headers are taken, only of the watched ports, and only of segments that open a stream or carry
//! bytes. Needs CAP_NET_RAW, and sees addresses as they are on the wire: a connection whose addresses
//! are translated in this network namespace looks like one that was never opened.

mod connection;
mod filter;
mod packet;
#[cfg(test)]
mod tests;

use self::connection::{Connection, Ends, Sighting};
use super::clock::KernelTime;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    LinkAddr, MsgFlags, MultiHeaders, RecvMsg, TimestampingFlag, Timestamps, recvmmsg, setsockopt,
    sockopt,
};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

/// Connections per packet socket. Its filter runs once per packet of this network namespace, and grows with
/// each of them.
const MAX_CONNECTIONS: usize = 256;
/// Packet sockets, so 1024 connections.
const MAX_SOCKETS: usize = 4;
/// Room for a packet: the longest headers have 120 bytes.
const SNAP: usize = 128;
/// Packets taken per system call.
const BATCH: usize = 32;
/// Bytes of headers that the kernel may queue between two drains, by its own reckoning: ten thousand
/// packets. Without CAP_NET_ADMIN `net.core.rmem_max` may allow only some hundred.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Reads of a packet socket's connections between two drains: well below those some hundred packets.
const READS_PER_DRAIN: usize = 64;

/// Watches connections, many per packet socket. Clones share the sockets.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    listeners: Arc<Mutex<Vec<Arc<Mutex<Listener>>>>>,
}

/// One watched connection. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Watch {
    listener: Arc<Mutex<Listener>>,
    connection: Arc<Mutex<Connection>>,
}

impl Tap {
    /// Opens the first packet socket. Keep the tap: the kernel begins to stamp packets a moment after the
    /// first such socket is opened, and packets without a stamp count as not seen.
    ///
    /// # Errors
    /// Permission denied without CAP_NET_RAW.
    pub(super) fn open() -> io::Result<Self> {
        let first = Arc::new(Mutex::new(Listener::open()?));
        let listeners = Arc::new(Mutex::new(vec![first]));
        Ok(Self { listeners })
    }

    /// Watches the connection that will be opened from this port: bind, watch, connect.
    ///
    /// # Errors
    /// When the kernel refuses, or too many connections are watched already.
    pub(super) fn watch(&self, local_port: u16) -> io::Result<Watch> {
        let mut listeners = self.listeners.lock();
        let free = listeners.iter().find(|l| l.lock().has_room()).cloned();
        let listener = match free {
            Some(listener) => listener,
            None if listeners.len() < MAX_SOCKETS => {
                let another = Arc::new(Mutex::new(Listener::open()?));
                listeners.push(another.clone());
                another
            }
            None => return Err(io::ErrorKind::ResourceBusy.into()),
        };
        let connection = listener.lock().add(local_port)?;
        Ok(Watch {
            listener,
            connection,
        })
    }
}

impl Watch {
    /// Names the two ends. From now on only segments between exactly these count, of the earlier ones too.
    pub(super) fn connected(&self, local: SocketAddr, peer: SocketAddr) {
        self.connection.lock().connected(Ends::new(local, peer));
    }

    /// Takes everything that the kernel has queued, for this connection and for those beside it.
    ///
    /// # Errors
    /// When the packet socket fails.
    pub(super) fn drain(&self) -> io::Result<()> {
        self.listener.lock().drain()
    }

    /// One of the connections has read from its own socket. Every so many such reads of them together the
    /// packet socket is emptied, so that its buffer never fills.
    pub(super) fn note_read(&self) {
        let mut listener = self.listener.lock();
        listener.reads += 1;
        if listener.reads >= READS_PER_DRAIN {
            // What it fails to tell is missing, and the next clock serves.
            listener.reads = 0;
            listener.drain().ok();
        }
    }

    /// A new run begins behind these offsets of the two streams; older stamps are forgotten.
    pub(super) fn begin(&self, sent: u64, received: u64) {
        let mut connection = self.connection.lock();
        connection.sent.forget(sent);
        connection.received.forget(received);
    }

    /// When the peer's first `offset` bytes were complete. Of what was drained, like the others here.
    pub(super) fn arrival(&self, offset: u64) -> Option<KernelTime> {
        self.connection.lock().received.completed(offset)
    }

    /// When our byte at `offset` first left.
    pub(super) fn departure(&self, offset: u64) -> Option<KernelTime> {
        self.connection.lock().sent.first_sent(offset)
    }

    /// When our first SYN left.
    pub(super) fn syn(&self) -> Option<KernelTime> {
        self.connection.lock().sent.opened()
    }
}

/// A packet socket and the connections that it serves.
#[derive(Debug)]
struct Listener {
    socket: Socket,
    /// By port, ascending.
    connections: Vec<(u16, Weak<Mutex<Connection>>)>,
    /// Of the connections' own sockets, since this one was emptied.
    reads: usize,
}

impl Listener {
    /// Of every protocol, although on its way out a packet is then copied: loopback shows each on its way
    /// in too, but to a socket of one protocol only after TCP has handled it, and stamped as late.
    fn open() -> io::Result<Self> {
        let every_protocol = (libc::ETH_P_ALL as u16).to_be();
        let protocol = Protocol::from(i32::from(every_protocol));
        // Cooked: packets begin with the network header, whatever the link. Closed on exec by default.
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::PACKET, kind, Some(protocol))?;
        socket.attach_filter(&filter::program(&[])?)?;
        // Not SO_TIMESTAMPNS: it makes up a stamp at the read where a packet has none.
        let stamps = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(&socket, sockopt::Timestamping, &stamps)?;
        // Beyond the system's limit with CAP_NET_ADMIN, up to it without.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        Ok(Self {
            socket,
            connections: Vec::new(),
            reads: 0,
        })
    }

    fn has_room(&mut self) -> bool {
        self.connections.retain(|(_, c)| c.strong_count() > 0);
        self.connections.len() < MAX_CONNECTIONS
    }

    fn add(&mut self, port: u16) -> io::Result<Arc<Mutex<Connection>>> {
        // What is queued is not the new connection's, even if an earlier one had its port.
        self.drain()?;
        let connection = Arc::<Mutex<Connection>>::default();
        let place = self.connections.partition_point(|(p, _)| *p < port);
        let entry = (port, Arc::downgrade(&connection));
        self.connections.insert(place, entry);
        let ports: Vec<u16> = self.connections.iter().map(|(port, _)| *port).collect();
        let filter = filter::program(&ports)?;
        self.socket.attach_filter(&filter)?;
        Ok(connection)
    }

    fn drain(&self) -> io::Result<()> {
        let mut room = [[0; SNAP]; BATCH];
        // A batch that is not full emptied the queue.
        while self.take(&mut room)? == BATCH {}
        Ok(())
    }

    /// Takes a batch and answers how many packets it had.
    fn take(&self, room: &mut [[u8; SNAP]; BATCH]) -> io::Result<usize> {
        let mut slices = room.each_mut().map(|bytes| [IoSliceMut::new(bytes)]);
        // New for each batch: the kernel overwrites the lengths in it, and `nix` does not restore them.
        let control = Some(cmsg_space!(Timestamps));
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, control);
        let socket = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_TRUNC;
        match recvmmsg(socket, &mut headers, &mut slices, flags, None) {
            Ok(packets) => Ok(packets.inspect(|packet| self.read(packet)).count()),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// What has no whole TCP header, and what the kernel did not stamp, counts as not seen.
    fn read(&self, packet: &RecvMsg<LinkAddr>) {
        let Some(sighting) = Sighting::read(packet) else {
            return;
        };
        let port = sighting.port();
        let first = self.connections.partition_point(|(p, _)| *p < port);
        let of_port = self.connections.iter().skip(first);
        for (_, connection) in of_port.take_while(|(p, _)| *p == port) {
            if let Some(connection) = connection.upgrade() {
                connection.lock().take(sighting);
            }
        }
    }
}
