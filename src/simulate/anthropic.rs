//! The Anthropic Messages API.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::generation::{Finish, Generation, Wanted};
use super::openai::push_content;
use super::refusal::{Refusal, Surface};
use super::script::{Dialect, Framing, Position};
use super::vocabulary::Prompt;

/// The fields of a request that matter here; all others are ignored.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    messages: Vec<Message>,
    system: Option<Value>,
    max_tokens: Option<u32>,
    #[serde(default)]
    pub(super) stream: bool,
    thinking: Option<Thinking>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: String,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
        let complaint = match &request {
            Self { model, .. } if model.is_empty() => "model: Field required",
            Self { messages, .. } if messages.is_empty() => {
                "messages: at least one message is required"
            }
            Self {
                max_tokens: None, ..
            } => "max_tokens: Field required",
            Self {
                max_tokens: Some(0),
                ..
            } => "max_tokens: must be greater than or equal to 1",
            _ => return Ok(request),
        };
        Err(Refusal::bad_request(complaint))
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
        push_content(&mut prompt, self.system.as_ref());
        for message in &self.messages {
            prompt.push_token(&message.role);
            push_content(&mut prompt, message.content.as_ref());
        }
        prompt
    }

    /// Reads the limits. A model that reasons does so unless told not to.
    pub(super) fn wanted(&self) -> Wanted {
        let thinking = self.thinking.as_ref();
        Wanted {
            limit: self.max_tokens,
            no_reasoning: thinking.is_some_and(|thinking| thinking.kind == "disabled"),
            ..Wanted::default()
        }
    }
}

/// Writes answers as named events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anthropic;

/// A block of the answer: its position and what it holds.
#[derive(Clone, Copy)]
struct Block {
    index: u32,
    thinking: bool,
}

impl Block {
    fn of(answer: &Generation, reasoning: bool) -> Self {
        let thoughts = answer.reasoning_tokens() > 0;
        Self {
            index: u32::from(thoughts && !reasoning),
            thinking: reasoning,
        }
    }

    fn begin(self, out: &mut Vec<u8>) {
        let block = match self.thinking {
            true => json!({"type": "thinking", "thinking": "", "signature": ""}),
            false => json!({"type": "text", "text": ""}),
        };
        let value =
            json!({"type": "content_block_start", "index": self.index, "content_block": block});
        event(out, "content_block_start", &value);
    }

    fn delta(self, out: &mut Vec<u8>, delta: &Value) {
        let value = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        event(out, "content_block_delta", &value);
    }

    fn end(self, out: &mut Vec<u8>) {
        if self.thinking {
            let signature = json!({"type": "signature_delta", "signature": "c2ltdWxhdGVk"});
            self.delta(out, &signature);
        }
        let value = json!({"type": "content_block_stop", "index": self.index});
        event(out, "content_block_stop", &value);
    }
}

fn event(out: &mut Vec<u8>, name: &str, value: &Value) {
    out.extend_from_slice(format!("event: {name}\ndata: {value}\n\n").as_bytes());
}

fn id(answer: &Generation) -> String {
    format!("msg_{:032x}", answer.id)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ContentFilter => "refusal",
    }
}

fn usage(answer: &Generation, sent: u32) -> Value {
    let mut usage = json!({
        "input_tokens": answer.prompt_tokens.saturating_sub(answer.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": sent,
    });
    let thoughts = answer.reasoning_tokens().min(sent);
    if let Some(usage) = usage.as_object_mut().filter(|_| thoughts > 0) {
        let details = json!({"thinking_tokens": thoughts});
        usage.insert("output_tokens_details".to_owned(), details);
    }
    usage
}

fn failure() -> Value {
    let status = http::StatusCode::SERVICE_UNAVAILABLE;
    let refusal = Refusal::new(status, "simulated failure during generation");
    refusal.body(Surface::Anthropic, super::character::RuntimeFlavor::All)
}

impl Dialect for Anthropic {
    fn framing(&self) -> Framing {
        Framing::NamedSse
    }

    /// The message and a ping, as the API sends them; the count of one output token is its own, too.
    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        let message = json!({
            "id": id(answer),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(answer, 1),
        });
        let mut out = Vec::with_capacity(512);
        let start = json!({"type": "message_start", "message": message});
        event(&mut out, "message_start", &start);
        event(&mut out, "ping", &json!({"type": "ping"}));
        Some(out.into())
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let block = Block::of(answer, frame.reasoning);
        let before = sent.saturating_sub(frame.tokens);
        let thoughts = answer.reasoning_tokens();
        let mut out = Vec::with_capacity(256);
        let begins = before == 0 || (before == thoughts && !frame.reasoning);
        if begins && before > 0 {
            Block::of(answer, true).end(&mut out);
        }
        if begins {
            block.begin(&mut out);
        }
        let delta = match frame.reasoning {
            true => json!({"type": "thinking_delta", "thinking": frame.text}),
            false => json!({"type": "text_delta", "text": frame.text}),
        };
        block.delta(&mut out, &delta);
        out.into()
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let mut last = Vec::with_capacity(512);
        if let Some(frame) = answer.frames.last() {
            Block::of(answer, frame.reasoning).end(&mut last);
        }
        if let Some(finish) = answer.finish {
            let delta = json!({"stop_reason": stop_reason(finish), "stop_sequence": null});
            let usage = usage(answer, answer.output_tokens());
            let value = json!({"type": "message_delta", "delta": delta, "usage": usage});
            event(&mut last, "message_delta", &value);
        }
        let mut stop = Vec::with_capacity(64);
        event(&mut stop, "message_stop", &json!({"type": "message_stop"}));
        [last, stop]
            .into_iter()
            .filter(|bytes| !bytes.is_empty())
            .map(Bytes::from)
            .collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let mut content = Vec::with_capacity(2);
        let (thoughts, text) = (answer.text(true), answer.text(false));
        if !thoughts.is_empty() {
            content.push(
                json!({"type": "thinking", "thinking": thoughts, "signature": "c2ltdWxhdGVk"}),
            );
        }
        if !text.is_empty() {
            content.push(json!({"type": "text", "text": text}));
        }
        let body = json!({
            "id": id(answer),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": content,
            "stop_reason": answer.finish.map(stop_reason),
            "stop_sequence": null,
            "usage": usage(answer, answer.output_tokens()),
        });
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(128);
        event(&mut out, "error", &failure());
        vec![out.into()]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}
