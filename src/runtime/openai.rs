//! The OpenAI dialect, as vLLM, llama.cpp, SGLang, LlamaEdge and TGI speak it: chat and completions,
//! server-sent events that end with `[DONE]`, usage in the stream, reasoning deltas, in-band errors.

use super::llamacpp::LlamaTimings;
use super::request::request;
use super::text::{Text, error_text, joined, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use crate::workload::Prompt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

pub(super) struct OpenAi;

impl Runtime for OpenAi {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let path = match input.operation {
            Operation::Chat => "/v1/chat/completions",
            Operation::Completion => "/v1/completions",
        };
        encode(path, "max_tokens", input)
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(OpenAiInterpreter { stream })
    }
}

/// The request, for a path and with the name that the limit of the answer's tokens has there.
pub(super) fn encode(
    path: impl Into<Cow<'static, str>>,
    limit: &str,
    input: EncodeInput<'_>,
) -> EncodedRequest {
    let mut body = Map::new();
    match input.operation {
        Operation::Chat => body.insert("messages".into(), messages(input.prompt)),
        Operation::Completion => body.insert("prompt".into(), whole(input.prompt).into()),
    };
    if let Some(tokens) = input.generation.output_tokens {
        body.insert(limit.to_owned(), tokens.into());
    }
    if let Some(temperature) = input.generation.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    let usage = Map::from_iter([("include_usage".to_owned(), true.into())]);
    let options = input.stream.then_some(("stream_options", usage));
    request(path, input, body, options)
}

/// `[{role, content}]`, the system message first.
pub(super) fn messages(prompt: &Prompt) -> Value {
    let system = prompt.system.as_ref();
    let system = system.map(|text| json!({ "role": "system", "content": &**text }));
    let user = json!({ "role": "user", "content": prompt.user });
    system.into_iter().chain([user]).collect()
}

/// The prompt as one text, for operations without roles.
pub(super) fn whole(prompt: &Prompt) -> String {
    match &prompt.system {
        Some(system) => format!("{system}\n\n{}", prompt.user),
        None => prompt.user.clone(),
    }
}

pub(super) struct OpenAiInterpreter {
    pub(super) stream: bool,
}

impl Interpreter for OpenAiInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        if frame.data.trim_ascii() == b"[DONE]" {
            return Delta {
                terminator: true,
                ..Delta::default()
            };
        }
        if frame.event == Some(b"error") {
            let said = super::text::error_message(frame.data);
            return Delta::in_band(said.unwrap_or_default());
        }
        match parse::<Body<'a>>(frame.data) {
            Ok(Body {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            // Some servers send the error object as the event itself, named by the event.
            Ok(body) if body.object.as_ref().is_some_and(|o| o.0 == "error") => {
                Delta::in_band(body.message.map_or_else(String::new, |m| m.0.into_owned()))
            }
            Ok(body) => body.into_delta(self.stream),
            Err(error) => Delta::malformed(format!("a frame is not the expected JSON: {error}")),
        }
    }
}

/// A chunk of a stream, or a whole answer: they differ in `delta` and `message` only.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<UsageBlock>,
    timings: Option<LlamaTimings>,
    /// Cerebras has its times in here, in seconds, with a total of everything.
    time_info: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    /// What `tool_calls` was before it became many.
    #[serde(borrow)]
    function_call: Option<Call<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    function: Option<Call<'a>>,
    #[serde(borrow)]
    custom: Option<Call<'a>>,
}

/// A call of a tool or a part of one: the name comes first, the arguments by and by.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow, alias = "input")]
    arguments: Option<Arguments<'a>>,
}

/// JSON in a string by the API's own word; some servers send it as it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Other(Value),
}

