//! Amazon Bedrock's Converse API, which is the same for all models: `/model/ID/converse-stream`, an event stream whose
//! last word is `metadata`, and `/model/ID/converse`.

use super::request::drop_nulls;
use super::text::{Text, parse};
use super::{
    EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec, aws, request,
};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::{Frame, FrameKind, Framing};
use http::StatusCode;
use http::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// Of all calls to Bedrock's models.
pub(super) const SERVICE: &str = "bedrock";

pub(super) struct Bedrock;

pub(super) const BEDROCK: RuntimeSpec = RuntimeSpec {
    hosts: &["bedrock-runtime.*.amazonaws.com"],
    ..RuntimeSpec::new(
        "bedrock",
        "Amazon Bedrock's Converse API, event streams; requests are signed, or a key travels as `Authorization: Bearer`",
        &Bedrock,
        "https://bedrock-runtime.eu-central-1.amazonaws.com",
    )
};

impl Runtime for Bedrock {
    /// Chat and completion are the same here: there is one operation.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let operation = match input.stream {
            true => "converse-stream",
            false => "converse",
        };
        let path = format!("/model/{}/{operation}", request::segment(input.model));
        let body = Value::from(body(input)).to_string();
        aws::encoded(path, input.stream, body.into())
    }

    fn aws_service(&self) -> Option<&'static str> {
        Some(SERVICE)
    }

    fn model_labels(&self, model: &str) -> Vec<(&'static str, String)> {
        inference_profile(model)
    }

    fn framing(&self, stream: bool) -> Framing {
        framing(stream)
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(ConverseInterpreter {
            stream,
            finished: false,
        })
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (StatusCode, Option<String>) {
        aws::refusal(status, headers, body)
    }
}

pub(super) fn framing(stream: bool) -> Framing {
    match stream {
        true => Framing::EventStream,
        false => Framing::WholeBody,
    }
}

/// Areas over which a profile spreads its requests, as they stand in front of its id.
const AREAS: [&str; 9] = [
    "us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "global",
];

/// The id within a resource name, which is the kind of the resource, a slash and the id behind some colons.
fn id_of(model: &str) -> (Option<&str>, &str) {
    match model
        .strip_prefix("arn:")
        .and_then(|arn| arn.rsplit_once('/'))
    {
        Some((before, id)) => (before.rsplit(':').next(), id),
        None => (None, model),
    }
}

/// A model's id without the area that a profile puts in front of it, and whether there is one.
pub(super) fn without_area(model: &str) -> (&str, bool) {
    let (_, id) = id_of(model);
    match id.split_once('.') {
        Some((area, rest)) if AREAS.contains(&area) => (rest, true),
        _ => (id, false),
    }
}

/// The profile that chooses the region of a request: one of an area, or one that an account has made itself.
pub(super) fn inference_profile(model: &str) -> Vec<(&'static str, String)> {
    let (kind, id) = id_of(model);
    let is_profile = match kind {
        Some(kind) => matches!(kind, "inference-profile" | "application-inference-profile"),
        None => without_area(model).1,
    };
    let label = is_profile.then(|| ("inference_profile", id.to_owned()));
    label.into_iter().collect()
}

/// The request, which Amazon's own models take in the same form elsewhere.
pub(super) fn body(input: EncodeInput<'_>) -> Map<String, Value> {
    let mut inference = Map::new();
    if let Some(tokens) = input.generation.output_tokens {
        inference.insert("maxTokens".into(), tokens.into());
    }
    if let Some(temperature) = input.generation.temperature {
        inference.insert("temperature".into(), temperature.into());
    }
    let message = json!({ "role": "user", "content": [{ "text": input.prompt.user }] });
    let mut body = Map::from_iter([("messages".to_owned(), json!([message]))]);
    if let Some(system) = &input.prompt.system {
        body.insert("system".into(), json!([{ "text": &**system }]));
    }
    let mut extra = input.generation.extra_body.clone();
    if let Some(Value::Object(more)) = extra.remove("inferenceConfig") {
        inference.extend(more);
    }
    drop_nulls(&mut inference);
    if !inference.is_empty() {
        body.insert("inferenceConfig".into(), inference.into());
    }
    body.extend(extra);
    drop_nulls(&mut body);
    body
}

struct ConverseInterpreter {
    stream: bool,
    finished: bool,
}

