//! The Anthropic Messages API (`/v1/messages`), as Anthropic speaks it, and as vLLM, llama.cpp's server and
//! Ollama offer it beside their own: named server-sent events that end with `message_stop`.

use super::request::{drop_nulls, encoded};
use super::text::{Text, error_text, joined, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The API wants a limit in every request.
const DEFAULT_OUTPUT_TOKENS: u32 = 1024;

/// Which form of the API we read.
const VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
);

pub(super) struct Anthropic;

pub(super) const ANTHROPIC: RuntimeSpec = RuntimeSpec {
    hosts: &["api.anthropic.com"],
    ..RuntimeSpec::new(
        "anthropic",
        "the Anthropic Messages API, server-sent events; the key travels as `x-api-key`",
        &Anthropic,
        "https://api.anthropic.com",
    )
};

impl Runtime for Anthropic {
    /// Chat and completion are the same here: there is one operation.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let generation = input.generation;
        let limit = generation.output_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS);
        let mut body = json!({
            "model": input.model,
            "max_tokens": limit,
            "messages": [{ "role": "user", "content": input.prompt.user }],
            "stream": input.stream,
        });
        if let Value::Object(map) = &mut body {
            if let Some(system) = &input.prompt.system {
                map.insert("system".into(), (**system).into());
            }
            if let Some(temperature) = generation.temperature {
                map.insert("temperature".into(), temperature.into());
            }
            map.extend(generation.extra_body.clone());
            drop_nulls(map);
        }
        let mut request = encoded("/v1/messages", input.stream, &body);
        request.headers.push(VERSION);
        request
    }

    fn key_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("x-api-key"))
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(AnthropicInterpreter {
            stream,
            prompt: Prompt::default(),
        })
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        match parse::<Event<'_>>(body) {
            Ok(Event {
                error: Some(error), ..
            }) => Some(error.in_words()),
            _ => super::text::error_message(body),
        }
    }
}

struct AnthropicInterpreter {
    stream: bool,
    prompt: Prompt,
}

/// Tokens of the prompt by how they were had. The API counts those that a cache read or wrote apart from
/// the others, and tells them in the first event, some servers in the last.
#[derive(Default)]
struct Prompt {
    fresh: Option<u64>,
    written: Option<u64>,
    read: Option<u64>,
}

impl Interpreter for AnthropicInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        let mut event = match parse::<Event<'a>>(frame.data) {
            Ok(event) => event,
            Err(error) => {
                return Delta::malformed(format!("an event is not the expected JSON: {error}"));
            }
        };
        if let Some(error) = event.error {
            return Delta::in_band(error.in_words());
        }
        let Some(Text(kind)) = event.kind.take() else {
            return Delta::malformed("an event has no `type`");
        };
        match &*kind {
            "message_start" => self.started(event.message),
            "content_block_start" => said(event.content_block),
            "content_block_delta" => said(event.delta),
            "message_delta" => Delta {
                finish: event.delta.and_then(|delta| finish(delta.stop_reason)),
                usage: event.usage.map(|usage| self.usage(usage)),
                ..Delta::default()
            },
            "message_stop" => Delta {
                terminator: true,
                ..Delta::default()
            },
            "message" => self.whole(event),
            "error" => Delta::in_band(""),
            // `ping`, `content_block_stop`, and whatever the API adds: its rules want that passed over.
            _ => Delta::default(),
        }
    }
}

