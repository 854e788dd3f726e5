//! The tap against real connections on loopback.

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

fn the_kernel_passes_only_what_is_wanted(mut watched: Pair, server: &TcpListener) {
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
fn the_kernel_passes_only_what_opens_or_carries_bytes_of_the_watched() {
    let Some(tap) = tap() else { return };
    let server = server();
    the_kernel_passes_only_what_is_wanted(Pair::open(&tap, &server), &server);
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
