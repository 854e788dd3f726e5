//! Cohere's chat (`/v2/chat`): named server-sent events that end with `message-end`.

use super::request::{drop_nulls, encoded};
use super::text::{OneOrMany, Text, one_line, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

pub(super) struct Cohere;

pub(super) const COHERE: RuntimeSpec = RuntimeSpec {
    hosts: &["api.cohere.com", "api.cohere.ai"],
    ..RuntimeSpec::new(
        "cohere",
        "Cohere's chat API, version 2, server-sent events",
        &Cohere,
        "https://api.cohere.com",
    )
};

impl Runtime for Cohere {
    /// Chat and completion are the same here: there is one operation.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let generation = input.generation;
        let system = input.prompt.system.as_ref();
        let system = system.map(|system| json!({"role": "system", "content": &**system}));
        let user = json!({"role": "user", "content": input.prompt.user});
        let messages: Vec<Value> = system.into_iter().chain([user]).collect();
        let mut body = json!({
            "model": input.model,
            "messages": messages,
            "stream": input.stream,
            "max_tokens": generation.output_tokens,
            "temperature": generation.temperature,
        });
        if let Value::Object(map) = &mut body {
            map.extend(generation.extra_body.clone());
            drop_nulls(map);
        }
        encoded("/v2/chat", input.stream, &body)
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(CohereInterpreter { stream })
    }
}

struct CohereInterpreter {
    stream: bool,
}

impl Interpreter for CohereInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        let event = match parse::<Event<'a>>(frame.data) {
            Ok(event) => event,
            Err(error) => {
                return Delta::malformed(format!("an event is not the expected JSON: {error}"));
            }
        };
        if let Some(Saying::Words(Text(words))) = event.message {
            return Delta::in_band(one_line(&words));
        }
        let Some(Text(kind)) = event.kind else {
            return match event.message {
                Some(Saying::Message(message)) => ended(
                    message.said(),
                    event.finish_reason,
                    event.usage,
                    // A whole answer is complete by being whole.
                    !self.stream,
                ),
                _ => Delta::malformed("an event has no `type`"),
            };
        };
        let Some(change) = event.delta else {
            return Delta::default();
        };
        match &*kind {
            "content-start" | "content-delta" | "tool-plan-delta" | "tool-call-start"
            | "tool-call-delta" => change.message.map(Message::said).unwrap_or_default(),
            "message-end" => match change.error {
                Some(Text(error)) => Delta::in_band(one_line(&error)),
                None => ended(Delta::default(), change.finish_reason, change.usage, true),
            },
            // Beginnings, ends, citations, and whatever the API adds.
            _ => Delta::default(),
        }
    }
}

fn ended<'a>(
    said: Delta<'a>,
    reason: Option<Text<'_>>,
    usage: Option<UsageBlock>,
    terminator: bool,
) -> Delta<'a> {
    Delta {
        finish: reason.map(|text| finish(&text.0)),
        usage: usage.map(UsageBlock::counts),
        terminator,
        ..said
    }
}

fn finish(reason: &str) -> FinishReason {
    match reason {
        "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "ERROR_TOXIC" => FinishReason::ContentFilter,
        "ERROR" | "TIMEOUT" => FinishReason::Aborted,
        other => FinishReason::parse(&other.to_ascii_lowercase()),
    }
}

/// Any event; the whole answer, which has a message and no type; and what gateways send in their place, which has a
/// message in words.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Option<Change<'a>>,
    #[serde(borrow)]
    message: Option<Saying<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    usage: Option<UsageBlock>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    /// Why the generation failed.
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    usage: Option<UsageBlock>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Saying<'a> {
    Words(#[serde(borrow)] Text<'a>),
    Message(#[serde(borrow)] Message<'a>),
}

/// A message, or a part of one: an event has one element where a whole answer has a list.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<OneOrMany<Part<'a>>>,
    /// What the model thinks of its tools before it calls them.
    #[serde(borrow)]
    tool_plan: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<OneOrMany<Call<'a>>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

impl<'a> Message<'a> {
    /// Name and arguments of a call are the answer that its caller waits for.
    fn said(self) -> Delta<'a> {
        let mut delta = Delta::default();
        append(&mut delta.reasoning, self.tool_plan);
        for part in self.content.into_iter().flat_map(OneOrMany::into_vec) {
            append(&mut delta.reasoning, part.thinking);
            append(&mut delta.visible, part.text);
        }
        let calls = self.tool_calls.into_iter().flat_map(OneOrMany::into_vec);
        for function in calls.filter_map(|call| call.function) {
            append(&mut delta.visible, function.name);
            append(&mut delta.visible, function.arguments);
        }
        delta
    }
}

fn append<'a>(place: &mut Option<Cow<'a, str>>, text: Option<Text<'a>>) {
    if let Some(Text(text)) = text {
        *place = Some(match place.take() {
            Some(before) => before + text,
            None => text,
        });
    }
}

#[derive(Deserialize)]
struct UsageBlock {
    /// What the model read and wrote, the API's own template included.
    tokens: Option<Tokens>,
    /// What is paid for.
    billed_units: Option<Tokens>,
    cached_tokens: Option<f64>,
}

/// The API's counts are numbers that need not be written as integers.
#[derive(Deserialize)]
struct Tokens {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
}