impl AnthropicInterpreter {
    /// The first event counts one or two output tokens before any is sent, which would pass for the whole
    /// answer if it broke off.
    fn started<'a>(&mut self, message: Option<Message<'a>>) -> Delta<'a> {
        let Some(message) = message else {
            return Delta::malformed("`message_start` has no `message`");
        };
        let usage = message.usage.map(|usage| Usage {
            output: None,
            ..self.usage(usage)
        });
        Delta {
            usage,
            model: message.model.map(|text| text.0),
            ..Delta::default()
        }
    }

    fn whole<'a>(&mut self, event: Event<'a>) -> Delta<'a> {
        let mut delta = Delta {
            finish: finish(event.stop_reason),
            usage: event.usage.map(|usage| self.usage(usage)),
            model: event.model.map(|text| text.0),
            // A whole answer is complete by being whole.
            terminator: !self.stream,
            ..Delta::default()
        };
        for block in event.content.into_iter().flatten() {
            let said = said(Some(block));
            delta.visible = joined(delta.visible, said.visible);
            delta.reasoning = joined(delta.reasoning, said.reasoning);
        }
        delta
    }

    fn usage(&mut self, usage: UsageBlock) -> Usage {
        let prompt = &mut self.prompt;
        prompt.fresh = usage.input_tokens.or(prompt.fresh);
        prompt.written = usage.cache_creation_input_tokens.or(prompt.written);
        prompt.read = usage.cache_read_input_tokens.or(prompt.read);
        let cached = [prompt.written, prompt.read].into_iter().flatten();
        Usage {
            input: prompt
                .fresh
                .map(|fresh| cached.fold(fresh, u64::saturating_add)),
            output: usage.output_tokens,
            cached: prompt.read,
            reasoning: usage
                .output_tokens_details
                .and_then(|details| details.thinking_tokens),
        }
    }
}

/// What a block or a part of one says. Name and arguments of a tool call are the answer that its caller
/// waits for.
fn said<'a>(part: Option<Part<'a>>) -> Delta<'a> {
    let Some(part) = part else {
        return Delta::malformed("an event has no content");
    };
    // A whole block holds its input as JSON; a stream begins it empty and sends it in parts.
    let input = part.input.filter(|input| match input {
        Value::Object(fields) => !fields.is_empty(),
        other => !other.is_null(),
    });
    let whole = input.map(|input| Cow::Owned(input.to_string()));
    let text = part.text.or(part.partial_json).map(|text| text.0);
    let call = joined(part.name.map(|text| text.0), whole);
    let is_result = part.tool_use_id.is_some();
    Delta {
        visible: if is_result { None } else { joined(text, call) },
        reasoning: part.thinking.map(|text| text.0),
        ..Delta::default()
    }
}

fn finish(reason: Option<Text<'_>>) -> Option<FinishReason> {
    let reason = reason?.0;
    Some(match &*reason {
        "refusal" => FinishReason::ContentFilter,
        "model_context_window_exceeded" => FinishReason::Length,
        other => FinishReason::parse(other),
    })
}

/// Any event, and the whole answer, which has the fields of a message.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<Part<'a>>,
    #[serde(borrow)]
    delta: Option<Part<'a>>,
    usage: Option<UsageBlock>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<UsageBlock>,
}

/// A block, a part of one, or the change of the message itself: told apart by what they have.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    input: Option<Value>,
    /// A block with it is what a tool on the server's side found: no word of the model.
    #[serde(borrow)]
    tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct UsageBlock {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

/// An object by the API's own word; gateways in front of it also send a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Failure<'a> {
    Typed {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
        message: Text<'a>,
    },
    Other(Value),
}

