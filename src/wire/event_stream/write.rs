//! Messages as services write them, for whoever passes for one.

use super::{CHECKSUM, PRELUDE};

/// The type of a header's value that is a text.
const TEXT: u8 = 7;

/// A message with these headers, whose values are texts, and this payload. Names are at most 255 bytes long and values
/// at most 65535; longer ones are cut, as is a payload that no message could hold.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let value_len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        encoded.push(name_len);
        encoded.extend(name.bytes().take(name_len.into()));
        encoded.push(TEXT);
        encoded.extend(value_len.to_be_bytes());
        encoded.extend(value.bytes().take(value_len.into()));
    }
    let framing = PRELUDE + encoded.len() + CHECKSUM;
    let room = (u32::MAX as usize).saturating_sub(framing);
    let payload = payload.get(..room).unwrap_or(payload);
    let mut out = Vec::with_capacity(framing + payload.len());
    for length in [framing + payload.len(), encoded.len()] {
        out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&encoded);
    out.extend_from_slice(payload);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}
