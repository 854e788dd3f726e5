//! Ollama's own dialect: `/api/chat` and `/api/generate`, one JSON document per line, the runtime's
//! own durations (nanoseconds) in the last.

use super::detect::{Question, text};
use super::openai::{ToolCall, messages};
use super::request::drop_nulls;
use super::retrieval::{OllamaEmbeddings, Retrieval};
use super::text::{Text, error_text, joined, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::{Frame, Framing};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) struct Ollama;

pub(super) const OLLAMA: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/api/version",
        models: "/api/tags",
        native: None,
        recognise: |answer| text(answer, &["version"]),
    }),
    retrieval: &[(Retrieval::Embeddings, &OllamaEmbeddings)],
    ..RuntimeSpec::new(
        "ollama",
        "Ollama's own API: generate and chat, newline-delimited JSON",
        &Ollama,
        "http://127.0.0.1:11434",
    )
};

impl Runtime for Ollama {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let mut options = Map::new();
        if let Some(tokens) = input.generation.output_tokens {
            options.insert("num_predict".into(), tokens.into());
        }
        if let Some(temperature) = input.generation.temperature {
            options.insert("temperature".into(), temperature.into());
        }
        // No `keep_alive`: a probe must not pin a model that the user lets go.
        let mut body = json!({ "model": input.model, "stream": input.stream });
        if let Value::Object(map) = &mut body {
            match input.operation {
                Operation::Chat => {
                    map.insert("messages".into(), messages(input.prompt));
                }
                Operation::Completion => {
                    map.insert("prompt".into(), input.prompt.user.clone().into());
                    if let Some(system) = &input.prompt.system {
                        map.insert("system".into(), (**system).into());
                    }
                }
            }
            let mut extra = input.generation.extra_body.clone();
            if let Some(Value::Object(more)) = extra.remove("options") {
                options.extend(more);
            }
            if !options.is_empty() {
                map.insert("options".into(), options.into());
            }
            map.extend(extra);
            drop_nulls(map);
        }
        EncodedRequest {
            path: match input.operation {
                Operation::Chat => "/api/chat".into(),
                Operation::Completion => "/api/generate".into(),
            },
            headers: Vec::new(),
            body: body.to_string().into(),
        }
    }

    /// A whole answer is one line of the same form.
    fn framing(&self, _stream: bool) -> Framing {
        Framing::Ndjson
    }

    fn interpreter(&self, _operation: Operation, _stream: bool) -> Box<dyn Interpreter> {
        Box::new(OllamaInterpreter)
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

struct OllamaInterpreter;

impl Interpreter for OllamaInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        match parse::<Line<'a>>(frame.data) {
            Ok(Line {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            Ok(line) if line.done.is_none() => Delta::malformed("a line has no `done`"),
            Ok(line) => line.into_delta(),
            Err(error) => Delta::malformed(format!("a line is not the expected JSON: {error}")),
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    response: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    total_duration: Option<u64>,
    load_duration: Option<u64>,
    prompt_eval_count: Option<u64>,
    prompt_eval_duration: Option<u64>,
    eval_count: Option<u64>,
    eval_duration: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

impl<'a> Line<'a> {
    fn into_delta(self) -> Delta<'a> {
        let done = self.done.unwrap_or_default();
        let (content, thinking, calls) = match self.message {
            Some(message) => (message.content, message.thinking, message.tool_calls),
            None => (self.response, self.thinking, None),
        };
        let calls = calls.into_iter().flatten().map(ToolCall::said);
        let visible = calls.fold(content.map(|text| text.0), joined);
        // Before 0.1.35 the last line had no reason; it ended all the same.
        let reason = self.done_reason.map_or("stop".into(), |text| text.0);
        let counted = self.eval_count.is_some() || self.prompt_eval_count.is_some();
        Delta {
            visible,
            reasoning: thinking.map(|text| text.0),
            finish: done.then(|| FinishReason::parse(&reason)),
            usage: counted.then_some(Usage {
                input: self.prompt_eval_count,
                output: self.eval_count,
                ..Usage::default()
            }),
            server: ServerTimings {
                load: self.load_duration.map(Duration::from_nanos),
                prefill: self.prompt_eval_duration.map(Duration::from_nanos),
                decode: self.eval_duration.map(Duration::from_nanos),
                total: self.total_duration.map(Duration::from_nanos),
                queue: None,
            },
            model: self.model.map(|text| text.0),
            terminator: done,
            fault: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Generation;
    use crate::workload::Prompt;

    fn frame(data: &str) -> Frame<'_> {
        Frame::bare(data.as_bytes())
    }

    #[test]
    fn a_call_of_a_tool_is_visible() {
        let data = r#"{"message":{"content":"","tool_calls":[{"function":{"name":"clock","arguments":{"zone":"UTC"}}}]},"done":false}"#;
        let delta = OllamaInterpreter.on_frame(frame(data));
        assert_eq!(delta.visible.as_deref(), Some(r#"clock{"zone":"UTC"}"#));
    }

    #[test]
    fn the_last_line_has_counts_and_durations() {
        let frame = frame(
            r#"{"model":"g","message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":3000000,"load_duration":1000000,"prompt_eval_count":7,"prompt_eval_duration":500000,"eval_count":5,"eval_duration":1500000}"#,
        );
        let delta = OllamaInterpreter.on_frame(frame);
        assert!(delta.terminator);
        assert_eq!(delta.finish, Some(FinishReason::Length));
        assert_eq!(delta.usage.unwrap().output, Some(5));
        assert_eq!(delta.server.total, Some(Duration::from_millis(3)));
    }

    #[test]
    fn thinking_is_reasoning_in_both_operations() {
        for data in [
            r#"{"message":{"content":"","thinking":"hm"},"done":false}"#,
            r#"{"response":"","thinking":"hm","done":false}"#,
        ] {
            let frame = frame(data);
            let delta = OllamaInterpreter.on_frame(frame);
            assert_eq!(delta.reasoning.as_deref(), Some("hm"));
            assert_eq!(delta.visible.as_deref(), Some(""));
        }
    }

    #[test]
    fn extra_options_join_ours_and_a_probe_never_pins_the_model() {
        let extra = json!({ "options": { "top_k": 1 }, "think": false });
        let generation = Generation {
            output_tokens: Some(8),
            temperature: None,
            extra_body: extra.as_object().cloned().unwrap(),
        };
        let prompt = Prompt {
            system: None,
            user: "hi".into(),
            generated_words: None,
        };
        let request = Ollama.encode(EncodeInput {
            model: "g",
            operation: Operation::Completion,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        });
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["options"], json!({ "num_predict": 8, "top_k": 1 }));
        assert_eq!(body["think"], json!(false));
        assert_eq!(body.get("keep_alive"), None);
    }
}