#[derive(Deserialize)]
struct UsageBlock {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    reasoning_tokens: Option<u64>,
    // Groq puts these beside the counts, in seconds. Its `total_time` leaves the queue out, and so is not
    // read. vLLM's usage has no times. Whoever means something else by them is not malformed.
    queue_time: Option<Value>,
    prompt_time: Option<Value>,
    completion_time: Option<Value>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl<'a> Body<'a> {
    fn into_delta(self, stream: bool) -> Delta<'a> {
        let Some(choices) = self.choices else {
            return Delta::malformed("a frame has no `choices`");
        };
        let mut server = ServerTimings::default();
        for said in [
            self.usage.as_ref().map(UsageBlock::times),
            self.time_info.as_ref().map(of_time_info),
            self.timings.as_ref().map(LlamaTimings::phases),
        ] {
            server.merge(said.unwrap_or_default());
        }
        // The usage block's own word on the cache goes first.
        let cached = self.timings.and_then(|timings| timings.cached(None));
        let cached = cached.map(|cached| Usage {
            cached: Some(cached),
            ..Usage::default()
        });
        let usage = self.usage.map(UsageBlock::counts);
        let usage = match (cached, usage) {
            (Some(mut cached), Some(usage)) => {
                cached.merge(usage);
                Some(cached)
            }
            (cached, usage) => usage.or(cached),
        };
        let mut delta = Delta {
            usage,
            server,
            // Azure names no model in a chunk about the prompt alone.
            model: self
                .model
                .map(|text| text.0)
                .filter(|name| !name.is_empty()),
            // A whole answer is complete by being whole.
            terminator: !stream,
            ..Delta::default()
        };
        // We never ask for more than one choice.
        let Some(choice) = choices.into_iter().next() else {
            return delta;
        };
        delta.finish = choice
            .finish_reason
            .map(|text| FinishReason::parse(&text.0));
        delta.visible = choice.text.map(|text| text.0);
        if let Some(message) = choice.delta.or(choice.message) {
            let (reasoning, visible) = message.said();
            delta.reasoning = reasoning;
            delta.visible = visible.or(delta.visible);
        }
        delta
    }
}

impl<'a> Message<'a> {
    /// The reasoning and what is visible. A refusal is an answer, and name and arguments of a tool call are
    /// the one that its caller waits for.
    fn said(self) -> (Option<Cow<'a, str>>, Option<Cow<'a, str>>) {
        let calls = self.tool_calls.into_iter().flatten().map(ToolCall::said);
        let calls = calls.chain([self.function_call.and_then(Call::said)]);
        let texts = [self.content, self.refusal];
        let texts = texts.into_iter().map(|text| text.map(|text| text.0));
        let reasoning = self.reasoning_content.or(self.reasoning);
        (
            reasoning.map(|text| text.0),
            texts.chain(calls).fold(None, joined),
        )
    }
}

impl<'a> ToolCall<'a> {
    /// Its name and arguments.
    pub(super) fn said(self) -> Option<Cow<'a, str>> {
        let said = |call: Option<Call<'a>>| call.and_then(Call::said);
        joined(said(self.function), said(self.custom))
    }
}

impl<'a> Call<'a> {
    fn said(self) -> Option<Cow<'a, str>> {
        let arguments = self.arguments.map(|arguments| match arguments {
            Arguments::Text(text) => text.0,
            Arguments::Other(value) => Cow::Owned(value.to_string()),
        });
        joined(self.name.map(|text| text.0), arguments)
    }
}

impl UsageBlock {
    fn times(&self) -> ServerTimings {
        ServerTimings {
            queue: seconds(self.queue_time.as_ref()),
            prefill: seconds(self.prompt_time.as_ref()),
            decode: seconds(self.completion_time.as_ref()),
            ..ServerTimings::default()
        }
    }

    fn counts(self) -> Usage {
        let details = self.completion_tokens_details;
        Usage {
            input: self.prompt_tokens,
            output: self.completion_tokens,
            cached: self
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens),
            reasoning: details
                .and_then(|details| details.reasoning_tokens)
                .or(self.reasoning_tokens),
        }
    }
}

fn of_time_info(block: &Value) -> ServerTimings {
    let time = |name: &str| seconds(block.get(name));
    ServerTimings {
        queue: time("queue_time"),
        prefill: time("prompt_time"),
        decode: time("completion_time"),
        total: time("total_time"),
        load: None,
    }
}

