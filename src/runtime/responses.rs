//! The OpenAI Responses API (`/v1/responses`), as OpenAI and Azure speak it, and as vLLM, SGLang and Ollama
//! offer it: typed server-sent events, of which the last holds the whole answer once more.

use super::request::request;
use super::text::{Text, error_text, joined, one_line, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use std::borrow::Cow;

pub(super) struct Responses;

pub(super) const OPENAI_RESPONSES: RuntimeSpec = RuntimeSpec::new(
    "openai-responses",
    "the OpenAI Responses API: typed server-sent events",
    &Responses,
    "https://api.openai.com",
);

impl Runtime for Responses {
    /// Chat and completion are the same here: there is one operation.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let generation = input.generation;
        let mut body = Map::new();
        body.insert("input".into(), input.prompt.user.as_str().into());
        if let Some(system) = &input.prompt.system {
            body.insert("instructions".into(), (**system).into());
        }
        if let Some(tokens) = generation.output_tokens {
            body.insert("max_output_tokens".into(), tokens.into());
        }
        if let Some(temperature) = generation.temperature {
            body.insert("temperature".into(), temperature.into());
        }
        // Left to itself the API keeps every answer for weeks.
        body.insert("store".into(), false.into());
        request("/v1/responses", input, body, None)
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        match stream {
            true => Box::new(EventReader),
            false => Box::new(WholeReader),
        }
    }
}

struct EventReader;

impl Interpreter for EventReader {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        // Some servers end their streams as they end those of chats: after the last event, which says it all.
        if frame.data.trim_ascii() == b"[DONE]" {
            return Delta::default();
        }
        let event = match parse::<Event<'a>>(frame.data) {
            Ok(event) => event,
            Err(error) => {
                return Delta::malformed(format!("an event is not the expected JSON: {error}"));
            }
        };
        if let Some(error) = event.error.filter(|error| !error.is_null()) {
            return Delta::in_band(in_words(&error));
        }
        let Some(Text(kind)) = event.kind else {
            return Delta::malformed("an event has no `type`");
        };
        let text = |piece: Option<Piece<'a>>| piece.and_then(Piece::text);
        match &*kind {
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta"
            | "response.code_interpreter_call_code.delta"
            | "response.shell_call_command.delta" => Delta {
                visible: text(event.delta),
                ..Delta::default()
            },
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => Delta {
                reasoning: text(event.delta),
                ..Delta::default()
            },
            // Arguments come by and by, or once more at the end.
            "response.output_item.added" => Delta {
                visible: event.item.and_then(|item| text(item.name)),
                ..Delta::default()
            },
            "response.created" => Delta {
                model: event.response.and_then(|response| response.model()),
                ..Delta::default()
            },
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => match event.response {
                Some(response) => response.end(kind.strip_prefix("response.")),
                None => Delta::malformed(format!("`{kind}` has no `response`")),
            },
            "error" => {
                let code = event.code.as_ref().and_then(Value::as_str);
                let said = event.message.and_then(Piece::text).unwrap_or_default();
                Delta::in_band(with_code(code, &said))
            }
            // Starts and ends of items and parts, what tools of the server do, and whatever the API adds.
            _ => Delta::default(),
        }
    }
}

struct WholeReader;

impl Interpreter for WholeReader {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        match parse::<Response<'a>>(frame.data) {
            Ok(response) => response.whole(),
            Err(error) => Delta::malformed(format!("the answer is not the expected JSON: {error}")),
        }
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Option<Piece<'a>>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
    /// With the event `error`.
    code: Option<Value>,
    #[serde(borrow)]
    message: Option<Piece<'a>>,
    /// What some servers have in its place.
    error: Option<Value>,
}

/// A text where other events, or items, have something else under the same name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Piece<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Other(IgnoredAny),
}

impl<'a> Piece<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.0),
            Self::Other(IgnoredAny) => None,
        }
    }
}

/// The answer as a whole.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    incomplete_details: Option<Incomplete<'a>>,
    #[serde(borrow)]
    output: Option<Vec<Item<'a>>>,
    usage: Option<UsageBlock>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