impl Interpreter for ConverseInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        if frame.kind == FrameKind::Fault {
            return aws::fault(frame);
        }
        let name = match self.stream {
            true => frame.event.and_then(|name| std::str::from_utf8(name).ok()),
            false => Some(""),
        };
        let Some(name) = name.filter(|name| EVENTS.contains(name)) else {
            // Whatever the API adds.
            return Delta::default();
        };
        let delta = match parse::<Event<'a>>(frame.data) {
            Ok(event) => event.into_delta(name),
            Err(error) => Delta::malformed(format!("an event is not the expected JSON: {error}")),
        };
        self.finished |= delta.finish.is_some();
        delta
    }

    /// `metadata` comes last, but without it the answer is complete as well.
    fn ends_with_body(&self) -> bool {
        self.finished
    }
}

/// Events that say something; the one without a name is a whole answer.
const EVENTS: [&str; 5] = [
    "",
    "contentBlockStart",
    "contentBlockDelta",
    "messageStop",
    "metadata",
];

/// Any event, and the whole answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    start: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Block<'a>>,
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<TokenUsage>,
    metrics: Option<Metrics>,
}

impl<'a> Event<'a> {
    /// What the event of this name says; the one without is the whole answer.
    pub(super) fn into_delta(self, name: &str) -> Delta<'a> {
        let mut delta = Delta {
            finish: self.stop_reason.map(|text| finish(&text.0)),
            usage: self.usage.map(TokenUsage::counts),
            server: ServerTimings {
                total: self.metrics.and_then(|metrics| millis(metrics.latency_ms)),
                ..ServerTimings::default()
            },
            terminator: matches!(name, "metadata" | ""),
            ..Delta::default()
        };
        let (one, all) = match name {
            "contentBlockStart" => (self.start, Vec::new()),
            "contentBlockDelta" if self.delta.is_none() => {
                return Delta::malformed("an event has no `delta`");
            }
            "contentBlockDelta" => (self.delta, Vec::new()),
            "" => match self.output {
                Some(output) => (None, output.message.content),
                None => return Delta::malformed("the answer has no `output`"),
            },
            _ => (None, Vec::new()),
        };
        for block in one.into_iter().chain(all) {
            block.add_to(&mut delta);
        }
        delta
    }
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

/// A block, its start or a part of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Reasoning<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
}

/// Signatures and what is encrypted are no text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    /// The same, of a whole answer.
    #[serde(borrow)]
    reasoning_text: Option<ReasoningText<'a>>,
}

#[derive(Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// Pieces of JSON as text in a stream, JSON itself in a whole answer.
    input: Option<Value>,
}

impl<'a> Block<'a> {
    /// Name and arguments of a tool call are the answer that its caller waits for.
    fn add_to(self, delta: &mut Delta<'a>) {
        let call = self.tool_use;
        let (name, input) = call.map_or((None, None), |call| (call.name, call.input));
        let input = input.map(|input| match input {
            Value::String(piece) => Cow::Owned(piece),
            whole => Cow::Owned(whole.to_string()),
        });
        for said in [self.text.map(|text| text.0), name.map(|name| name.0), input] {
            append(&mut delta.visible, said);
        }
        if let Some(reasoning) = self.reasoning_content {
            let whole = reasoning.reasoning_text.and_then(|whole| whole.text);
            append(
                &mut delta.reasoning,
                reasoning.text.or(whole).map(|text| text.0),
            );
        }
    }
}

fn append<'a>(place: &mut Option<Cow<'a, str>>, said: Option<Cow<'a, str>>) {
    *place = match (place.take(), said) {
        (Some(before), Some(said)) => Some(before + said),
        (before, said) => before.or(said),
    };
}

/// Cached tokens are counted apart from the others, and go by either of two names, or by both.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

impl TokenUsage {
    fn counts(self) -> Usage {
        let read = self
            .cache_read_input_tokens
            .or(self.cache_read_input_token_count);
        let written = self
            .cache_write_input_tokens
            .or(self.cache_write_input_token_count);
        let cached = [read, written].into_iter().flatten();
        Usage {
            input: self
                .input_tokens
                .map(|fresh| cached.fold(fresh, u64::saturating_add)),
            output: self.output_tokens,
            cached: read,
            reasoning: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    latency_ms: Option<f64>,
}

/// A duration from milliseconds; none where it is negative or beyond all bounds.
pub(super) fn millis(value: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(value? / 1e3).ok()
}

fn finish(reason: &str) -> FinishReason {
    match reason {
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "model_context_window_exceeded" => FinishReason::Length,
        other => FinishReason::parse(other),
    }
}

#[cfg(test)]
mod tests;
