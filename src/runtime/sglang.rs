//! SGLang's own dialect: `/generate`, as versions 0.4 and 0.5 speak it. Each event has the whole text so
//! far (or, with `--incremental-streaming-output`, what is new), and the counts in `meta_info`; `[DONE]`
//! ends the stream.

use super::openai::{seconds, whole};
use super::request::request;
use super::text::{Text, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

pub(super) struct Sglang;

pub(super) const SGLANG_GENERATE: RuntimeSpec = RuntimeSpec::new(
    "sglang-generate",
    "SGLang's server, by its own route `/generate`",
    &Sglang,
    "http://127.0.0.1:30000",
);

impl Runtime for Sglang {
    /// The route takes a text: a chat goes there as one, without the model's template.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let mut sampling = Map::new();
        if let Some(tokens) = input.generation.output_tokens {
            sampling.insert("max_new_tokens".into(), tokens.into());
        }
        if let Some(temperature) = input.generation.temperature {
            sampling.insert("temperature".into(), temperature.into());
        }
        let body = Map::from_iter([("text".to_owned(), whole(input.prompt).into())]);
        request(
            "/generate",
            input,
            body,
            Some(("sampling_params", sampling)),
        )
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(SglangInterpreter {
            stream,
            text: TextSoFar::default(),
        })
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

struct SglangInterpreter {
    stream: bool,
    text: TextSoFar,
}

impl Interpreter for SglangInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        if frame.data.trim_ascii() == b"[DONE]" {
            return Delta {
                terminator: true,
                ..Delta::default()
            };
        }
        match parse::<Body<'a>>(frame.data) {
            Ok(Body {
                error: Some(error), ..
            }) if !error.is_null() => Delta::in_band(error_text(&error)),
            Ok(Body {
                text,
                meta_info: Some(meta),
                ..
            }) => {
                let new = text.map(|text| self.text.advance(text.0));
                meta.into_delta(new, !self.stream)
            }
            Ok(_) => Delta::malformed("a frame has no `meta_info`"),
            Err(error) => Delta::malformed(format!("a frame is not the expected JSON: {error}")),
        }
    }
}

/// Tells what is new in each text. Nothing says which kind a server sends, but a text that does not go
/// on from all before it can only be new altogether, and so will be those that follow. (If by chance the
/// first parts of such a stream continue each other, a few characters go missing, no arrival's time.)
#[derive(Default)]
pub(super) struct TextSoFar {
    text: String,
    incremental: bool,
    /// Until a text has gone on from those before it, one that repeats them is a part like them.
    doubted: bool,
}

impl TextSoFar {
    /// For a dialect whose servers send parts, most of them.
    pub(super) fn of_parts() -> Self {
        Self {
            doubted: true,
            ..Self::default()
        }
    }

    pub(super) fn advance<'a>(&mut self, text: Cow<'a, str>) -> Cow<'a, str> {
        if self.incremental {
            return text;
        }
        let known = self.text.len();
        if self.doubted && known > 0 {
            self.incremental = text.len() <= known;
            self.doubted = false;
        }
        if self.incremental {
            return text;
        }
        let new = match text {
            _ if !text.starts_with(self.text.as_str()) => {
                // A stop string that had begun to come is taken back.
                if self.text.starts_with(&*text) {
                    return Cow::Borrowed("");
                }
                self.incremental = true;
                return text;
            }
            Cow::Borrowed(text) => Cow::Borrowed(text.get(known..).unwrap_or_default()),
            Cow::Owned(mut text) => Cow::Owned(text.split_off(known)),
        };
        self.text.push_str(&new);
        new
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    meta_info: Option<Meta<'a>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Finish<'a>>,
    prompt_tokens: Option<u64>,
    /// Tokens of the answer so far. (`reasoning_tokens` are not read: they are in the text.)
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    /// Seconds from the request's arrival to the end of the answer, which alone has it.
    e2e_latency: Option<Value>,
    /// Seconds; with `--enable-metrics`.
    queue_time: Option<Value>,
}

