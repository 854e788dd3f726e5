//! HTTP/2 (RFC 9113), sans-IO, one request at a time: bytes in, head and body out, and nothing of the body
//! is copied or kept. Ours for the reason that HTTP/1.1 is: every byte of the body must keep its place
//! in the TCP stream. What goes wrong ends the connection; nothing is told to a peer that errs.

mod frame;
mod hpack;
mod huffman;
mod request;

use super::http1::{Event, HttpError, MAX_HEAD, MAX_HEADERS, ResponseHead, content_length, take};
pub(super) use frame::error_name;
use frame::{Frame, Kind};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use request::Sender;

/// Bytes that the peer may send ahead of our consent, per stream and per connection. Consent that comes
/// late stalls a stream, and with it the measurement; since whatever comes is read at once, and bounded by
/// who reads it, there is nothing to hold back. Far below the largest that is allowed (2^31 - 1), so that no
/// peer's sum overflows.
const WINDOW: u32 = 1 << 30;
/// The window of a connection until more is allowed.
const FIRST_WINDOW: u32 = 65_535;
/// Consent is renewed when so much of it is used: long before it is needed.
const RENEWAL: u32 = WINDOW / 2;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ENABLE_PUSH: u16 = 0x2;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// One connection.
#[derive(Debug)]
pub(super) struct Http2 {
    state: State,
    /// The frame that is being read.
    frame: Frame,
    /// What has come of its header, or of a payload that is understood as a whole.
    partial: Vec<u8>,
    /// A block of header fields that is not complete, and whether it ends its stream.
    block: Option<(Vec<u8>, bool)>,
    fields: hpack::Decoder,
    /// The peer has said hello.
    greeted: bool,
    /// The peer takes no further request, and why.
    leaving: Option<u32>,
    /// Bytes of data since consent was last renewed, of the connection and of the stream.
    taken: (u32, u32),
    response: Response,
    sender: Sender,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// So many bytes of a payload that is kept until it is complete.
    Payload(usize),
    /// The length of the padding, and so many bytes behind it.
    PadLength(usize),
    Data {
        left: usize,
        padding: usize,
    },
    /// Bytes that mean nothing.
    Skipped(usize),
}

/// What has come of the response.
#[derive(Debug)]
struct Response {
    to_head_request: bool,
    head_seen: bool,
    /// Bytes of the body so far, and how many the head has promised.
    body: u64,
    promised: Option<u64>,
    over: bool,
}

impl Response {
    fn to(method: &Method) -> Self {
        Self {
            to_head_request: method == Method::HEAD,
            head_seen: false,
            body: 0,
            promised: None,
            over: false,
        }
    }

    fn end(&mut self) -> Result<(), HttpError> {
        self.over = true;
        match self.promised.is_none_or(|promised| promised == self.body) {
            true => Ok(()),
            false => Err(HttpError::Malformed(
                "the body is not as long as `content-length` says",
            )),
        }
    }
}

