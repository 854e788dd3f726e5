//! The tap: packet sockets on which the kernel shows the segments of our connections, each with its own
//! stamp. A TCP socket's own stamps are exact only for the last segment of a read; these always are.
//!
//! Only headers are taken, only of the watched ports, and only of segments that open a stream or carry
//! bytes. Needs CAP_NET_RAW, and sees addresses as they are on the wire: a connection whose addresses
//! are translated in this network namespace looks like one that was never opened.

mod connection;
mod filter;
mod packet;

use self::connection::{Connection, Ends, Sighting};
use super::clock::KernelTime;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    LinkAddr, MsgFlags, MultiHeaders, TimestampingFlag, Timestamps, recvmmsg, setsockopt, sockopt,
};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

/// Connections per packet socket: what one filter, whose jumps are eight bits wide, compares with ease.
/// It runs once per packet of this network namespace and socket.
const MAX_CONNECTIONS: usize = 64;
/// Packet sockets, so 1024 connections.
const MAX_SOCKETS: usize = 16;
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
    connections: Vec<(u16, Weak<Mutex<Connection>>)>,
    /// Of the connections' own sockets, since this one was emptied.
    reads: usize,
}

impl Listener {
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
        self.connections.push((port, Arc::downgrade(&connection)));
        let ports: Vec<u16> = self.connections.iter().map(|(port, _)| *port).collect();
        self.socket.attach_filter(&filter::program(&ports)?)?;
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
            Ok(packets) => Ok(packets
                .map(|packet| {
                    if let Some(sighting) = Sighting::read(&packet) {
                        self.deliver(sighting);
                    }
                })
                .count()),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn deliver(&self, sighting: Sighting) {
        let port = sighting.port();
        let of_port = self.connections.iter().filter(|(p, _)| *p == port);
        for connection in of_port.filter_map(|(_, connection)| connection.upgrade()) {
            connection.lock().take(sighting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::wall_now;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
    use std::ops::RangeInclusive;
    use std::time::{Duration, Instant};

    /// What a stamp may lie after the call that caused it.
    const SLACK: i64 = 1_000_000;
    /// Keeps neighbouring spans apart.
    const PAUSE: Duration = Duration::from_millis(3);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Between which instants something was done.
    type Span = RangeInclusive<i64>;

    fn timed<T>(action: impl FnOnce() -> T) -> (T, Span) {
        let now = || i64::try_from(wall_now().as_nanosecond()).unwrap();
        let before = now();
        let result = action();
        (result, before..=now() + SLACK)
    }

    #[track_caller]
    fn assert_within(stamp: Option<KernelTime>, span: &Span) {
        let stamp = stamp.expect("a stamp").0;
        assert!(span.contains(&stamp), "{stamp} is not within {span:?}");
    }

    struct Pair {
        watch: Watch,
        client: TcpStream,
        server: TcpStream,
        connecting: Span,
    }

    impl Pair {
        /// Connects to a server, of whose peer the watch does not know yet.
        fn dial(tap: &Tap, server: &TcpListener, address: SocketAddr) -> Self {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            let any = match address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SocketAddr::new(any, 0).into()).unwrap();
            let bound = socket.local_addr().unwrap().as_socket().unwrap();
            let watch = tap.watch(bound.port()).unwrap();
            let (connected, connecting) = timed(|| socket.connect(&address.into()));
            connected.unwrap();
            let (client, server): (TcpStream, _) = (socket.into(), server.accept().unwrap().0);
            // Nagle would hold the next write back until the last is acknowledged.
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            Self {
                watch,
                client,
                server,
                connecting,
            }
        }

        fn connected(self) -> Self {
            let (local, peer) = (self.client.local_addr(), self.client.peer_addr());
            self.watch.connected(local.unwrap(), peer.unwrap());
            self
        }

        fn open(tap: &Tap, server: &TcpListener) -> Self {
            Self::dial(tap, server, server.local_addr().unwrap()).connected()
        }

        fn ask(&mut self, bytes: usize) -> Span {
            std::thread::sleep(PAUSE);
            transfer(&mut self.client, &mut self.server, bytes)
        }

        fn answer(&mut self, bytes: usize) -> Span {
            std::thread::sleep(PAUSE);
            transfer(&mut self.server, &mut self.client, bytes)
        }
    }

    /// How long the write took. The bytes are read when it returns.
    fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) -> Span {
        std::thread::scope(|scope| {
            let (sent, mut received) = (vec![7; bytes], vec![0; bytes]);
            let reader = scope.spawn(move || to.read_exact(&mut received));
            let (written, span) = timed(|| from.write_all(&sent));
            written.unwrap();
            reader.join().unwrap().unwrap();
            span
        })
    }

    fn server() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    /// A tap whose socket is stamped already; none, and a line about it, without the capability.
    fn tap() -> Option<Tap> {
        let tap = match Tap::open() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                println!("skipped: packet sockets need CAP_NET_RAW");
                return None;
            }
            tap => tap.unwrap(),
        };
        let (server, deadline) = (server(), Instant::now() + PATIENCE);
        loop {
            let pair = Pair::open(&tap, &server);
            pair.watch.drain().unwrap();
            if pair.watch.syn().is_some() {
                return Some(tap);
            }
            assert!(Instant::now() < deadline, "the kernel does not stamp");
        }
    }

    fn stamps_are_those_of_the_writes(mut pair: Pair) {
        for _run in 0..2 {
            let (sent, received) = (pair.watch.departure(0), pair.watch.arrival(1));
            let [sent, received] = [sent.map_or(0, |_| 8), received.map_or(0, |_| 15)];
            pair.watch.begin(sent, received);
            let asked = pair.ask(8);
            let answers: Vec<Span> = (1..6).map(|bytes| pair.answer(bytes)).collect();
            pair.watch.drain().unwrap();
            assert_within(pair.watch.syn(), &pair.connecting);
            assert_within(pair.watch.departure(sent), &asked);
            assert_within(pair.watch.departure(sent + 7), &asked);
            assert_eq!(pair.watch.departure(sent + 8), None);
            let mut end = received;
            for (bytes, answer) in (1..).zip(&answers) {
                assert_within(pair.watch.arrival(end + 1), answer);
                end += bytes;
                assert_within(pair.watch.arrival(end), answer);
            }
            assert_eq!(pair.watch.arrival(received), None);
            assert_eq!(pair.watch.arrival(end + 1), None);
        }
    }

    #[test]
    fn stamps_are_those_of_the_writes_over_ipv4() {
        let Some(tap) = tap() else { return };
        stamps_are_those_of_the_writes(Pair::open(&tap, &server()));
    }

    #[test]
    fn stamps_are_those_of_the_writes_over_ipv6() {
        let Some(tap) = tap() else { return };
        let server = TcpListener::bind("[::1]:0").unwrap();
        stamps_are_those_of_the_writes(Pair::open(&tap, &server));
    }

    #[test]
    fn stamps_are_those_of_the_writes_over_ipv4_in_an_ipv6_socket() {
        let Some(tap) = tap() else { return };
        let server = server();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let address = SocketAddr::new(mapped.into(), server.local_addr().unwrap().port());
        let pair = Pair::dial(&tap, &server, address).connected();
        stamps_are_those_of_the_writes(pair);
    }

    #[test]
    fn what_a_neighbour_drained_before_the_peer_was_known_is_not_lost() {
        let Some(tap) = tap() else { return };
        let server = server();
        let address = server.local_addr().unwrap();
        let first = Pair::dial(&tap, &server, address).connected();
        let mut second = Pair::dial(&tap, &server, address);
        let greeting = second.answer(4);
        first.watch.drain().unwrap();
        assert_eq!(second.watch.syn(), None);
        let second = second.connected();
        assert_within(first.watch.syn(), &first.connecting);
        assert_eq!(first.watch.arrival(1), None);
        assert_within(second.watch.syn(), &second.connecting);
        assert_within(second.watch.arrival(4), &greeting);
    }

    #[test]
    fn the_kernel_passes_only_what_opens_or_carries_bytes_of_the_watched() {
        let Some(tap) = tap() else { return };
        let server = server();
        let mut watched = Pair::open(&tap, &server);
        let mut unwatched = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let mut its_server = server.accept().unwrap().0;
        transfer(&mut unwatched, &mut its_server, 10);
        transfer(&mut its_server, &mut unwatched, 10);
        watched.ask(5);
        watched.answer(6);
        let listener = watched.watch.listener.lock();
        let packets = listener.take(&mut [[0; SNAP]; BATCH]).unwrap();
        assert_eq!(packets, 4, "SYN, SYN-ACK, question, answer");
    }

    #[test]
    fn more_connections_than_a_socket_serves_are_told_apart() {
        let Some(tap) = tap() else { return };
        let server = server();
        let mut pairs: Vec<Pair> = (0..MAX_CONNECTIONS + 6)
            .map(|_| Pair::open(&tap, &server))
            .collect();
        let spans: Vec<Span> = pairs.iter_mut().map(|pair| pair.answer(3)).collect();
        assert_eq!(tap.listeners.lock().len(), 2);
        for (pair, span) in pairs.iter().zip(&spans) {
            pair.watch.drain().unwrap();
            assert_within(pair.watch.syn(), &pair.connecting);
            assert_within(pair.watch.arrival(3), span);
            assert_eq!(pair.watch.arrival(4), None);
        }
    }

    #[test]
    fn large_segments_do_not_fill_the_queue() {
        let Some(tap) = tap() else { return };
        let mut pair = Pair::open(&tap, &server());
        // Of whole packets, not even half would fit.
        let spans = (0..300).map(|_| transfer(&mut pair.server, &mut pair.client, 60_000));
        let spans: Vec<Span> = spans.collect();
        pair.watch.drain().unwrap();
        for (count, span) in (1..).zip(&spans) {
            assert_within(pair.watch.arrival(count * 60_000), span);
        }
    }

    #[test]
    fn a_full_tap_refuses_until_a_watch_ends() {
        let Some(tap) = tap() else { return };
        let most = MAX_CONNECTIONS * MAX_SOCKETS;
        let mut watches: Vec<Watch> = (0..most).map(|_| tap.watch(9).unwrap()).collect();
        let refused = tap.watch(9).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::ResourceBusy));
        watches.swap_remove(70);
        tap.watch(9).unwrap();
    }

    fn a_large_write_is_mapped_wholly(mut pair: Pair) {
        const BYTES: usize = 1 << 20;
        // The last segments leave only when the reader has made room, after the write.
        let (_, asked) = timed(|| pair.ask(BYTES));
        let (_, answered) = timed(|| pair.answer(BYTES));
        pair.watch.drain().unwrap();
        let mut last = None;
        for offset in (0..BYTES as u64).step_by(1000) {
            assert_within(pair.watch.departure(offset), &asked);
            let arrival = pair.watch.arrival(offset + 1);
            assert_within(arrival, &answered);
            assert!(arrival >= last);
            last = arrival;
        }
        assert_within(pair.watch.arrival(BYTES as u64), &answered);
    }

    #[test]
    fn a_large_write_is_mapped_wholly_over_ipv4() {
        let Some(tap) = tap() else { return };
        a_large_write_is_mapped_wholly(Pair::open(&tap, &server()));
    }

    #[test]
    fn a_large_write_is_mapped_wholly_over_ipv6() {
        let Some(tap) = tap() else { return };
        let server = TcpListener::bind("[::1]:0").unwrap();
        a_large_write_is_mapped_wholly(Pair::open(&tap, &server));
    }
}