#[derive(Deserialize)]
struct Finish<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    /// Why it was aborted.
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

impl Meta<'_> {
    fn into_delta<'a>(self, new: Option<Cow<'a, str>>, ended: bool) -> Delta<'a> {
        let finish = self
            .finish_reason
            .as_ref()
            .map(|finish| FinishReason::parse(&finish.kind.0));
        let message = self.finish_reason.and_then(|finish| finish.message);
        if let (Some(FinishReason::Aborted), Some(message)) = (&finish, message) {
            return Delta::in_band(super::text::one_line(&message.0));
        }
        Delta {
            visible: new,
            finish,
            usage: Some(Usage {
                input: self.prompt_tokens,
                output: self.completion_tokens,
                cached: self.cached_tokens,
                reasoning: None,
            }),
            server: ServerTimings {
                queue: seconds(self.queue_time.as_ref()),
                total: seconds(self.e2e_latency.as_ref()),
                ..ServerTimings::default()
            },
            terminator: ended,
            ..Delta::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn news(texts: &[&'static str]) -> Vec<String> {
        let mut so_far = TextSoFar::default();
        let advance = |text: &&'static str| so_far.advance(Cow::Borrowed(*text)).into_owned();
        texts.iter().map(advance).collect()
    }

    #[test]
    fn of_a_text_that_grows_only_what_is_new_counts() {
        assert_eq!(
            news(&["Caf", "Café", "Café", "Café au"]),
            ["Caf", "é", "", " au"]
        );
        assert_eq!(news(&["a STO", "a "]), ["a STO", ""], "a stop string goes");
    }

    #[test]
    fn a_text_in_parts_is_told_apart_and_stays_so() {
        assert_eq!(news(&[" a", " b", " a", ""]), [" a", " b", " a", ""]);
    }

    fn read(stream: bool, data: &str, check: impl FnOnce(Delta<'_>)) {
        let frame = Frame::bare(data.as_bytes());
        let text = TextSoFar::default();
        check(SglangInterpreter { stream, text }.on_frame(frame));
    }

    #[test]
    fn the_meta_information_has_the_reason_the_counts_and_the_times() {
        let data = r#"{"text":" a b","output_ids":[4,5],"meta_info":{"id":"f","finish_reason":{"type":"length","length":2},"prompt_tokens":9,"weight_version":"default","queue_time":0.005,"reasoning_tokens":0,"completion_tokens":2,"cached_tokens":4,"e2e_latency":0.25}}"#;
        for stream in [true, false] {
            read(stream, data, |delta| {
                assert_eq!(delta.visible.as_deref(), Some(" a b"));
                assert_eq!(delta.finish, Some(FinishReason::Length));
                let usage = delta.usage.unwrap();
                let counts = (usage.input, usage.output, usage.cached, usage.reasoning);
                assert_eq!(counts, (Some(9), Some(2), Some(4), None));
                assert_eq!(delta.server.total, Some(Duration::from_millis(250)));
                assert_eq!(delta.server.queue, Some(Duration::from_millis(5)));
                assert_eq!(delta.terminator, !stream);
            });
        }
    }

    #[test]
    fn an_abort_is_an_error_in_the_servers_words() {
        let data = r#"{"text":"","meta_info":{"finish_reason":{"type":"abort","message":"The request is too long.","status_code":400,"err_type":"BadRequestError"},"prompt_tokens":9,"completion_tokens":0}}"#;
        read(true, data, |delta| {
            assert_eq!(delta, Delta::in_band("The request is too long."));
        });
        let bare = r#"{"text":"","meta_info":{"finish_reason":{"type":"abort"}}}"#;
        read(true, bare, |delta| {
            assert_eq!(delta.finish, Some(FinishReason::Aborted));
        });
    }
}