impl Http2 {
    /// A connection that has said nothing yet, over TLS or not.
    pub(super) fn new(is_secure: bool) -> Self {
        let mut hello = PREFACE.to_vec();
        let settings: [(u16, u32); 3] = [
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, WINDOW),
            (MAX_HEADER_LIST_SIZE, MAX_HEAD as u32),
        ];
        let settings: Vec<u8> = settings
            .into_iter()
            .flat_map(|(key, value)| {
                let [high, low] = key.to_be_bytes();
                let [a, b, c, d] = value.to_be_bytes();
                [high, low, a, b, c, d]
            })
            .collect();
        frame::write(&mut hello, Kind::Settings, 0, 0, &settings);
        let more = (WINDOW - FIRST_WINDOW).to_be_bytes();
        frame::write(&mut hello, Kind::WindowUpdate, 0, 0, &more);
        Self {
            state: State::Header,
            frame: Frame::read([0; frame::HEADER]),
            partial: Vec::new(),
            block: None,
            fields: hpack::Decoder::new(),
            greeted: false,
            leaving: None,
            taken: (0, 0),
            response: Response::to(&Method::GET),
            sender: Sender::new(is_secure, hello),
        }
    }

    /// Begins a request. The last response is over.
    pub(super) fn request(&mut self, request: &Request<bytes::Bytes>) {
        self.response = Response::to(request.method());
        self.taken.1 = 0;
        self.sender.begin(request);
    }

    /// What is to be written now; what came before is thought to be.
    pub(super) fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sender.outgoing)
    }

    /// Whether the whole request is, or is among [`Self::outgoing`]: the peer may want it piece by piece.
    pub(super) fn is_sent(&self) -> bool {
        self.sender.is_through()
    }

    /// Looks at `bytes` and takes some of them off its front; without an event it needs more. At the
    /// response's end it says so each time and takes nothing.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, HttpError> {
        loop {
            if self.response.over {
                return Ok(Some(Event::End));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(event) = self.advance(bytes)? {
                return Ok(Some(event));
            }
        }
    }

    /// Hears what the peer says while no response is due.
    pub(super) fn idle(&mut self, mut bytes: &[u8]) -> Result<(), HttpError> {
        while !bytes.is_empty() {
            self.advance(&mut bytes)?;
        }
        Ok(())
    }

    /// The peer sends no more.
    pub(super) fn end_of_stream(&mut self) -> Result<(), HttpError> {
        match (self.response.over, self.leaving) {
            (true, _) => Ok(()),
            (_, Some(code)) if code != 0 => Err(HttpError::given_up("the connection", code)),
            _ if self.response.head_seen => {
                Err(HttpError::Truncated("the peer closed within the body"))
            }
            _ => Err(HttpError::Truncated("the peer closed without an answer")),
        }
    }

    /// Whether the connection can serve another request after this response.
    pub(super) fn is_reusable(&self) -> bool {
        self.response.over && self.leaving.is_none() && self.sender.can_begin()
    }

    /// Takes at least one byte off the front.
    fn advance<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, HttpError> {
        match self.state {
            State::Header => {
                let missing = frame::HEADER - self.partial.len();
                self.partial
                    .extend_from_slice(take(bytes, missing as u64).unwrap_or_default());
                let Ok(header) = <[u8; frame::HEADER]>::try_from(self.partial.as_slice()) else {
                    return Ok(None);
                };
                self.partial.clear();
                self.frame = Frame::read(header);
                self.begin()
            }
            State::Payload(left) => {
                let part = take(bytes, left as u64).unwrap_or_default();
                self.partial.extend_from_slice(part);
                self.go_on(State::Payload(left - part.len()))
            }
            State::PadLength(behind) => {
                let padding = take(bytes, 1).and_then(|length| length.first());
                let padding = usize::from(*padding.unwrap_or(&0));
                let left = behind.checked_sub(padding);
                let left =
                    left.ok_or(HttpError::Malformed("a frame is shorter than its padding"))?;
                self.go_on(State::Data { left, padding })
            }
            State::Data { left, padding } => {
                let data = take(bytes, left as u64).unwrap_or_default();
                self.response.body += data.len() as u64;
                let left = left - data.len();
                // It ends no stream with fields, so there is no other event.
                self.go_on(State::Data { left, padding })?;
                Ok((!data.is_empty()).then_some(Event::Data(data)))
            }
            State::Skipped(left) => {
                let part = take(bytes, left as u64).unwrap_or_default();
                self.go_on(State::Skipped(left - part.len()))
            }
        }
    }

    /// Waits for the rest of the frame, or is through with it.
    fn go_on<'a>(&mut self, state: State) -> Result<Option<Event<'a>>, HttpError> {
        self.state = match state {
            State::Data { left: 0, padding } => State::Skipped(padding),
            state => state,
        };
        if !matches!(self.state, State::Payload(0) | State::Skipped(0)) {
            return Ok(None);
        }
        self.state = State::Header;
        let payload = std::mem::take(&mut self.partial);
        let head = self.finish(&payload)?;
        self.partial = payload;
        self.partial.clear();
        Ok(head.map(Event::Head))
    }

    /// A frame begins.
    fn begin<'a>(&mut self) -> Result<Option<Event<'a>>, HttpError> {
        let Frame {
            length,
            kind,
            stream,
            ..
        } = self.frame;
        let is_hello = kind == Kind::Settings && stream == 0 && !self.frame.has(frame::ACK);
        if !(self.greeted || is_hello) {
            return Err(HttpError::Malformed(
                "the peer does not speak HTTP/2: it does not begin with its settings",
            ));
        }
        self.greeted = true;
        if length > frame::PAYLOAD {
            return Err(HttpError::Malformed("a frame is longer than allowed"));
        }
        if self.block.is_some() != (kind == Kind::Continuation) {
            return Err(HttpError::Malformed(
                "a block of header fields is not in one piece",
            ));
        }
        let of_stream = matches!(kind, Kind::Data | Kind::Headers | Kind::Continuation);
        if of_stream && (stream != self.sender.stream() || self.response.over) {
            return Err(HttpError::Malformed(
                "there is an answer to what was not asked",
            ));
        }
        match kind {
            Kind::Data if !self.response.head_seen => {
                Err(HttpError::Malformed("a body without a head"))
            }
            Kind::Data => {
                self.consent(length as u32);
                match (self.frame.has(frame::PADDED), length.checked_sub(1)) {
                    (false, _) => self.go_on(State::Data {
                        left: length,
                        padding: 0,
                    }),
                    (true, Some(behind)) => {
                        self.state = State::PadLength(behind);
                        Ok(None)
                    }
                    (true, None) => Err(HttpError::Malformed("a frame lacks its padding")),
                }
            }
            Kind::Other => self.go_on(State::Skipped(length)),
            _ => self.go_on(State::Payload(length)),
        }
    }

    /// Lets the peer send as much again.
    fn consent(&mut self, bytes: u32) {
        let (connection, stream) = &mut self.taken;
        for (taken, stream) in [(connection, 0), (stream, self.sender.stream())] {
            *taken = taken.saturating_add(bytes);
            if *taken >= RENEWAL {
                let increment = taken.to_be_bytes();
                self.sender.say(Kind::WindowUpdate, 0, stream, &increment);
                *taken = 0;
            }
        }
    }

    /// A frame is complete.
    fn finish(&mut self, payload: &[u8]) -> Result<Option<ResponseHead>, HttpError> {
        let ours = self.frame.stream == self.sender.stream();
        match self.frame.kind {
            Kind::Data if self.frame.has(frame::END_STREAM) => self.response.end()?,
            Kind::Data | Kind::Other => {}
            Kind::Headers | Kind::Continuation => return self.part_of_block(payload),
            Kind::PushPromise => {
                return Err(HttpError::Malformed("an answer that nobody asked for"));
            }
            Kind::ResetStream => {
                let code = u32::from_be_bytes(exactly(payload)?);
                if ours && !self.response.over {
                    return Err(HttpError::given_up("the stream", code));
                }
            }
            Kind::GoAway => {
                let (last, code) = payload
                    .split_first_chunk()
                    .and_then(|(last, rest)| Some((last, rest.first_chunk()?)))
                    .ok_or(WRONG_SIZE)?;
                let last = u32::from_be_bytes(*last) & frame::STREAM_BITS;
                let code = u32::from_be_bytes(*code);
                self.leaving = Some(code);
                if last < self.sender.stream() && !self.response.over {
                    return Err(HttpError::given_up("the connection", code));
                }
            }
            Kind::Ping => {
                let echo: [u8; 8] = exactly(payload)?;
                if !self.frame.has(frame::ACK) {
                    self.sender.say(Kind::Ping, frame::ACK, 0, &echo);
                }
            }
            Kind::Settings if self.frame.has(frame::ACK) => {}
            Kind::Settings => {
                let (settings, rest) = payload.as_chunks::<6>();
                if !rest.is_empty() {
                    return Err(WRONG_SIZE);
                }
                for [high, low, value @ ..] in settings {
                    let key = u16::from_be_bytes([*high, *low]);
                    self.sender.set(key, u32::from_be_bytes(*value))?;
                }
                self.sender.say(Kind::Settings, frame::ACK, 0, &[]);
                self.sender.go_on();
            }
            Kind::WindowUpdate => {
                let more = u32::from_be_bytes(exactly(payload)?) & frame::STREAM_BITS;
                self.sender.allow(self.frame.stream, more)?;
                self.sender.go_on();
            }
        }
        Ok(None)
    }

    /// Collects a block of header fields, whose first frame may be padded.
    fn part_of_block(&mut self, payload: &[u8]) -> Result<Option<ResponseHead>, HttpError> {
        let mut part = payload;
        let is_first = self.frame.kind == Kind::Headers;
        if is_first && self.frame.has(frame::PADDED) {
            let (padding, rest) = part.split_first().ok_or(WRONG_SIZE)?;
            let length = rest.len().checked_sub(usize::from(*padding));
            part = length
                .and_then(|length| rest.get(..length))
                .ok_or(WRONG_SIZE)?;
        }
        if is_first && self.frame.has(frame::PRIORITY) {
            part = part.get(5..).ok_or(WRONG_SIZE)?;
        }
        let ends_stream = self.frame.has(frame::END_STREAM);
        let (mut block, ends_stream) = self.block.take().unwrap_or((Vec::new(), ends_stream));
        if block.len() + part.len() > MAX_HEAD {
            return Err(HttpError::HeadTooLarge);
        }
        block.extend_from_slice(part);
        if !self.frame.has(frame::END_HEADERS) {
            self.block = Some((block, ends_stream));
            return Ok(None);
        }
        let head = self.head(&block, ends_stream)?;
        if ends_stream {
            self.response.end()?;
        }
        Ok(head)
    }

    /// Reads a block: the final response's head, or an interim one or trailers, which are read over.
    fn head(&mut self, block: &[u8], ends: bool) -> Result<Option<ResponseHead>, HttpError> {
        let (status, headers) = read_fields(&mut self.fields, block)?;
        if self.response.head_seen {
            return match (status, ends) {
                (None, true) => Ok(None),
                _ => Err(HttpError::Malformed("a second head")),
            };
        }
        let status = status.ok_or(HttpError::Malformed("the response has no status"))?;
        if status.is_informational() {
            return match status != StatusCode::SWITCHING_PROTOCOLS && !ends {
                true => Ok(None),
                false => Err(HttpError::Malformed("an interim response is the last one")),
            };
        }
        self.response.head_seen = true;
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if !self.response.to_head_request && !none.contains(&status) {
            self.response.promised = content_length(&headers)?;
        }
        Ok(Some(ResponseHead { status, headers }))
    }
}

