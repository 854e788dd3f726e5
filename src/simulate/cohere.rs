//! Cohere's chat, version 2.

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
            .map_err(|error| Refusal::bad_request(format!("invalid request: {error}")))?;
        let complaint = match &request {
            Self { model, .. } if model.is_empty() => "invalid request: a model is required",
            Self { messages, .. } if messages.is_empty() => "invalid request: there is no message",
            _ => return Ok(request),
        };
        Err(Refusal::bad_request(complaint))
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
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
            limit: self.max_tokens.filter(|limit| *limit > 0),
            no_reasoning: thinking.is_some_and(|thinking| thinking.kind == "disabled"),
            ..Wanted::default()
        }
    }
}

/// Writes answers as named events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cohere;

fn event(out: &mut Vec<u8>, value: &Value) {
    let name = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    out.extend_from_slice(format!("event: {name}\ndata: {value}\n\n").as_bytes());
}

fn id(answer: &Generation) -> String {
    format!("{:032x}", answer.id)
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "COMPLETE",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "ERROR_TOXIC",
    }
}

/// What is billed leaves the template out; here that is nothing.
fn usage(answer: &Generation) -> Value {
    let tokens =
        json!({"input_tokens": answer.prompt_tokens, "output_tokens": answer.output_tokens()});
    json!({"billed_units": tokens, "tokens": tokens, "cached_tokens": answer.cached_tokens})
}

/// A block of the answer: thoughts come before the text.
fn index(answer: &Generation, reasoning: bool) -> u32 {
    u32::from(answer.reasoning_tokens() > 0 && !reasoning)
}

fn kind(reasoning: bool) -> &'static str {
    if reasoning { "thinking" } else { "text" }
}

fn block_end(answer: &Generation, reasoning: bool) -> Value {
    json!({"type": "content-end", "index": index(answer, reasoning)})
}

impl Dialect for Cohere {
    /// The events have names, but there is none that keeps a connection alive.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let start =
            json!({"type": "message-start", "id": id(answer), "delta": {"message": message}});
        let mut out = Vec::with_capacity(256);
        event(&mut out, &start);
        Some(out.into())
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let before = sent.saturating_sub(frame.tokens);
        let begins = before == 0 || (before == answer.reasoning_tokens() && !frame.reasoning);
        let mut out = Vec::with_capacity(256);
        if begins && before > 0 {
            event(&mut out, &block_end(answer, true));
        }
        let (index, kind) = (index(answer, frame.reasoning), kind(frame.reasoning));
        let part = |event: &str, content: Value| json!({"type": event, "index": index, "delta": {"message": {"content": content}}});
        if begins {
            event(
                &mut out,
                &part("content-start", json!({"type": kind, kind: ""})),
            );
        }
        event(&mut out, &part("content-delta", json!({kind: frame.text})));
        out.into()
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(512);
        if let Some(frame) = answer.frames.last() {
            event(&mut out, &block_end(answer, frame.reasoning));
        }
        let reason = answer.finish.map(finish_reason);
        let delta = json!({"finish_reason": reason, "usage": usage(answer)});
        event(
            &mut out,
            &json!({"type": "message-end", "id": id(answer), "delta": delta}),
        );
        vec![out.into()]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let parts = [true, false].map(|reasoning| (kind(reasoning), answer.text(reasoning)));
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        let content: Vec<Value> = parts
            .map(|(kind, text)| json!({"type": kind, kind: text}))
            .collect();
        let body = json!({
            "id": id(answer),
            "finish_reason": answer.finish.map(finish_reason),
            "message": {"role": "assistant", "content": content},
            "usage": usage(answer),
        });
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        let error = "simulated failure during generation";
        let delta = json!({"finish_reason": "ERROR", "error": error});
        let mut out = Vec::with_capacity(128);
        event(&mut out, &json!({"type": "message-end", "delta": delta}));
        vec![out.into()]
    }

    fn whole_failure(&self) -> Bytes {
        let status = http::StatusCode::INTERNAL_SERVER_ERROR;
        let error = Surface::Cohere.error(status, "simulated failure during generation");
        error.to_string().into()
    }
}
