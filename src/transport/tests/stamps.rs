//! Stamps are those of the writes, by every clock, and what is not exact says by how much.

use super::server::{Peer, Signals, Tls, Written, listener};
use super::{dial, get, read_body, run};
use crate::transport::{Availability, ClockKind, Clocks, Connection, Stamps};
use bytes::Bytes;
use http::Request;
use rustls::version::TLS13;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a stamp may lie beside the instants around its cause.
const SLACK: Duration = Duration::from_millis(2);
/// Keeps writes further apart than that.
const PAUSE: Duration = Duration::from_millis(12);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const END: &[u8] = b"0\r\n\r\n";

/// An event in a chunk of its own; where its last byte ends is 2 bytes before the end of the write, or
/// there, under TLS.
fn event(peer: &mut Peer, number: usize, tls: Tls) -> (u64, Written) {
    let written = peer.write(format!("a\r\ndata: {number:02}\n\n\r\n").as_bytes());
    let framing = if tls.is_some() { 0 } else { 2 };
    (written.end - framing, written)
}

/// What the clock claims holds the truth, and is no later than the stamp.
#[track_caller]
fn assert_holds(stamps: &Stamps<'_>, clock: ClockKind, (position, truth): (u64, Written)) {
    let arrival = stamps.arrival(clock, position).expect("a stamp");
    let uncertainty = stamps.uncertainty(clock, position).expect("a bound");
    assert_within(Some(arrival), truth.before, truth.after + uncertainty);
}

#[track_caller]
fn assert_within(stamp: Option<Instant>, before: Instant, after: Instant) {
    let stamp = stamp.expect("a stamp");
    let early = before.saturating_duration_since(stamp);
    let late = stamp.saturating_duration_since(after);
    assert!(
        early <= SLACK && late <= SLACK,
        "early by {early:?}, late by {late:?}"
    );
}

/// Whether there is a tap; if not, a line about it.
fn has_wire() -> bool {
    let wire = run(async |clocks| clocks.status().wire);
    if wire != Availability::Available {
        eprintln!("skipped: the packet tap is {}", wire.as_str());
    }
    wire == Availability::Available
}

/// The kernel begins to stamp somewhat after it is asked to.
async fn until_stamped(clocks: &Clocks) {
    let wire = clocks.status().wire == Availability::Available;
    loop {
        let (listener, address) = listener("127.0.0.1");
        let peer = std::thread::spawn(move || {
            let mut peer = Peer::accept(&listener, None);
            peer.take_request();
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
        });
        let mut connection = dial(address, false, clocks).await;
        connection.send(get()).await.unwrap();
        read_body(&mut connection).await.unwrap();
        peer.join().unwrap();
        let stamps = connection.stamps();
        let by_wire = stamps.connection_began().is_some() || !wire;
        if stamps.arrival(ClockKind::Socket, 1).is_some() && by_wire {
            return;
        }
    }
}

/// How a client lets bytes wait.
#[derive(Clone, Copy, Debug)]
enum Absent {
    /// Its thread is busy.
    Busy,
    /// Its thread sleeps and wakes, but the task waits for something else.
    Elsewhere,
}

impl Absent {
    async fn wait(self, signals: Signals) -> Signals {
        if matches!(self, Self::Busy) {
            signals.wait();
            return signals;
        }
        let waiting = tokio::task::spawn_blocking(|| {
            signals.wait();
            signals
        });
        waiting.await.unwrap()
    }
}

async fn next(connection: &mut Connection) -> u64 {
    let chunk = connection.chunk().await.unwrap().unwrap();
    assert_eq!(chunk.data.len(), 10);
    chunk.position(10)
}