const WRONG_SIZE: HttpError = HttpError::Malformed("a frame has not the size of its kind");

fn exactly<const N: usize>(payload: &[u8]) -> Result<[u8; N], HttpError> {
    payload.try_into().map_err(|_| WRONG_SIZE)
}

impl From<hpack::Undecodable> for HttpError {
    fn from(_: hpack::Undecodable) -> Self {
        Self::Malformed("a block of header fields cannot be decoded")
    }
}

/// The status, where there is one, and the other fields.
fn read_fields(
    decoder: &mut hpack::Decoder,
    block: &[u8],
) -> Result<(Option<StatusCode>, HeaderMap), HttpError> {
    const NOT_ALLOWED: HttpError = HttpError::Malformed("a header field is not allowed");
    let (mut status, mut headers, mut size) = (None, HeaderMap::new(), 0);
    decoder.decode(block, |name, value| {
        // A few bytes can stand for many: what counts is what they stand for.
        size += name.len() + value.len();
        if size > MAX_HEAD || headers.len() >= MAX_HEADERS {
            return Err(HttpError::HeadTooLarge);
        }
        if name == b":status" {
            let first = status.is_none() && headers.is_empty();
            let known = StatusCode::from_bytes(value).ok().filter(|_| first);
            status = Some(known.ok_or(HttpError::Malformed("there is no such status"))?);
            return Ok(());
        }
        let is_lower = !name.iter().any(u8::is_ascii_uppercase);
        let name = HeaderName::from_bytes(name).map_err(|_| NOT_ALLOWED)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| NOT_ALLOWED)?;
        headers.append(name, value);
        is_lower.then_some(()).ok_or(NOT_ALLOWED)
    })?;
    Ok((status, headers))
}

#[cfg(test)]
mod tests;
