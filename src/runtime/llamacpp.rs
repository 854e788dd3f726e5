//! llama.cpp's own dialect: `/completion`, as its server speaks it since builds of 2024. The last event
//! has `stop`, the reason and `timings`; there is no other terminator.

use super::openai::whole;
use super::request::request;
use super::text::{Text, error_message, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

pub(super) struct LlamaCpp;

pub(super) const LLAMACPP_COMPLETION: RuntimeSpec = RuntimeSpec::new(
    "llamacpp-completion",
    "llama.cpp's server, by its own route `/completion`",
    &LlamaCpp,
    "http://127.0.0.1:8080",
);

impl Runtime for LlamaCpp {
    /// The route takes a text: a chat goes there as one, without the model's template.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let mut body = Map::from_iter([("prompt".to_owned(), whole(input.prompt).into())]);
        if let Some(tokens) = input.generation.output_tokens {
            body.insert("n_predict".into(), tokens.into());
        }
        if let Some(temperature) = input.generation.temperature {
            body.insert("temperature".into(), temperature.into());
        }
        request("/completion", input, body, None)
    }

    fn interpreter(&self, _operation: Operation, _stream: bool) -> Box<dyn Interpreter> {
        Box::new(LlamaCppInterpreter)
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

/// A whole answer is the last event, with all of the text.
struct LlamaCppInterpreter;

impl Interpreter for LlamaCppInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        // Until September 2025 an error came in a field of its own.
        if frame.event == Some(b"error") {
            return Delta::in_band(error_message(frame.data).unwrap_or_default());
        }
        match parse::<Body<'a>>(frame.data) {
            Ok(Body {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            Ok(body) => body.into_delta(),
            Err(error) => Delta::malformed(format!("a frame is not the expected JSON: {error}")),
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    stop: Option<bool>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    /// Since December 2024; before that, one of the three flags below.
    #[serde(borrow)]
    stop_type: Option<Text<'a>>,
    #[serde(default)]
    stopped_eos: bool,
    #[serde(default)]
    stopped_word: bool,
    #[serde(default)]
    stopped_limit: bool,
    /// Tokens of the answer so far.
    tokens_predicted: Option<u64>,
    /// Tokens of the prompt, those from the cache included. (`tokens_cached` is something else: what the
    /// slot holds when all is done, prompt and answer.)
    tokens_evaluated: Option<u64>,
    timings: Option<LlamaTimings>,
    error: Option<Value>,
}

impl<'a> Body<'a> {
    fn into_delta(self) -> Delta<'a> {
        let Some(stop) = self.stop else {
            return Delta::malformed("a frame has no `stop`");
        };
        let finish = self.finish();
        let timings = self.timings;
        let usage = Usage {
            input: self.tokens_evaluated,
            output: self.tokens_predicted,
            cached: timings
                .as_ref()
                .and_then(|t| t.cached(self.tokens_evaluated)),
            reasoning: None,
        };
        Delta {
            visible: self.content.map(|text| text.0),
            finish: finish.filter(|_| stop),
            usage: (usage != Usage::default()).then_some(usage),
            server: timings.map(|t| t.phases()).unwrap_or_default(),
            model: self
                .model
                .map(|text| text.0)
                .filter(|name| !name.is_empty()),
            terminator: stop,
            ..Delta::default()
        }
    }

    fn finish(&self) -> Option<FinishReason> {
        match self.stop_type.as_ref().map(|text| &*text.0) {
            Some("eos" | "word") => Some(FinishReason::Stop),
            Some("limit") => Some(FinishReason::Length),
            Some("none") => None,
            Some(other) => Some(FinishReason::parse(other)),
            None if self.stopped_eos || self.stopped_word => Some(FinishReason::Stop),
            None => self.stopped_limit.then_some(FinishReason::Length),
        }
    }
}

/// llama.cpp's server adds these to the last chunk; milliseconds.
#[derive(Deserialize)]
pub(super) struct LlamaTimings {
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
    /// Tokens of the prompt that were worked on.
    prompt_n: Option<u64>,
    /// Tokens of the prompt that were in the slot's cache; since August 2025.
    cache_n: Option<u64>,
}

impl LlamaTimings {
    /// Tokens from the cache: told, or what was not worked on of so many.
    pub(super) fn cached(&self, prompt: Option<u64>) -> Option<u64> {
        let rest = prompt.zip(self.prompt_n);
        self.cache_n
            .or_else(|| rest.map(|(all, worked)| all.saturating_sub(worked)))
    }

    pub(super) fn phases(&self) -> ServerTimings {
        ServerTimings {
            prefill: self.prompt_ms.and_then(millis),
            decode: self.predicted_ms.and_then(millis),
            ..ServerTimings::default()
        }
    }
}

fn millis(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(event: Option<&'static [u8]>, data: &str, check: impl FnOnce(Delta<'_>)) {
        let frame = Frame {
            kind: crate::wire::FrameKind::Event,
            event,
            data: data.as_bytes(),
            end: 0,
        };
        check(LlamaCppInterpreter.on_frame(frame));
    }

    #[test]
    fn the_last_event_has_the_reason_the_counts_and_the_times() {
        let data = r#"{"index":0,"content":"","tokens":[],"id_slot":0,"stop":true,"model":"m.gguf","tokens_predicted":7,"tokens_evaluated":40,"generation_settings":{"n_predict":7},"prompt":"x","has_new_line":false,"truncated":false,"stop_type":"limit","stopping_word":"","tokens_cached":46,"timings":{"cache_n":32,"prompt_n":8,"prompt_ms":20,"predicted_n":7,"predicted_ms":70}}"#;
        read(None, data, |delta| {
            assert!(delta.terminator);
            assert_eq!(delta.finish, Some(FinishReason::Length));
            let usage = delta.usage.unwrap();
            assert_eq!((usage.input, usage.output), (Some(40), Some(7)));
            assert_eq!(usage.cached, Some(32), "not what the slot holds");
            let total = delta.server.completed().total;
            assert_eq!(total, Some(Duration::from_millis(90)));
            assert_eq!(delta.model.as_deref(), Some("m.gguf"));
        });
    }

    #[test]
    fn older_builds_flag_the_reason_and_leave_the_cache_to_be_inferred() {
        let data = r#"{"content":"","slot_id":0,"stop":true,"model":"","tokens_predicted":7,"tokens_evaluated":40,"stopped_eos":true,"stopped_word":false,"stopped_limit":false,"tokens_cached":46,"timings":{"prompt_n":8,"prompt_ms":20,"predicted_ms":70}}"#;
        read(None, data, |delta| {
            assert_eq!(delta.finish, Some(FinishReason::Stop));
            assert_eq!(delta.usage.unwrap().cached, Some(32));
            assert_eq!(delta.model, None);
        });
    }

    #[test]
    fn an_error_is_read_from_both_of_its_places() {
        let object = r#"{"code":500,"message":"out of memory","type":"server_error"}"#;
        let wrapped = format!(r#"{{"error":{object}}}"#);
        for (event, data) in [
            (None, wrapped.as_str()),
            (Some(b"error".as_slice()), object),
        ] {
            read(event, data, |delta| {
                assert_eq!(delta, Delta::in_band("out of memory"));
            });
        }
    }

    #[test]
    fn an_end_without_a_reason_has_none() {
        read(
            None,
            r#"{"content":"","stop":true,"stop_type":"none"}"#,
            |delta| {
                assert_eq!((delta.finish, delta.terminator), (None, true));
            },
        );
        // Each event of a stream has the field in some builds.
        read(
            None,
            r#"{"content":"a","stop":false,"stop_type":"limit"}"#,
            |delta| {
                assert_eq!((delta.finish, delta.terminator), (None, false));
            },
        );
    }
}
