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
    /// The beginning of a record that is not complete.
    partial: Vec<u8>,
    /// The plaintext of the record taken last.
    plaintext: Vec<u8>,
    outgoing: Vec<u8>,
    closed: bool,
}

impl Records {
    pub(super) fn new(tls: ClientConnection) -> Self {
        Self {
            tls,
            partial: Vec::new(),
            plaintext: Vec::new(),
            outgoing: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The peer has said that it sends no more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next record off the front of `bytes`, decrypts it and says how many bytes it took. An
    /// incomplete record is kept: all bytes are taken, and there is no plaintext.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plaintext.clear();
        if self.partial.is_empty()
            && let Some(record) = record_length(bytes).and_then(|length| bytes.get(..length))
        {
            self.decrypt(record)?;
            return Ok(record.len());
        }
        let before = self.partial.len();
        let missing = match record_length(&self.partial) {
            Some(length) => length - before,
            None => HEADER - before,
        };
        let taken = missing.min(bytes.len());
        self.partial
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if record_length(&self.partial) == Some(self.partial.len()) {
            let mut record = std::mem::take(&mut self.partial);
            self.decrypt(&record)?;
            record.clear();
            self.partial = record;
        }
        Ok(taken)
    }

    /// What the record taken last says.
    pub(super) fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    fn decrypt(&mut self, mut record: &[u8]) -> io::Result<()> {
        while !record.is_empty() {
            if self.tls.read_tls(&mut record)? == 0 {
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

/// Bytes of the record that begins here, its header included; absent before the header is complete.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, ..] = bytes else {
        return None;
    };
    Some(HEADER + usize::from(u16::from_be_bytes([*high, *low])))
}
