//! The frames of HTTP/2 (RFC 9113, section 4.1): nine bytes that say what follows.

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// Largest payload that may be sent to who has not announced another limit, which we do not.
pub(super) const PAYLOAD: usize = 16_384;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Priorities, which nobody heeds any more, and whatever else there may be (section 4.1).
    Other,
}

/// Of a stream's last frame.
pub(super) const END_STREAM: u8 = 0x1;
/// Of the answer to a ping or to settings.
pub(super) const ACK: u8 = 0x1;
/// Of a block's last frame.
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) fn read(bytes: [u8; HEADER]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind: match kind {
                0x0 => Kind::Data,
                0x1 => Kind::Headers,
                0x3 => Kind::ResetStream,
                0x4 => Kind::Settings,
                0x5 => Kind::PushPromise,
                0x6 => Kind::Ping,
                0x7 => Kind::GoAway,
                0x8 => Kind::WindowUpdate,
                0x9 => Kind::Continuation,
                _ => Kind::Other,
            },
            flags,
            stream: u32::from_be_bytes(stream) & STREAM_BITS,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The first bit means nothing.
pub(super) const STREAM_BITS: u32 = 0x7fff_ffff;

/// Writes a frame. The payload is not longer than the peer allows.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    let kind = match kind {
        Kind::Data => 0x0,
        Kind::Headers => 0x1,
        Kind::Other => 0x2,
        Kind::ResetStream => 0x3,
        Kind::Settings => 0x4,
        Kind::PushPromise => 0x5,
        Kind::Ping => 0x6,
        Kind::GoAway => 0x7,
        Kind::WindowUpdate => 0x8,
        Kind::Continuation => 0x9,
    };
    out.extend_from_slice(&[high, middle, low, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The name of an error's code (section 7).
pub(in crate::transport) fn error_name(code: u32) -> &'static str {
    match code {
        0x0 => "NO_ERROR",
        0x1 => "PROTOCOL_ERROR",
        0x2 => "INTERNAL_ERROR",
        0x3 => "FLOW_CONTROL_ERROR",
        0x4 => "SETTINGS_TIMEOUT",
        0x5 => "STREAM_CLOSED",
        0x6 => "FRAME_SIZE_ERROR",
        0x7 => "REFUSED_STREAM",
        0x8 => "CANCEL",
        0x9 => "COMPRESSION_ERROR",
        0xa => "CONNECT_ERROR",
        0xb => "ENHANCE_YOUR_CALM",
        0xc => "INADEQUATE_SECURITY",
        0xd => "HTTP_1_1_REQUIRED",
        _ => "an unknown code",
    }
}