/// A message, a train of thought, or a call of a tool: told apart by what they have.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    summary: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    name: Option<Piece<'a>>,
    #[serde(borrow)]
    arguments: Option<Piece<'a>>,
    #[serde(borrow)]
    input: Option<Piece<'a>>,
    #[serde(borrow)]
    code: Option<Piece<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Piece<'a>>,
    #[serde(borrow)]
    refusal: Option<Piece<'a>>,
}

#[derive(Deserialize)]
struct UsageBlock {
    input_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl<'a> Response<'a> {
    fn model(self) -> Option<Cow<'a, str>> {
        self.model.map(|text| text.0)
    }

    /// What it says besides its text. `event` tells the status where the answer itself does not.
    fn end(self, event: Option<&str>) -> Delta<'a> {
        let status = self.status.as_ref().map(|text| &*text.0).or(event);
        let reason = self.incomplete_details.and_then(|details| details.reason);
        let finish = match status {
            Some("failed") => {
                let error = self.error.unwrap_or_default();
                return Delta::in_band(in_words(&error));
            }
            Some("completed") => Some(FinishReason::Stop),
            Some("cancelled") => Some(FinishReason::Aborted),
            Some("incomplete") => Some(match reason.as_ref().map(|text| &*text.0) {
                Some("max_output_tokens") => FinishReason::Length,
                Some(other) => FinishReason::parse(other),
                None => FinishReason::Other("incomplete".to_owned()),
            }),
            _ => None,
        };
        Delta {
            finish,
            usage: self.usage.map(UsageBlock::counts),
            model: self.model.map(|text| text.0),
            terminator: true,
            ..Delta::default()
        }
    }

    fn whole(mut self) -> Delta<'a> {
        if let Some(error) = self.error.as_ref().filter(|error| !error.is_null()) {
            return Delta::in_band(in_words(error));
        }
        let Some(output) = self.output.take() else {
            return Delta::malformed("the answer has no `output`");
        };
        let mut delta = self.end(None);
        for item in output {
            let said = item.said();
            delta.visible = joined(delta.visible, said.visible);
            delta.reasoning = joined(delta.reasoning, said.reasoning);
        }
        delta
    }
}

impl<'a> Item<'a> {
    /// Name and arguments of a call are the answer that its caller waits for.
    fn said(self) -> Delta<'a> {
        let is_thought = self.kind.is_some_and(|kind| kind.0 == "reasoning");
        let parts = self.content.into_iter().chain(self.summary).flatten();
        let pieces = parts.flat_map(|part| [part.text, part.refusal]);
        let call = [self.name, self.arguments, self.input, self.code];
        let text = pieces
            .chain(call)
            .map(|piece| piece.and_then(Piece::text))
            .fold(None, joined);
        let (reasoning, visible) = match is_thought {
            true => (text, None),
            false => (None, text),
        };
        Delta {
            visible,
            reasoning,
            ..Delta::default()
        }
    }
}

impl UsageBlock {
    fn counts(self) -> Usage {
        Usage {
            input: self.input_tokens,
            output: self.output_tokens,
            cached: self
                .input_tokens_details
                .and_then(|details| details.cached_tokens),
            reasoning: self
                .output_tokens_details
                .and_then(|details| details.reasoning_tokens),
        }
    }
}

/// The code goes first: it is what a reader looks for.
fn in_words(error: &Value) -> String {
    with_code(
        error.get("code").and_then(Value::as_str),
        &error_text(error),
    )
}

