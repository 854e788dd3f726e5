//! TLS by records: each is cut out of the stream and handed to rustls whole and alone, so that its
//! plaintext keeps the place, and with it the stamp, of the record's last byte. (Left to read for
//! itself, rustls reads 4 KiB pieces that have nothing to do with records.)

use rustls::ClientConnection;
use std::io;

/// Content type, version, length: RFC 8446, section 5.1.
const HEADER: usize = 5;

/// A TLS connection over bytes that somebody else reads and writes.
pub(super) struct Records {
    tls: ClientConnection,
    /// What has come of the header of the record that is not complete.
    header: Vec<u8>,
    /// Bytes of its payload that are still to come, once the header has.
    missing: usize,
    /// The plaintext of the record taken last.
    plaintext: Vec<u8>,
    outgoing: Vec<u8>,
    closed: bool,
}

impl Records {
    pub(super) fn new(tls: ClientConnection) -> Self {
        Self {
            tls,
            header: Vec::with_capacity(HEADER),
            missing: 0,
            plaintext: Vec::new(),
            outgoing: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// What was chosen by ALPN, once the handshake is over.
    pub(super) fn agreed(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The peer has said that it sends no more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next record off the front of `bytes`, decrypts it and says how many bytes it took. Of an
    /// incomplete record all are taken, and there is no plaintext yet. So it is behind the peer's closing,
    /// where nothing counts (RFC 8446, section 6.1).
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plaintext.clear();
        if self.closed {
            return Ok(bytes.len());
        }
        let length = self.pass(bytes);
        self.decrypt(bytes.get(..length).unwrap_or_default())?;
        Ok(length)
    }

    /// How many of these bytes belong to the record that is being taken.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let (header, rest) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
        self.header.extend_from_slice(header);
        if let [_, _, _, high, low] = *self.header
            && !header.is_empty()
        {
            self.missing = usize::from(u16::from_be_bytes([high, low]));
        }
        let payload = self.missing.min(rest.len());
        self.missing -= payload;
        if self.missing == 0 && self.header.len() == HEADER {
            self.header.clear();
        }
        header.len() + payload
    }

    /// What the record taken last says.
    pub(super) fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// Rustls keeps what is not a whole record, and refuses what cannot become one.
    fn decrypt(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let state = self.tls.process_new_packets().map_err(invalid)?;
        self.closed |= state.peer_has_closed();
        let length = state.plaintext_bytes_to_read();
        if length > 0 {
            self.plaintext.resize(length, 0);
            io::Read::read_exact(&mut self.tls.reader(), &mut self.plaintext)?;
        }
        Ok(())
    }

    /// Encrypts what is to be sent.
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> io::Result<()> {
        self.tls.set_buffer_limit(None);
        io::Write::write_all(&mut self.tls.writer(), plaintext)
    }

    /// Bytes that are to be written to the socket now: sealed data, and what the protocol itself wants
    /// to say. Empty when there are none.
    pub(super) fn outgoing(&mut self) -> io::Result<&[u8]> {
        self.outgoing.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.outgoing)?;
        }
        Ok(&self.outgoing)
    }
}

#[cfg(test)]
mod tests;
