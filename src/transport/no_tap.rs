//! Where there are no packet sockets there is no tap.

use super::clock::KernelTime;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

/// Never there.
#[derive(Clone, Debug)]
pub(super) struct Tap(Infallible);

/// Never there.
#[derive(Debug)]
pub(super) struct Watch(Infallible);

impl Tap {
    pub(super) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn watch(&self, _local_port: u16) -> io::Result<Watch> {
        match self.0 {}
    }
}

impl Watch {
    pub(super) fn connected(&self, _local: SocketAddr, _peer: SocketAddr) {
        match self.0 {}
    }

    pub(super) fn drain(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn note_read(&self) {
        match self.0 {}
    }

    pub(super) fn begin(&self, _sent: u64, _received: u64) {
        match self.0 {}
    }

    pub(super) fn arrival(&self, _position: u64) -> Option<KernelTime> {
        match self.0 {}
    }

    pub(super) fn departure(&self, _position: u64) -> Option<KernelTime> {
        match self.0 {}
    }

    pub(super) fn syn(&self) -> Option<KernelTime> {
        match self.0 {}
    }
}
