//! The OpenAI Responses API.

use std::cell::Cell;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::generation::{Finish, Generation, Wanted};
use super::openai::push_content;
use super::refusal::Refusal;
use super::script::{Dialect, Framing, Position};
use super::vocabulary::Prompt;

/// The fields of a request that matter here; all others are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) model: String,
    input: Input,
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    reasoning: Option<Reasoning>,
    #[serde(default)]
    pub(super) stream: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    role: String,
    content: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
        if request.max_output_tokens == Some(0) {
            let message = "max_output_tokens must be at least 1, got 0.";
            return Err(Refusal::bad_request(message));
        }
        Ok(request)
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
        if let Some(instructions) = &self.instructions {
            prompt.push(instructions);
        }
        match &self.input {
            Input::Text(text) => prompt.push(text),
            Input::Items(items) => {
                for item in items {
                    prompt.push_token(&item.role);
                    push_content(&mut prompt, item.content.as_ref());
                }
            }
        }
        prompt
    }

    /// Reads the limits. A model that reasons does so unless told not to.
    pub(super) fn wanted(&self) -> Wanted {
        let effort = self.reasoning.as_ref();
        let effort = effort.and_then(|reasoning| reasoning.effort.as_deref());
        Wanted {
            limit: self.max_output_tokens,
            no_reasoning: effort == Some("none"),
            ..Wanted::default()
        }
    }
}

/// Writes answers as typed events. Reasoning is told as open models tell it, in full.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// Events are numbered.
    sequence: Cell<u32>,
    /// The answer that was begun.
    id: Cell<u64>,
}

/// An item of the answer: its position and what it holds.
#[derive(Clone, Copy)]
struct Output<'a> {
    answer: &'a Generation,
    reasoning: bool,
}

impl Output<'_> {
    fn index(self) -> u32 {
        u32::from(self.answer.reasoning_tokens() > 0 && !self.reasoning)
    }

    fn id(self) -> String {
        let prefix = if self.reasoning { "rs" } else { "msg" };
        format!("{prefix}_{:032x}", self.answer.id)
    }

    /// What the names of its events and parts begin with.
    fn kind(self) -> &'static str {
        match self.reasoning {
            true => "reasoning_text",
            false => "output_text",
        }
    }

    fn part(self, text: &str) -> Value {
        match self.reasoning {
            true => json!({"type": "reasoning_text", "text": text}),
            false => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
        }
    }

    fn item(self, status: &str, content: &[Value]) -> Value {
        let id = self.id();
        match self.reasoning {
            true => {
                json!({"id": id, "type": "reasoning", "summary": [], "content": content, "status": status})
            }
            false => {
                json!({"id": id, "type": "message", "role": "assistant", "content": content, "status": status})
            }
        }
    }

    /// The whole of it.
    fn done(self) -> Value {
        let part = self.part(&self.answer.text(self.reasoning));
        self.item("completed", &[part])
    }
}

impl Responses {
    fn event(&self, out: &mut Vec<u8>, kind: &str, mut value: Value) {
        let number = self.sequence.replace(self.sequence.get() + 1);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("type".to_owned(), json!(kind));
            fields.insert("sequence_number".to_owned(), json!(number));
        }
        out.extend_from_slice(format!("event: {kind}\ndata: {value}\n\n").as_bytes());
    }

    fn begin(&self, out: &mut Vec<u8>, output: Output<'_>) {
        let (index, id) = (output.index(), output.id());
        let item = output.item("in_progress", &[]);
        let value = json!({"output_index": index, "item": item});
        self.event(out, "response.output_item.added", value);
        let part = output.part("");
        let value = json!({"output_index": index, "item_id": id, "content_index": 0, "part": part});
        self.event(out, "response.content_part.added", value);
    }

    fn end(&self, out: &mut Vec<u8>, output: Output<'_>) {
        let (index, id) = (output.index(), output.id());
        let text = output.answer.text(output.reasoning);
        let kind = format!("response.{}.done", output.kind());
        let part = output.part(&text);
        let value = json!({"output_index": index, "item_id": id, "content_index": 0, "text": text, "logprobs": []});
        self.event(out, &kind, value);
        let value = json!({"output_index": index, "item_id": id, "content_index": 0, "part": part});
        self.event(out, "response.content_part.done", value);
        let value = json!({"output_index": index, "item": output.done()});
        self.event(out, "response.output_item.done", value);
    }
}