#[test]
fn a_write_that_is_read_by_itself_has_its_own_stamp() {
    const EVENTS: usize = 20;
    for tls in [None, Some(&TLS13)] {
        let (listener, address) = listener("127.0.0.1");
        let (peers, clients) = Signals::pair();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut peer = Peer::accept(&listener, tls);
                peer.take_request();
                peer.write(HEAD);
                let events = (0..EVENTS).map(|number| {
                    peers.wait();
                    event(&mut peer, number, tls)
                });
                let events: Vec<_> = events.collect();
                peers.wait();
                peer.write(END);
                events
            });
            run(async |clocks| {
                until_stamped(&clocks).await;
                let mut connection = dial(address, tls.is_some(), &clocks).await;
                connection.send(get()).await.unwrap();
                let mut positions = Vec::new();
                for _ in 0..EVENTS {
                    clients.tell();
                    positions.push(next(&mut connection).await);
                }
                clients.tell();
                assert!(connection.chunk().await.unwrap().is_none());
                let events = writing.join().unwrap();
                let stamps = connection.stamps();
                for ((position, truth), seen) in events.into_iter().zip(positions) {
                    assert_eq!(position, seen);
                    let exact = stamps.uncertainty(ClockKind::Socket, position);
                    assert_eq!(exact, Some(Duration::ZERO));
                    assert_holds(&stamps, ClockKind::Socket, (position, truth));
                    assert_holds(&stamps, ClockKind::User, (position, truth));
                    if clocks.status().wire == Availability::Available {
                        assert_holds(&stamps, ClockKind::Wire, (position, truth));
                    }
                }
                assert!(!stamps.clock_was_set());
            });
        });
    }
}

/// Two events that wait while nobody reads, behind one that was read at once.
fn together(tls: Tls, absent: Absent) {
    let (listener, address) = listener("127.0.0.1");
    let (peers, clients) = Signals::pair();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut peer = Peer::accept(&listener, tls);
            peer.take_request();
            peer.write(HEAD);
            event(&mut peer, 0, tls);
            peers.wait();
            // The client is about to be absent, and is.
            std::thread::sleep(PAUSE);
            let early = event(&mut peer, 1, tls);
            std::thread::sleep(PAUSE);
            let late = event(&mut peer, 2, tls);
            std::thread::sleep(PAUSE);
            peers.tell();
            peers.wait();
            (early, late)
        });
        run(async |clocks| {
            until_stamped(&clocks).await;
            let mut connection = dial(address, tls.is_some(), &clocks).await;
            connection.send(get()).await.unwrap();
            next(&mut connection).await;
            clients.tell();
            let clients = absent.wait(clients).await;
            next(&mut connection).await;
            next(&mut connection).await;
            clients.tell();
            let (early, late) = writing.join().unwrap();
            let stamps = connection.stamps();
            let reads = [early, late].map(|(position, _)| stamps.read_index(position));
            assert_eq!(reads[0], reads[1], "they were read together");
            let exact = stamps.uncertainty(ClockKind::Socket, late.0);
            assert_eq!(exact, Some(Duration::ZERO));
            for clock in [ClockKind::Socket, ClockKind::User] {
                assert_holds(&stamps, clock, early);
                assert_holds(&stamps, clock, late);
            }
            if clocks.status().wire == Availability::Available {
                assert_holds(&stamps, ClockKind::Wire, early);
                assert_holds(&stamps, ClockKind::Wire, late);
            }
        });
    });
}

#[test]
fn of_two_writes_that_a_busy_thread_reads_together_the_last_is_exact_and_the_other_bounded() {
    together(None, Absent::Busy);
    together(Some(&TLS13), Absent::Busy);
}

#[test]
fn of_two_writes_that_a_task_elsewhere_reads_together_the_last_is_exact_and_the_other_bounded() {
    together(None, Absent::Elsewhere);
    together(Some(&TLS13), Absent::Elsewhere);
}

#[test]
fn an_event_is_not_exact_by_the_stamp_of_an_end_that_came_later() {
    let (listener, address) = listener("127.0.0.1");
    let (peers, clients) = Signals::pair();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut peer = Peer::accept(&listener, None);
            peer.take_request();
            peer.write(HEAD);
            peers.wait();
            let last = event(&mut peer, 1, None);
            std::thread::sleep(PAUSE);
            peer.write(END);
            peers.tell();
            last
        });
        run(async |clocks| {
            until_stamped(&clocks).await;
            let mut connection = dial(address, false, &clocks).await;
            connection.send(get()).await.unwrap();
            clients.tell();
            Absent::Busy.wait(clients).await;
            next(&mut connection).await;
            assert!(connection.chunk().await.unwrap().is_none());
            let last = writing.join().unwrap();
            assert_holds(&connection.stamps(), ClockKind::Socket, last);
        });
    });
}