impl Failure<'_> {
    /// The kind goes first: `overloaded_error` says more than its message, `Overloaded`.
    fn in_words(&self) -> String {
        match self {
            Self::Typed { kind, message } => {
                super::text::one_line(&format!("{}: {}", kind.0, message.0))
            }
            Self::Other(value) => error_text(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &str) -> Frame<'_> {
        Frame::bare(data.as_bytes())
    }

    fn reader(stream: bool) -> Box<dyn Interpreter> {
        Anthropic.interpreter(Operation::Chat, stream)
    }

    #[test]
    fn the_prompt_is_all_of_its_tokens_whoever_told_of_them_and_when() {
        let mut reader = reader(true);
        let first = reader.on_frame(frame(
            r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":10,"cache_creation_input_tokens":3,"cache_read_input_tokens":40,"output_tokens":2}}}"#,
        ));
        let usage = first.usage.unwrap();
        assert_eq!((usage.input, usage.cached), (Some(53), Some(40)));
        assert_eq!(usage.output, None, "nothing has been said yet");
        let last = reader.on_frame(frame(
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":11,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}}"#,
        ));
        assert_eq!(last.finish, Some(FinishReason::Stop));
        let usage = last.usage.unwrap();
        assert_eq!((usage.input, usage.cached), (Some(54), Some(40)));
        assert_eq!((usage.output, usage.reasoning), (Some(9), Some(4)));
    }

    #[test]
    fn only_what_the_model_says_is_a_token() {
        for data in [
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_start","content_block":{"type":"web_search_tool_result","tool_use_id":"t","content":[]}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"abc"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"something_of_tomorrow","text":3.5}"#,
        ] {
            let delta = reader(true).on_frame(frame(data));
            assert!(delta.visible.unwrap_or_default().is_empty(), "{data}");
            assert!(delta.reasoning.unwrap_or_default().is_empty(), "{data}");
            assert_eq!((delta.fault, delta.terminator), (None, false), "{data}");
        }
    }

    #[test]
    fn text_thinking_and_tool_calls_are_told_apart() {
        let mut reader = reader(true);
        let mut read = |data| {
            let delta = reader.on_frame(frame(data));
            let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
            (owned(delta.visible), owned(delta.reasoning))
        };
        let some = |text: &str| Some(text.to_owned());
        let text = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#;
        assert_eq!(read(text), (some("Hi"), None));
        let thinking =
            r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}"#;
        assert_eq!(read(thinking), (None, some("hm")));
        let call = r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"weather","input":{}}}"#;
        assert_eq!(read(call), (some("weather"), None));
        let part = r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"city\":"}}"#;
        assert_eq!(read(part), (some("{\"city\":"), None));
    }

    #[test]
    fn a_whole_answer_has_all_blocks() {
        let data = r#"{"type":"message","model":"m","stop_reason":"tool_use","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Ask: "},{"type":"tool_use","name":"w","input":{"a":1}}],"usage":{"input_tokens":5,"output_tokens":7}}"#;
        let mut reader = reader(false);
        let delta = reader.on_frame(frame(data));
        assert_eq!(delta.visible.as_deref(), Some(r#"Ask: w{"a":1}"#));
        assert_eq!(delta.reasoning.as_deref(), Some("hm"));
        assert_eq!(delta.finish, Some(FinishReason::Other("tool_use".into())));
        assert!(delta.terminator);
    }

    #[test]
    fn every_reason_to_stop_has_its_meaning() {
        for (reason, meaning) in [
            ("end_turn", FinishReason::Stop),
            ("stop_sequence", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("model_context_window_exceeded", FinishReason::Length),
            ("refusal", FinishReason::ContentFilter),
            ("pause_turn", FinishReason::Other("pause_turn".into())),
        ] {
            let data = format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":1}}}}"#
            );
            let delta = reader(true).on_frame(frame(&data)).finish;
            assert_eq!(delta, Some(meaning), "{reason}");
        }
    }

    #[test]
    fn an_error_is_named_by_its_kind_inside_and_before_the_stream() {
        let data = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let said = "overloaded_error: Overloaded";
        assert_eq!(reader(true).on_frame(frame(data)), Delta::in_band(said));
        let before = Anthropic.error_message(data.as_bytes());
        assert_eq!(before.as_deref(), Some(said));
        let proxy = Anthropic.error_message(br#"{"error":"no such route"}"#);
        assert_eq!(proxy.as_deref(), Some("no such route"));
        let page = Anthropic.error_message(b"<html>Bad Gateway</html>");
        assert_eq!(page.as_deref(), Some("<html>Bad Gateway</html>"));
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        for data in ["nonsense", "{}", r#"{"type":"message_start"}"#, "null"] {
            let delta = reader(true).on_frame(frame(data));
            let fault = delta.fault;
            assert!(
                matches!(fault, Some(crate::measure::delta::Fault::Malformed(_))),
                "{data}"
            );
        }
    }
}