fn with_code(code: Option<&str>, said: &str) -> String {
    match code {
        Some(code) => one_line(&format!("{code}: {said}")),
        None => one_line(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::delta::Fault;
    use crate::runtime::Generation;
    use crate::workload::Prompt;
    use serde_json::json;

    fn read(stream: bool, data: &str, check: impl FnOnce(Delta<'_>)) {
        let frame = Frame::bare(data.as_bytes());
        check(
            Responses
                .interpreter(Operation::Chat, stream)
                .on_frame(frame),
        );
    }

    #[test]
    fn the_request_is_not_kept_unless_the_scenario_wants_it() {
        let body = |extra: Value| -> Value {
            let generation = Generation {
                output_tokens: Some(32),
                temperature: Some(0.0),
                extra_body: extra.as_object().cloned().unwrap(),
            };
            let prompt = Prompt {
                system: Some("Be brief.".into()),
                user: "hi".into(),
                generated_words: None,
            };
            let request = Responses.encode(EncodeInput {
                model: "m",
                operation: Operation::Chat,
                stream: true,
                prompt: &prompt,
                generation: &generation,
            });
            assert_eq!(request.path, "/v1/responses");
            serde_json::from_slice(&request.body).unwrap()
        };
        let extra = json!({ "temperature": null, "reasoning": {"effort": "low"} });
        let wanted = json!({
            "model": "m", "stream": true, "input": "hi", "instructions": "Be brief.",
            "max_output_tokens": 32, "store": false, "reasoning": {"effort": "low"},
        });
        assert_eq!(body(extra), wanted);
        assert_eq!(body(json!({ "store": true }))["store"], true);
    }

    #[test]
    fn only_what_the_model_says_is_a_token() {
        for data in [
            r#"{"type":"response.in_progress","response":{"model":"m","output":[]}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#,
            r#"{"type":"response.output_text.done","text":"all of it"}"#,
            r#"{"type":"response.function_call_arguments.done","arguments":"{}","name":"f"}"#,
            r#"{"type":"response.shell_call_output_content.delta","delta":{"stdout":"out"}}"#,
            r#"{"type":"response.tool_search_call.added","item":{"arguments":{"q":1}}}"#,
            r#"{"type":"response.audio.delta","delta":"UklGRg=="}"#,
            r#"{"type":"ping"}"#,
            "[DONE]",
        ] {
            read(true, data, |delta| {
                assert_eq!((delta.visible, delta.reasoning), (None, None), "{data}");
                assert_eq!((delta.fault, delta.terminator), (None, false), "{data}");
            });
        }
        let called = r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"clock","arguments":""}}"#;
        read(true, called, |delta| {
            assert_eq!(delta.visible.as_deref(), Some("clock"));
        });
        let text = r#"{"type":"response.output_text.delta","delta":"plain"}"#;
        read(true, text, |delta| {
            assert!(matches!(delta.visible, Some(Cow::Borrowed("plain"))));
        });
    }

    #[test]
    fn the_last_event_says_why_it_is_the_last() {
        let ends = |kind: &str, rest: &str| {
            let data = format!(r#"{{"type":"response.{kind}","response":{{{rest}}}}}"#);
            let mut found = None;
            read(true, &data, |delta| {
                assert!(delta.terminator, "{data}");
                found = delta.finish;
            });
            found
        };
        let because = |reason: &str| {
            let rest =
                format!(r#""status":"incomplete","incomplete_details":{{"reason":"{reason}"}}"#);
            ends("incomplete", &rest)
        };
        assert_eq!(ends("completed", ""), Some(FinishReason::Stop));
        assert_eq!(ends("cancelled", ""), Some(FinishReason::Aborted));
        assert_eq!(because("max_output_tokens"), Some(FinishReason::Length));
        assert_eq!(because("content_filter"), Some(FinishReason::ContentFilter));
        assert_eq!(
            because("steered"),
            Some(FinishReason::Other("steered".into()))
        );
    }

    #[test]
    fn every_form_of_an_error_is_in_band_with_its_code() {
        for data in [
            r#"{"type":"error","code":"server_error","message":"It broke.","param":null}"#,
            r#"{"type":"error","error":{"code":"server_error","message":"It broke."}}"#,
            r#"{"error":{"code":"server_error","message":"It broke."}}"#,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"It broke."}}}"#,
        ] {
            let said = Delta::in_band("server_error: It broke.");
            read(true, data, |delta| assert_eq!(delta, said, "{data}"));
        }
        let whole = r#"{"status":"failed","output":[],"error":{"code":"server_error","message":"It broke."}}"#;
        let said = Delta::in_band("server_error: It broke.");
        read(false, whole, |delta| assert_eq!(delta, said));
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        let malformed = |delta: Delta<'_>| matches!(delta.fault, Some(Fault::Malformed(_)));
        for data in ["nonsense", "{}", "null", r#"{"type":"response.completed"}"#] {
            read(true, data, |delta| assert!(malformed(delta), "{data}"));
        }
        for data in ["nonsense", "{}", "null", r#"{"output":3}"#] {
            read(false, data, |delta| assert!(malformed(delta), "{data}"));
        }
    }
}