/// The answer as an object; `None` while it is made.
fn response(answer: &Generation, finish: Option<Finish>) -> Value {
    let (status, reason) = match finish {
        None => ("in_progress", None),
        Some(Finish::Length) => ("incomplete", Some("max_output_tokens")),
        Some(Finish::ContentFilter) => ("incomplete", Some("content_filter")),
        Some(Finish::Stop | Finish::Load | Finish::Unload) => ("completed", None),
    };
    let output = [true, false].map(|reasoning| Output { answer, reasoning });
    let output = output
        .into_iter()
        .filter(|output| finish.is_some() && !answer.text(output.reasoning).is_empty());
    let sent = answer.output_tokens();
    let usage = json!({
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": sent,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens()},
        "total_tokens": answer.prompt_tokens.saturating_add(sent),
    });
    json!({
        "id": format!("resp_{:032x}", answer.id),
        "object": "response",
        "created_at": answer.created.as_second(),
        "status": status,
        "error": null,
        "incomplete_details": reason.map(|reason| json!({"reason": reason})),
        "model": answer.model,
        "output": output.map(Output::done).collect::<Vec<_>>(),
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": finish.is_some().then_some(usage),
    })
}

/// The response of this id that came to nothing.
fn failed(id: u64) -> Value {
    let error = json!({"code": "server_error", "message": "simulated failure during generation"});
    json!({
        "id": format!("resp_{id:032x}"),
        "object": "response",
        "created_at": 0,
        "status": "failed",
        "error": error,
        "incomplete_details": null,
        "model": "",
        "output": [],
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    })
}

impl Dialect for Responses {
    /// The events have names, but unlike other APIs' this one keeps alive with comments.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        self.id.set(answer.id);
        let mut out = Vec::with_capacity(1024);
        for kind in ["response.created", "response.in_progress"] {
            self.event(&mut out, kind, json!({"response": response(answer, None)}));
        }
        Some(out.into())
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let reasoning = frame.reasoning;
        let output = Output { answer, reasoning };
        let before = sent.saturating_sub(frame.tokens);
        let mut out = Vec::with_capacity(256);
        let begins = before == 0 || (before == answer.reasoning_tokens() && !reasoning);
        if begins && before > 0 {
            let reasoning = true;
            self.end(&mut out, Output { answer, reasoning });
        }
        if begins {
            self.begin(&mut out, output);
        }
        let kind = format!("response.{}.delta", output.kind());
        let value = json!({
            "output_index": output.index(),
            "item_id": output.id(),
            "content_index": 0,
            "delta": frame.text,
            "logprobs": [],
        });
        self.event(&mut out, &kind, value);
        out.into()
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(1024);
        if let Some(frame) = answer.frames.last() {
            let reasoning = frame.reasoning;
            self.end(&mut out, Output { answer, reasoning });
        }
        if let Some(finish) = answer.finish {
            let response = response(answer, Some(finish));
            let kind = match finish {
                Finish::Length | Finish::ContentFilter => "response.incomplete",
                _ => "response.completed",
            };
            self.event(&mut out, kind, json!({ "response": response }));
        }
        vec![out.into()]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        response(answer, answer.finish).to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(512);
        self.event(
            &mut out,
            "response.failed",
            json!({"response": failed(self.id.get())}),
        );
        vec![out.into()]
    }

    fn whole_failure(&self) -> Bytes {
        failed(0).to_string().into()
    }
}
