//! Cuts bytes into lines. Every byte is looked at once, however the input is split.

use super::DecodeError;

/// Which bytes end a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// LF, with a CR before it taken off.
    Lf,
    /// CR, LF or CR LF, as SSE has it.
    Any,
}

/// A line without its end.
#[derive(Clone, Copy)]
pub(super) enum Line<'fed, 'kept> {
    /// All of it was in the bytes fed last.
    Fed(&'fed [u8]),
    /// It came in pieces.
    Kept(&'kept [u8]),
}

impl<'a> Line<'a, 'a> {
    /// The line, wherever it is.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Fed(bytes) | Self::Kept(bytes) => bytes,
        }
    }
}

pub(super) struct LineSplitter {
    end: LineEnd,
    limit: usize,
    partial: Vec<u8>,
    /// The last byte was a CR that ended a line: a LF that follows belongs to it.
    after_cr: bool,
    offset: u64,
}

impl LineSplitter {
    pub(super) fn new(end: LineEnd, limit: usize) -> Self {
        Self {
            end,
            limit,
            partial: Vec::new(),
            after_cr: false,
            offset: 0,
        }
    }

    /// Calls `on_line(line, end offset)` for every line that `bytes` complete.
    pub(super) fn feed<'fed>(
        &mut self,
        bytes: &'fed [u8],
        mut on_line: impl FnMut(Line<'fed, '_>, u64) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(stripped) = rest.strip_prefix(b"\n")
            {
                rest = stripped;
                self.offset += 1;
                continue;
            }
            let found = match self.end {
                LineEnd::Lf => memchr::memchr(b'\n', rest),
                LineEnd::Any => memchr::memchr2(b'\n', b'\r', rest),
            };
            let Some(at) = found else {
                self.offset += rest.len() as u64;
                return self.keep(rest);
            };
            let (line, tail) = rest.split_at(at);
            self.offset += at as u64 + 1;
            self.after_cr = self.end == LineEnd::Any && tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                check(line.len(), self.limit)?;
                on_line(Line::Fed(self.trimmed(line)), self.offset)?;
            } else {
                self.keep(line)?;
                let mut whole = std::mem::take(&mut self.partial);
                let handed = on_line(Line::Kept(self.trimmed(&whole)), self.offset);
                whole.clear();
                self.partial = whole;
                handed?;
            }
        }
        Ok(())
    }

    /// What has come since the last line end.
    pub(super) fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// Bytes seen so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        check(self.partial.len() + bytes.len(), self.limit)?;
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn trimmed<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match self.end {
            LineEnd::Lf => line.strip_suffix(b"\r").unwrap_or(line),
            LineEnd::Any => line,
        }
    }
}

pub(super) fn check(len: usize, limit: usize) -> Result<(), DecodeError> {
    if len > limit {
        return Err(DecodeError::Oversized { limit });
    }
    Ok(())
}