impl UsageBlock {
    fn counts(self) -> Usage {
        let [tokens, billed] = [self.tokens, self.billed_units].map(|tokens| {
            let tokens = tokens.as_ref();
            (
                tokens.and_then(|tokens| tokens.input_tokens),
                tokens.and_then(|tokens| tokens.output_tokens),
            )
        });
        // Casts of floats saturate, and make 0 of what is no number.
        let integer = |count: f64| count as u64;
        Usage {
            input: tokens.0.or(billed.0).map(integer),
            output: tokens.1.or(billed.1).map(integer),
            cached: self.cached_tokens.map(integer),
            reasoning: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &str) -> Frame<'_> {
        Frame::bare(data.as_bytes())
    }

    fn read(data: &str) -> Delta<'_> {
        CohereInterpreter { stream: true }.on_frame(frame(data))
    }

    #[test]
    fn text_thoughts_plans_and_calls_are_told_apart() {
        let content = |part: &str| {
            format!(
                r#"{{"type":"content-delta","index":0,"delta":{{"message":{{"content":{part}}}}}}}"#
            )
        };
        let owned = |data: &str| {
            let delta = read(data);
            (
                delta.visible.map(Cow::into_owned),
                delta.reasoning.map(Cow::into_owned),
            )
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(owned(&content(r#"{"text":"Hi"}"#)), (some("Hi"), None));
        assert_eq!(owned(&content(r#"{"thinking":"hm"}"#)), (None, some("hm")));
        let plan = r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I ask"}}}"#;
        assert_eq!(owned(plan), (None, some("I ask")));
        let call = r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c","type":"function","function":{"name":"tide","arguments":""}}}}}"#;
        assert_eq!(owned(call), (some("tide"), None));
        let arguments = r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\""}}}}}"#;
        assert_eq!(owned(arguments), (some("{\""), None));
    }

    #[test]
    fn only_what_the_model_says_is_a_token() {
        for data in [
            r#"{"type":"message-start","id":"m","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":2,"text":"Hi"}}}}"#,
            r#"{"type":"debug","prompt":"<|START|>"}"#,
            r#"{"type":"something-of-tomorrow","delta":{}}"#,
        ] {
            let delta = read(data);
            assert!(delta.visible.unwrap_or_default().is_empty(), "{data}");
            assert!(delta.reasoning.unwrap_or_default().is_empty(), "{data}");
            assert_eq!((delta.fault, delta.terminator), (None, false), "{data}");
        }
    }

    #[test]
    fn tokens_are_what_the_model_read_and_wrote_rather_than_what_is_billed() {
        let end = |usage: &str| {
            let data = format!(
                r#"{{"type":"message-end","delta":{{"finish_reason":"COMPLETE","usage":{usage}}}}}"#
            );
            let delta = read(&data);
            assert_eq!(
                (delta.finish, delta.terminator),
                (Some(FinishReason::Stop), true)
            );
            let usage = delta.usage.unwrap();
            (usage.input, usage.output, usage.cached)
        };
        let both = r#"{"billed_units":{"input_tokens":4,"output_tokens":9},"tokens":{"input_tokens":210.0,"output_tokens":12},"cached_tokens":160}"#;
        assert_eq!(end(both), (Some(210), Some(12), Some(160)));
        let billed = r#"{"billed_units":{"input_tokens":4,"output_tokens":9}}"#;
        assert_eq!(end(billed), (Some(4), Some(9), None));
    }

    #[test]
    fn every_reason_to_stop_has_its_meaning() {
        for (reason, meaning) in [
            ("COMPLETE", FinishReason::Stop),
            ("STOP_SEQUENCE", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("TOOL_CALL", FinishReason::Other("tool_call".into())),
            ("ERROR", FinishReason::Aborted),
            ("TIMEOUT", FinishReason::Aborted),
        ] {
            assert_eq!(finish(reason), meaning);
        }
    }

    #[test]
    fn a_failure_is_told_at_the_end_or_in_place_of_an_event() {
        let end = r#"{"type":"message-end","delta":{"error":"the model  fell over","finish_reason":"ERROR"}}"#;
        assert_eq!(read(end), Delta::in_band("the model fell over"));
        let gateway = r#"{"id":"x","message":"internal server error"}"#;
        assert_eq!(read(gateway), Delta::in_band("internal server error"));
        let before = Cohere.error_message(gateway.as_bytes());
        assert_eq!(before.as_deref(), Some("internal server error"));
    }

    #[test]
    fn a_whole_answer_has_all_of_its_message() {
        let data = r#"{"id":"m","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"I ask.","content":[{"type":"thinking","thinking":"hm "},{"type":"text","text":"Ask: "}],"tool_calls":[{"id":"c","type":"function","function":{"name":"w","arguments":"{}"}}]},"usage":{"tokens":{"input_tokens":5,"output_tokens":7}}}"#;
        let delta = CohereInterpreter { stream: false }.on_frame(frame(data));
        assert_eq!(delta.visible.as_deref(), Some("Ask: w{}"));
        assert_eq!(delta.reasoning.as_deref(), Some("I ask.hm "));
        assert_eq!(delta.usage.unwrap().output, Some(7));
        assert!(delta.terminator);
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        for data in ["nonsense", "{}", r#"{"delta":3}"#, "null", "[]"] {
            let fault = read(data).fault;
            let malformed = matches!(fault, Some(crate::measure::delta::Fault::Malformed(_)));
            assert!(malformed, "{data}");
        }
    }
}
