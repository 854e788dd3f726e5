//! Header fields as HTTP/2 writes them (RFC 7541): all of it is read; written is the simplest of it, which
//! leaves nothing for the peer to remember.

use super::huffman;
use std::collections::VecDeque;

/// What an entry of the table counts beside its bytes (section 4.1).
const ENTRY_BYTES: usize = 32;
/// Largest size of the peer's table: what holds unless another one is announced.
const TABLE_BYTES: usize = 4096;

/// Why a block of header fields cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of header fields cannot be decoded")]
pub(super) struct Undecodable;

/// Reads the blocks of one connection, all of them and in order.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Latest first.
    table: VecDeque<Field>,
    size: usize,
    limit: usize,
}

type Field = (Vec<u8>, Vec<u8>);

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            limit: TABLE_BYTES,
        }
    }

    /// Hands each field of a block to `take`, name and value.
    pub(super) fn decode<E: From<Undecodable>>(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(first) = block.first() {
            match first.leading_zeros() {
                // Both from the table.
                0 => {
                    let index = integer(&mut block, 7)?;
                    let (name, value) = self.entry(index)?;
                    take(name, value)?;
                }
                1 => {
                    let (name, value) = self.literal(&mut block, 6)?;
                    take(&name, &value)?;
                    self.remember(name, value);
                }
                2 => {
                    let limit = integer(&mut block, 5)?;
                    if limit > TABLE_BYTES {
                        return Err(Undecodable.into());
                    }
                    self.limit = limit;
                    self.evict();
                }
                _ => {
                    let (name, value) = self.literal(&mut block, 4)?;
                    take(&name, &value)?;
                }
            }
        }
        Ok(())
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Result<Field, Undecodable> {
        let name = match integer(block, prefix)? {
            0 => string(block)?,
            index => self.entry(index)?.0.to_vec(),
        };
        Ok((name, string(block)?))
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Undecodable> {
        let index = index.checked_sub(1).ok_or(Undecodable)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(index - STATIC.len()).ok_or(Undecodable)?;
        Ok((name, value))
    }

    fn remember(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.size += name.len() + value.len() + ENTRY_BYTES;
        self.table.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some((name, value)) = self.table.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// An integer (section 5.1) whose first bits are the last `prefix` ones of a byte; it is taken off the front.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Undecodable> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(byte(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    // Nothing here has more than 28 bits.
    for shift in [0, 7, 14, 21] {
        let next = byte(block)?;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Undecodable)
}

fn byte(block: &mut &[u8]) -> Result<u8, Undecodable> {
    let (first, rest) = block.split_first().ok_or(Undecodable)?;
    *block = rest;
    Ok(*first)
}

/// A string (section 5.2); it is taken off the front.
fn string(block: &mut &[u8]) -> Result<Vec<u8>, Undecodable> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Undecodable)?;
    *block = rest;
    match is_coded {
        true => huffman::decode(text).ok_or(Undecodable),
        false => Ok(text.to_vec()),
    }
}

/// Writes a field as a literal that enters no table; where it is a secret, none on the way either.
pub(super) fn encode(block: &mut Vec<u8>, name: &[u8], value: &[u8], is_secret: bool) {
    block.push(if is_secret { 0x10 } else { 0 });
    for text in [name, value] {
        let mut left = text.len();
        if left < 0x7f {
            block.push(left as u8);
        } else {
            block.push(0x7f);
            left -= 0x7f;
            while left >= 0x80 {
                block.push(left as u8 | 0x80);
                left >>= 7;
            }
            block.push(left as u8);
        }
        block.extend_from_slice(text);
    }
}

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests;
