//! Bedrock's Converse API, and the requests and events of Nova, which has the same ones for its own.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::{event, exception};
use crate::simulate::generation::{Finish, Generation, Wanted};
use crate::simulate::openai::{push_content, sse};
use crate::simulate::refusal::Refusal;
use crate::simulate::script::{Dialect, Framing, Position};
use crate::simulate::vocabulary::Prompt;

/// The fields of a request that matter here; all others are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    #[serde(default)]
    messages: Vec<Message>,
    system: Option<Value>,
    #[serde(default)]
    inference_config: InferenceConfig,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InferenceConfig {
    max_tokens: Option<u32>,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &Value) -> Result<Self, Refusal> {
        let request = Self::deserialize(body)
            .map_err(|error| Refusal::bad_request(format!("Malformed input request: {error}")))?;
        let complaint = match &request {
            Self { messages, .. } if messages.is_empty() => "messages: must not be empty",
            Self {
                inference_config:
                    InferenceConfig {
                        max_tokens: Some(0),
                    },
                ..
            } => "inferenceConfig.maxTokens: must be at least 1",
            _ => return Ok(request),
        };
        Err(Refusal::bad_request(complaint))
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
        push_content(&mut prompt, self.system.as_ref());
        for message in &self.messages {
            prompt.push_token(&message.role);
            push_content(&mut prompt, message.content.as_ref());
        }
        prompt
    }

    /// Reads the limits.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            limit: self.inference_config.max_tokens,
            ..Wanted::default()
        }
    }
}

/// What an event's name is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The header of a message.
    Messages,
    /// The one key of an object, which whoever wraps it takes as a server-sent event.
    Keys,
}

/// Writes answers as such events.
pub(super) struct Converse {
    pub(super) carrier: Carrier,
}

impl Converse {
    fn push(&self, out: &mut Vec<u8>, name: &str, mut value: Value) {
        match self.carrier {
            Carrier::Messages => {
                // The service pads, so that a length does not tell the text.
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("p".to_owned(), "abcdefg".into());
                }
                out.extend(event(name, &value));
            }
            Carrier::Keys => out.extend_from_slice(&sse(&json!({ name: value }))),
        }
    }

    fn usage(&self, answer: &Generation) -> Value {
        let (total, sent) = (answer.prompt_tokens, answer.output_tokens());
        let mut usage = json!({
            "inputTokens": total.saturating_sub(answer.cached_tokens),
            "outputTokens": sent,
            "totalTokens": total.saturating_add(sent),
        });
        let names = match self.carrier {
            Carrier::Messages => ["cacheReadInputTokens", "cacheWriteInputTokens"],
            Carrier::Keys => ["cacheReadInputTokenCount", "cacheWriteInputTokenCount"],
        };
        if let Some(usage) = usage.as_object_mut() {
            let counts = [answer.cached_tokens, 0];
            let cached = names.map(str::to_owned).into_iter().zip(counts);
            usage.extend(cached.map(|(name, count)| (name, json!(count))));
        }
        usage
    }

    fn metrics(&self, answer: &Generation) -> Value {
        match self.carrier {
            Carrier::Messages => json!({"latencyMs": latency(answer)}),
            Carrier::Keys => json!({}),
        }
    }
}

/// Milliseconds of everything.
pub(super) fn latency(answer: &Generation) -> u64 {
    u64::try_from(answer.end().as_millis()).unwrap_or(u64::MAX)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ContentFilter => "content_filtered",
    }
}

/// Thoughts are the first block, where there are any.
fn block(answer: &Generation, reasoning: bool) -> u32 {
    u32::from(answer.reasoning_tokens() > 0 && !reasoning)
}

impl Dialect for Converse {
    fn framing(&self) -> Framing {
        match self.carrier {
            Carrier::Messages => Framing::EventStream,
            Carrier::Keys => Framing::Sse,
        }
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        let mut out = Vec::new();
        self.push(&mut out, "messageStart", json!({"role": "assistant"}));
        Some(out.into())
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let mut out = Vec::with_capacity(512);
        let before = sent.saturating_sub(frame.tokens);
        let ends_thoughts = before > 0 && before == answer.reasoning_tokens() && !frame.reasoning;
        if ends_thoughts {
            let signature = json!({"reasoningContent": {"signature": "c2ltdWxhdGVk"}});
            let value = json!({"contentBlockIndex": 0, "delta": signature});
            self.push(&mut out, "contentBlockDelta", value);
            self.push(
                &mut out,
                "contentBlockStop",
                json!({"contentBlockIndex": 0}),
            );
        }
        let delta = match frame.reasoning {
            true => json!({"reasoningContent": {"text": frame.text}}),
            false => json!({"text": frame.text}),
        };
        let index = block(answer, frame.reasoning);
        let value = json!({"contentBlockIndex": index, "delta": delta});
        self.push(&mut out, "contentBlockDelta", value);
        out.into()
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let mut end = Vec::with_capacity(256);
        if let Some(frame) = answer.frames.last() {
            let value = json!({"contentBlockIndex": block(answer, frame.reasoning)});
            self.push(&mut end, "contentBlockStop", value);
        }
        if let Some(finish) = answer.finish {
            let value = json!({"stopReason": stop_reason(finish)});
            self.push(&mut end, "messageStop", value);
        }
        let mut last = Vec::with_capacity(256);
        let value = json!({"usage": self.usage(answer), "metrics": self.metrics(answer)});
        self.push(&mut last, "metadata", value);
        let all = [end, last].into_iter();
        all.filter(|bytes| !bytes.is_empty())
            .map(Bytes::from)
            .collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let (thoughts, text) = (answer.text(true), answer.text(false));
        let mut content = Vec::with_capacity(2);
        if !thoughts.is_empty() {
            let thoughts = json!({"text": thoughts, "signature": "c2ltdWxhdGVk"});
            content.push(json!({"reasoningContent": {"reasoningText": thoughts}}));
        }
        if !text.is_empty() {
            content.push(json!({"text": text}));
        }
        let body = json!({
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": answer.finish.map(stop_reason),
            "usage": self.usage(answer),
            "metrics": self.metrics(answer),
        });
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![exception("modelStreamErrorException", &failure()).into()]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

fn failure() -> Value {
    json!({"message": "simulated failure during generation", "originalStatusCode": 500})
}
