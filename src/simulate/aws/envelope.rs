//! Event streams that carry what another dialect writes: Bedrock's chunks, SageMaker's parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::converse::latency;
use crate::simulate::generation::Generation;
use crate::simulate::script::{Dialect, Framing, Position};
use crate::wire;

/// Longer than any frame that is written here.
const LARGEST_FRAME: usize = usize::MAX;

/// A message with an event of this name.
pub(super) fn event(name: &str, value: &Value) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    wire::event_stream::message(&headers, value.to_string().as_bytes())
}

/// A message that ends a stream as an error.
pub(super) fn exception(name: &str, value: &Value) -> Vec<u8> {
    let headers = [
        (":exception-type", name),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    wire::event_stream::message(&headers, value.to_string().as_bytes())
}

/// What the events of a piece of a stream hold, but for the mark at its end that only OpenAI's API has.
fn held(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut decoder = wire::Framing::Sse.decoder(LARGEST_FRAME);
    // Without a limit there is nothing to fail.
    let _ = decoder.feed(stream, &mut |frame| {
        if frame.data != b"[DONE]" {
            found.push(frame.data.to_vec());
        }
    });
    found
}

fn chunk(carried: &[u8]) -> Vec<u8> {
    let value = json!({"bytes": STANDARD.encode(carried), "p": "abcdefg"});
    event("chunk", &value)
}

fn chunks(stream: &[u8]) -> Bytes {
    let held = held(stream);
    held.iter().flat_map(|carried| chunk(carried)).collect()
}

/// Each event of the inner stream as a chunk of Bedrock's, the last with the service's own counts and times.
pub(super) struct Chunks {
    pub(super) inner: Box<dyn Dialect>,
}

impl Dialect for Chunks {
    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        self.inner.opening(answer).map(|bytes| chunks(&bytes))
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        chunks(&self.inner.token(answer, position))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let stream = self.inner.tail(answer).concat();
        let mut held = held(&stream);
        let last = held.pop().unwrap_or_default();
        let mut last: Value = serde_json::from_slice(&last).unwrap_or_else(|_| json!({}));
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).ok();
        if let Some(fields) = last.as_object_mut() {
            let metrics = json!({
                "inputTokenCount": answer.prompt_tokens.saturating_sub(answer.cached_tokens),
                "outputTokenCount": answer.output_tokens(),
                "invocationLatency": latency(answer),
                "firstByteLatency": millis(answer.start_of_decode()),
            });
            fields.insert("amazon-bedrock-invocationMetrics".to_owned(), metrics);
        }
        held.push(last.to_string().into_bytes());
        held.iter().map(|carried| chunk(carried).into()).collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        self.inner.whole(answer)
    }

    fn failure(&self) -> Vec<Bytes> {
        let value = json!({"message": "simulated failure during generation"});
        vec![exception("modelStreamErrorException", &value).into()]
    }

    fn whole_failure(&self) -> Bytes {
        self.inner.whole_failure()
    }
}

/// The inner stream in pieces that know nothing of its events.
pub(super) struct Parts {
    pub(super) inner: Box<dyn Dialect>,
}

/// Two pieces, cut anywhere: the service does not look into what it carries.
fn parts(stream: &[u8]) -> Bytes {
    let (head, rest) = stream.split_at(stream.len() / 3);
    let pieces = [head, rest].into_iter().filter(|piece| !piece.is_empty());
    pieces.flat_map(part).collect()
}

fn part(piece: &[u8]) -> Vec<u8> {
    let headers = [
        (":event-type", "PayloadPart"),
        (":content-type", "application/octet-stream"),
        (":message-type", "event"),
    ];
    wire::event_stream::message(&headers, piece)
}

impl Dialect for Parts {
    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        self.inner.opening(answer).map(|bytes| parts(&bytes))
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        parts(&self.inner.token(answer, position))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let tail = self.inner.tail(answer);
        tail.iter().map(|bytes| parts(bytes)).collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        self.inner.whole(answer)
    }

    fn failure(&self) -> Vec<Bytes> {
        let message = "simulated failure during generation";
        let value = json!({"Message": message, "ErrorCode": "StreamBroken"});
        vec![exception("ModelStreamError", &value).into()]
    }

    fn whole_failure(&self) -> Bytes {
        self.inner.whole_failure()
    }

    fn garbage(&self) -> Bytes {
        parts(&self.inner.garbage())
    }

    fn keep_alive(&self) -> Bytes {
        parts(&self.inner.keep_alive())
    }
}
