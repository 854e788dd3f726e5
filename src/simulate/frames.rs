//! What HTTP/2 hands down: how much of it is body, so that a frame of an answer is known to be written when
//! it is, and not while its connection still holds it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Wire;

/// Length, type, flags and stream: RFC 9113, section 4.1.
const HEADER: usize = 9;
const DATA: u8 = 0;

/// Counts the bytes of DATA frames; our own are never padded.
#[derive(Debug, Default)]
struct Meter {
    header: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
    is_data: bool,
}

impl Meter {
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut data = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = HEADER - self.header.len();
                let (header, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                if let [high, middle, low, kind, _, _, _, _, _] = *self.header {
                    self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                    self.is_data = kind == DATA;
                    self.header.clear();
                }
            }
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= payload.len();
            if self.is_data {
                data += payload.len() as u64;
            }
            bytes = rest;
        }
        data
    }
}

/// A server's side of HTTP/2.
#[derive(Debug)]
pub(super) struct MeteredStream<S> {
    inner: S,
    meter: Meter,
    wire: Wire,
}

impl<S> MeteredStream<S> {
    /// Nothing has been written yet.
    pub(super) fn new(inner: S, wire: Wire) -> Self {
        wire.hand_down(0);
        Self {
            inner,
            meter: Meter::default(),
            wire,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        let data = self.meter.pass(bytes.get(..written).unwrap_or_default());
        self.wire.hand_down(data);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        let (mut left, mut data) = (written, 0);
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            data += self.meter.pass(part);
            left -= part.len();
        }
        self.wire.hand_down(data);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_payload_of_data_is_counted_however_the_bytes_come() {
        let mut bytes = Vec::new();
        for (kind, payload) in [(4, 12), (DATA, 300), (1, 70), (DATA, 0), (DATA, 1), (6, 8)] {
            bytes.extend([0, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1]);
            bytes.extend(std::iter::repeat_n(DATA, payload));
        }
        for size in [1, 2, 8, 9, 10, 64, bytes.len()] {
            let mut meter = Meter::default();
            let counted: u64 = bytes.chunks(size).map(|part| meter.pass(part)).sum();
            assert_eq!(counted, 301, "{size}");
        }
    }
}
