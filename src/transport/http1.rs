//! HTTP/1.1 responses (RFC 9112), sans-IO: bytes in, head and body out, and nothing of the body is
//! copied or kept. Ours and not a client library's, because every byte of the body must keep its place in
//! the TCP stream: that is how a token is matched with the segment that brought it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use std::fmt::Write as _;

/// Most bytes of a response head, and of the trailers together.
pub(super) const MAX_HEAD: usize = 256 * 1024;
/// Most header fields of a response.
pub(super) const MAX_HEADERS: usize = 128;
/// Most bytes of one chunk's size line; extensions have no use.
const MAX_SIZE_LINE: usize = 16 * 1024;

/// On a request: it goes to a proxy, which is to ask whoever is at this `http://host:port` (RFC 9112, section
/// 3.2.2).
#[derive(Clone, Debug)]
pub(super) struct ThroughProxy(pub(super) String);

/// Why bytes are no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the response head is too large")]
    HeadTooLarge,
    /// The connection ended before the response did.
    #[error("{0}")]
    Truncated(&'static str),
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
}

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The final response's head; interim ones are read over.
    Head(ResponseHead),
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The response is complete.
    End,
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct Response {
    state: State,
    /// A head, size line or trailer line that is not complete yet.
    partial: Vec<u8>,
    to_head_request: bool,
    keeps_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    /// After a chunk's data; so many bytes of its CR LF have come.
    ChunkEnd(usize),
    /// So many bytes of them have come.
    Trailers(usize),
    Done,
}

impl Response {
    pub(super) fn to(method: &Method) -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            to_head_request: method == Method::HEAD,
            keeps_alive: false,
        }
    }

    /// Looks at `bytes` and takes some of them off its front; without an event it needs more. At the
    /// response's end it says so each time and takes nothing.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, HttpError> {
        loop {
            match self.state {
                State::Done => return Ok(Some(Event::End)),
                State::Head => match self.head(bytes)? {
                    Some(head) => return Ok(Some(Event::Head(head))),
                    None if bytes.is_empty() => return Ok(None),
                    None => {}
                },
                State::UntilClose => return Ok(take(bytes, u64::MAX).map(Event::Data)),
                State::Length(left) | State::ChunkData(left) => {
                    let Some(data) = take(bytes, left) else {
                        return Ok(None);
                    };
                    self.passed(left - data.len() as u64);
                    return Ok(Some(Event::Data(data)));
                }
                State::ChunkEnd(seen) => {
                    let Some(byte) = take(bytes, 1).and_then(|data| data.first()) else {
                        return Ok(None);
                    };
                    self.state = match (seen, byte) {
                        (0, b'\r') => State::ChunkEnd(1),
                        (1, b'\n') => State::ChunkSize,
                        _ => return Err(HttpError::Malformed("a chunk is longer than its size")),
                    };
                }
                State::ChunkSize => {
                    if !self.line(bytes, MAX_SIZE_LINE)? {
                        return Ok(None);
                    }
                    self.state = match chunk_size(&self.partial)? {
                        0 => State::Trailers(0),
                        size => State::ChunkData(size),
                    };
                    self.partial.clear();
                }
                State::Trailers(before) => {
                    if !self.line(bytes, MAX_HEAD - before)? {
                        return Ok(None);
                    }
                    self.state = match self.partial.len() {
                        0 => State::Done,
                        length => State::Trailers(before + length + 2),
                    };
                    self.partial.clear();
                }
            }
        }
    }

    /// The peer sends no more.
    pub(super) fn end_of_stream(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                self.keeps_alive = false;
                Ok(())
            }
            State::Head if self.partial.is_empty() => {
                Err(HttpError::Truncated("the peer closed without an answer"))
            }
            State::Head => Err(HttpError::Truncated("the peer closed within the head")),
            _ => Err(HttpError::Truncated("the peer closed within the body")),
        }
    }

    /// Whether the connection can serve another request after this response, which is complete.
    pub(super) fn is_reusable(&self) -> bool {
        self.state == State::Done && self.keeps_alive
    }

    fn passed(&mut self, left: u64) {
        self.state = match (self.state, left) {
            (State::Length(_), 0) => State::Done,
            (State::Length(_), left) => State::Length(left),
            (_, 0) => State::ChunkEnd(0),
            (_, left) => State::ChunkData(left),
        };
    }

    /// Whether the next line is complete: it stands in `partial` then, without its CR LF.
    fn line(&mut self, bytes: &mut &[u8], limit: usize) -> Result<bool, HttpError> {
        let found = memchr::memchr(b'\n', bytes);
        let length = found.map_or(bytes.len(), |at| at + 1);
        if self.partial.len() + length > limit {
            return Err(HttpError::Malformed(
                "a line of the chunked coding is too long",
            ));
        }
        let (line, rest) = bytes.split_at(length);
        self.partial.extend_from_slice(line);
        *bytes = rest;
        if found.is_none() {
            return Ok(false);
        }
        if !self.partial.ends_with(b"\r\n") {
            return Err(HttpError::Malformed(
                "a line of the chunked coding ends without CR",
            ));
        }
        self.partial.truncate(self.partial.len() - 2);
        match self.partial.contains(&b'\r') {
            true => Err(HttpError::Malformed(
                "a line of the chunked coding has a CR within it",
            )),
            false => Ok(true),
        }
    }

    fn head(&mut self, bytes: &mut &[u8]) -> Result<Option<ResponseHead>, HttpError> {
        // Line by line: nothing behind the head is copied, and nothing is looked at twice.
        loop {
            let found = memchr::memchr(b'\n', bytes);
            let limit = found.map_or(u64::MAX, |at| at as u64 + 1);
            self.partial
                .extend_from_slice(take(bytes, limit).unwrap_or_default());
            self.is_http()?;
            if self.partial.len() > MAX_HEAD {
                return Err(HttpError::HeadTooLarge);
            }
            if found.is_none() {
                return Ok(None);
            }
            // Lines may end with LF alone (section 2.2).
            if self.partial.ends_with(b"\n\n") || self.partial.ends_with(b"\n\r\n") {
                break;
            }
        }
        let head = std::mem::take(&mut self.partial);
        let (head, minor) = parse_head(&head)?;
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        self.state = self.body_of(&head)?;
        self.keeps_alive = keeps_alive(&head, minor) && self.state != State::UntilClose;
        if self.state == State::Length(0) {
            self.state = State::Done;
        }
        Ok(Some(head))
    }

    /// What speaks something else is told at its first bytes, not after 256 KiB.
    fn is_http(&self) -> Result<(), HttpError> {
        let version = b"HTTP/1.";
        let known = self.partial.len().min(version.len());
        match self.partial.get(..known) == version.get(..known) {
            true => Ok(()),
            false => Err(HttpError::Malformed(
                "it does not begin with an HTTP/1 version",
            )),
        }
    }

    /// RFC 9112, section 6.3.
    fn body_of(&self, head: &ResponseHead) -> Result<State, HttpError> {
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if self.to_head_request || none.contains(&head.status) || head.status.is_informational() {
            return Ok(State::Done);
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(match last_coding_is_chunked(&head.headers) {
                true => State::ChunkSize,
                false => State::UntilClose,
            });
        }
        let mut length = None;
        let lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
        for value in lengths.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let value = decimal(value.trim_ascii())
                .ok_or(HttpError::Malformed("`content-length` is not a number"))?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(HttpError::Malformed(
                    "`content-length` says two different numbers",
                ));
            }
        }
        Ok(length.map_or(State::UntilClose, State::Length))
    }
}