#[test]
fn what_a_thread_has_slept_for_is_no_older_than_its_waking() {
    const EVENTS: usize = 10;
    let (listener, address) = listener("127.0.0.1");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut peer = Peer::accept(&listener, None);
            peer.take_request();
            peer.write(HEAD);
            for number in 0..EVENTS {
                std::thread::sleep(PAUSE);
                event(&mut peer, number, None);
            }
            peer.wait_for_close();
        });
        run(async |clocks| {
            until_stamped(&clocks).await;
            let mut connection = dial(address, false, &clocks).await;
            connection.send(get()).await.unwrap();
            let mut bounds = Vec::new();
            for _ in 0..EVENTS {
                // Of its first byte nothing is known but that.
                let first = next(&mut connection).await - 9;
                let bound = connection.stamps().uncertainty(ClockKind::Socket, first);
                bounds.push(bound.unwrap());
            }
            if clocks.run_queue_delay().is_none() {
                eprintln!("skipped: the kernel keeps no scheduler statistics");
                return;
            }
            let least = bounds.into_iter().min();
            assert!(least < Some(SLACK), "{least:?}");
        });
    });
}

/// What a request's stamps are checked against.
struct Sent {
    before: Instant,
    after: Instant,
}

#[track_caller]
fn assert_request(stamps: &Stamps<'_>, sent: &Sent, taken: Instant) {
    let (left, last) = (stamps.request_left(), stamps.request_sent());
    assert_within(left, sent.before, sent.after.min(taken));
    assert_within(last, sent.before, sent.after.min(taken));
    assert_within(stamps.request_written(), sent.before, sent.after);
    assert!(left <= last, "{left:?}, {last:?}");
}

/// Several exchanges of one connection, as the wire saw them.
fn wire_stamps_are_true(ip: &str, tls: Tls) {
    const EXCHANGES: usize = 3;
    if !has_wire() {
        return;
    }
    let (listener, address) = listener(ip);
    let (took, taken) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut peer = Peer::accept(&listener, tls);
            for _ in 0..EXCHANGES {
                peer.take_until(b"the end");
                let at = Instant::now();
                peer.write(HEAD);
                let event = event(&mut peer, 1, tls);
                peer.write(END);
                took.send((at, event)).ok();
            }
            peer.wait_for_close();
        });
        run(async |clocks| {
            until_stamped(&clocks).await;
            let dialled = Instant::now();
            let mut connection = dial(address, tls.is_some(), &clocks).await;
            let connected = Instant::now();
            for exchange in 0..EXCHANGES {
                std::thread::sleep(PAUSE);
                // Of several segments, the second.
                let body = [vec![b'x'; exchange * 150_000], b"the end".to_vec()].concat();
                let request = Request::post("/").body(Bytes::from(body)).unwrap();
                let before = Instant::now();
                connection.send(request).await.unwrap();
                let after = Instant::now();
                assert_eq!(read_body(&mut connection).await.unwrap().len(), 10);
                let (at, event) = taken.recv().unwrap();
                let stamps = connection.stamps();
                assert_within(stamps.connection_began(), dialled, connected);
                assert_request(&stamps, &Sent { before, after }, at);
                assert_holds(&stamps, ClockKind::Wire, event);
                assert_holds(&stamps, ClockKind::Socket, event);
                assert!(connection.is_ready());
            }
        });
    });
}

#[test]
fn the_wire_sees_a_connection_begin_and_each_of_its_requests_leave_over_ipv4() {
    wire_stamps_are_true("127.0.0.1", None);
}

#[test]
fn the_wire_sees_a_connection_begin_and_each_of_its_requests_leave_over_ipv6() {
    wire_stamps_are_true("::1", None);
}

#[test]
fn the_wire_sees_a_connection_begin_and_each_of_its_requests_leave_under_tls() {
    wire_stamps_are_true("127.0.0.1", Some(&TLS13));
}
