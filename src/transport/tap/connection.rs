//! What was seen of one watched connection.

use super::packet::Headers;
use crate::transport::clock::KernelTime;
use crate::transport::segments::{Direction, Segment};
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, RecvMsg};
use nix::sys::time::TimeValLike;
use std::net::SocketAddr;

/// Segments kept while the ends are not known: a handshake, and what follows it before the connecting task
/// goes on. What is beyond it counts as not seen.
const MAX_EARLY: usize = 64;

/// The ends of a connection as packets have them: IPv4 as IPv4, without scope and flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    local: SocketAddr,
    peer: SocketAddr,
}

impl Ends {
    pub(super) fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let wire = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let (local, peer) = (wire(local), wire(peer));
        Self { local, peer }
    }
}

/// The two streams of a connection, and what came before its ends were known.
#[derive(Debug, Default)]
pub(super) struct Connection {
    ends: Option<Ends>,
    early: Vec<Sighting>,
    pub(super) sent: Direction,
    pub(super) received: Direction,
}

impl Connection {
    /// Sorts what came early, and from now on what comes.
    pub(super) fn connected(&mut self, ends: Ends) {
        self.ends = Some(ends);
        for sighting in std::mem::take(&mut self.early) {
            self.take(sighting);
        }
    }

    /// Takes note of a segment, if it may be this connection's.
    pub(super) fn take(&mut self, sighting: Sighting) {
        match self.ends {
            None if self.early.len() < MAX_EARLY => self.early.push(sighting),
            Some(ends) if ends == sighting.ends => match sighting.outgoing {
                true => self.sent.record(sighting.segment),
                false => self.received.record(sighting.segment),
            },
            _ => {}
        }
    }
}

/// A segment, and where and which way it was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    ends: Ends,
    outgoing: bool,
    segment: Segment,
}

impl Sighting {
    /// Reads a packet. Absent for what has no whole TCP header, and for what the kernel did not stamp.
    pub(super) fn read(packet: &RecvMsg<LinkAddr>) -> Option<Self> {
        let outgoing = packet.address?.pkttype() == libc::PACKET_OUTGOING;
        let at = packet.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system.num_nanoseconds()),
            _ => None,
        })?;
        let headers = Headers::parse(packet.iovs().next()?, packet.bytes)?;
        let (local, peer) = match outgoing {
            true => (headers.source, headers.destination),
            false => (headers.destination, headers.source),
        };
        Some(Self {
            ends: Ends { local, peer },
            outgoing,
            segment: Segment {
                seq: headers.seq,
                len: headers.payload,
                syn: headers.syn,
                at: KernelTime(at),
            },
        })
    }

    /// Our port, if it is ours.
    pub(super) fn port(&self) -> u16 {
        self.ends.local.port()
    }
}