/// Takes at most `limit` bytes off the front; `None` when there are none.
fn take<'a>(bytes: &mut &'a [u8], limit: u64) -> Option<&'a [u8]> {
    let length = usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()));
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    (!taken.is_empty()).then_some(taken)
}

fn parse_head(bytes: &[u8]) -> Result<(ResponseHead, u8), HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut fields);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    let status = config
        .parse_response(&mut parsed, bytes)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => HttpError::HeadTooLarge,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => {
                HttpError::Malformed("a header field is not allowed")
            }
            _ => HttpError::Malformed("the response head cannot be read"),
        })?;
    let (true, Some(minor), Some(code)) = (status.is_complete(), parsed.version, parsed.code)
    else {
        return Err(HttpError::Malformed("the response head is not complete"));
    };
    let status =
        StatusCode::from_u16(code).map_err(|_| HttpError::Malformed("there is no such status"))?;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(HttpError::Malformed("a header field is not allowed"));
        };
        headers.append(name, value);
    }
    Ok((ResponseHead { status, headers }, minor))
}

/// RFC 9112, section 9.3; and 6.1, by which the framing of an old peer that sends a transfer coding is
/// not to be trusted any further.
fn keeps_alive(head: &ResponseHead, minor: u8) -> bool {
    let says = |word: &[u8]| tokens(&head.headers, header::CONNECTION).any(|token| token == word);
    let persists = match minor {
        0 => says(b"keep-alive") && !head.headers.contains_key(header::TRANSFER_ENCODING),
        _ => true,
    };
    persists && !says(b"close") && head.status != StatusCode::SWITCHING_PROTOCOLS
}

fn last_coding_is_chunked(headers: &HeaderMap) -> bool {
    let last = tokens(headers, header::TRANSFER_ENCODING).last();
    last.is_some_and(|coding| coding == b"chunked")
}

/// The comma-separated words of a field, in lower case; empty ones are none (RFC 9110, section 5.6.1.2).
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Vec<u8>> {
    let values = headers.get_all(name).into_iter();
    let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words
        .map(|word| word.trim_ascii().to_ascii_lowercase())
        .filter(|word| !word.is_empty())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty();
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits)?;
    text.parse().ok()
}

/// The size in front of a chunk; extensions behind `;` are read over.
fn chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).ok();
    text.map(|text| text.trim_end_matches([' ', '\t']))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(HttpError::Malformed("a chunk has no size"))
}

/// Writes a request, head and body in one piece, so that it leaves in one write.
pub(super) fn write_request(request: &Request<bytes::Bytes>) -> Vec<u8> {
    let body = request.body();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let origin = request.extensions().get::<ThroughProxy>();
    let origin = origin.map_or("", |ThroughProxy(origin)| origin);
    let target = format!("{origin}{path}");
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method());
    // Writing to a string cannot fail.
    if !body.is_empty() || request.method() == Method::POST {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    let mut out = head.into_bytes();
    for (name, value) in request.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests;