pub(super) fn seconds(value: Option<&Value>) -> Option<Duration> {
    Duration::try_from_secs_f64(value?.as_f64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: bool, data: &str, check: impl FnOnce(Delta<'_>)) {
        let frame = Frame::bare(data.as_bytes());
        check(OpenAiInterpreter { stream }.on_frame(frame));
    }

    #[test]
    fn a_role_chunk_carries_no_text() {
        read(
            true,
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            |delta| {
                assert_eq!(delta.visible.as_deref(), Some(""));
                assert_eq!(delta.fault, None);
            },
        );
    }

    #[test]
    fn reasoning_is_told_apart_under_both_of_its_names() {
        for key in ["reasoning_content", "reasoning"] {
            let data = format!(r#"{{"choices":[{{"delta":{{"{key}":"hm","content":null}}}}]}}"#);
            read(true, &data, |delta| {
                assert_eq!(delta.reasoning.as_deref(), Some("hm"));
                assert_eq!(delta.visible, None);
            });
        }
    }

    #[test]
    fn the_usage_chunk_has_counts_and_no_choice() {
        let data = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        read(true, data, |delta| {
            let usage = delta.usage.unwrap();
            assert_eq!(
                (usage.input, usage.output, usage.cached),
                (Some(9), Some(5), Some(4))
            );
        });
    }

    #[test]
    fn the_runtimes_own_times_are_read_wherever_it_puts_them() {
        let ms = Duration::from_millis;
        let phases = |queue, total| ServerTimings {
            queue,
            prefill: Some(ms(20)),
            decode: Some(ms(70)),
            total,
            ..ServerTimings::default()
        };
        let times = r#""queue_time":0.005,"prompt_time":0.02,"completion_time":0.07,"total_time""#;
        let of_llama =
            r#"{"choices":[],"timings":{"prompt_ms":20,"predicted_ms":70,"cache_n":48}}"#;
        let of_groq = format!(r#"{{"choices":[],"usage":{{"prompt_tokens":9,{times}:0.09}}}}"#);
        let of_cerebras = format!(r#"{{"choices":[],"time_info":{{{times}:0.1,"created":1}}}}"#);
        read(true, of_llama, |delta| {
            assert_eq!(delta.server, phases(None, None));
            assert_eq!(delta.server.completed().total, Some(ms(90)));
            assert_eq!(delta.usage.unwrap().cached, Some(48));
        });
        read(true, &of_groq, |delta| {
            assert_eq!(delta.server, phases(Some(ms(5)), None));
            assert_eq!(delta.server.completed().total, Some(ms(95)));
        });
        read(true, &of_cerebras, |delta| {
            assert_eq!(delta.server, phases(Some(ms(5)), Some(ms(100))));
        });
    }

    #[test]
    fn an_error_inside_the_stream_is_in_band() {
        for data in [
            r#"{"error":{"message":"out of memory","code":500}}"#,
            r#"{"error":"out of memory"}"#,
            r#"{"object":"error","message":"out of memory"}"#,
        ] {
            read(true, data, |delta| {
                assert_eq!(delta, Delta::in_band("out of memory"))
            });
        }
    }

    #[test]
    fn calls_of_tools_and_refusals_are_visible_in_every_form() {
        for (message, said) in [
            (
                r#"{"content":null,"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"clock","arguments":""}}]}"#,
                "clock",
            ),
            (
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"zone\""}}]}"#,
                "{\"zone\"",
            ),
            (
                r#"{"content":"","tool_calls":[{"function":{"name":"a","arguments":{"b":1}}},{"function":{"name":"c"}}]}"#,
                "a{\"b\":1}c",
            ),
            (
                r#"{"tool_calls":[{"type":"custom","custom":{"name":"sh","input":"ls"}}]}"#,
                "shls",
            ),
            (
                r#"{"function_call":{"name":"clock","arguments":"{}"}}"#,
                "clock{}",
            ),
            (r#"{"content":null,"refusal":"No."}"#, "No."),
        ] {
            let data = format!(r#"{{"choices":[{{"delta":{message}}}]}}"#);
            read(true, &data, |delta| {
                assert_eq!(delta.visible.as_deref(), Some(said), "{data}")
            });
        }
        read(
            true,
            r#"{"choices":[{"delta":{"tool_calls":[]}}]}"#,
            |delta| {
                assert_eq!(delta.visible, None);
            },
        );
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        for data in ["nonsense", "{}", r#"{"choices":3}"#, "null"] {
            read(true, data, |delta| {
                assert!(matches!(
                    delta.fault,
                    Some(crate::measure::delta::Fault::Malformed(_))
                ));
            });
        }
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        read(true, r#"{"choices":[{"text":"plain"}]}"#, |delta| {
            assert!(matches!(
                delta.visible,
                Some(std::borrow::Cow::Borrowed("plain"))
            ));
        });
    }
}
