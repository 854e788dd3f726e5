//! Ollama's own dialect: `/api/generate` and `/api/chat`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::generation::{Finish, Generation, Wanted};
use super::refusal::Refusal;
use super::script::{Dialect, Framing, Position};
use super::vocabulary::Prompt;
use crate::base::units::parse_duration;

/// The two generation endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Generate,
}

/// The fields of a request that matter here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    system: String,
    stream: Option<bool>,
    /// `false`, `true` or a level.
    think: Option<Value>,
    /// A duration as text, or a number of seconds; negative is for ever.
    keep_alive: Option<Value>,
    #[serde(default)]
    options: Options,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: String,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    num_predict: Option<i64>,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
        if request.model.is_empty() {
            return Err(Refusal::bad_request("model is required"));
        }
        Ok(request)
    }

    /// Streams unless told otherwise.
    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or(true)
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, endpoint: Endpoint, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
        match endpoint {
            Endpoint::Chat => {
                for message in &self.messages {
                    prompt.push_token(&message.role);
                    prompt.push(&message.content);
                }
            }
            Endpoint::Generate => {
                prompt.push(&self.system);
                prompt.push(&self.prompt);
            }
        }
        prompt
    }

    /// Reads the limits. `thinks` says whether the model can reason.
    pub(super) fn wanted(&self, endpoint: Endpoint, thinks: bool) -> Result<Wanted, Refusal> {
        let think = match &self.think {
            None | Some(Value::Null) => thinks,
            Some(Value::Bool(false)) => false,
            Some(_) if thinks => true,
            Some(_) => {
                let message = format!("\"{}\" does not support thinking", self.model);
                return Err(Refusal::bad_request(message));
            }
        };
        let limit = self.options.num_predict.filter(|limit| *limit > 0);
        let idle = match endpoint {
            Endpoint::Chat => self.messages.is_empty(),
            Endpoint::Generate => self.prompt.is_empty(),
        };
        let unload = self.keep_alive()? == Some(Some(Duration::ZERO));
        let only = if unload { Finish::Unload } else { Finish::Load };
        Ok(Wanted {
            limit: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            ignore_stop: false,
            no_reasoning: !think,
            only: idle.then_some(only),
            reads_only: false,
        })
    }

    /// How long the model is to stay: absent, for ever (`Some(None)`), or a time.
    pub(super) fn keep_alive(&self) -> Result<Option<Option<Duration>>, Refusal> {
        let refuse = |value: &Value| Refusal::bad_request(format!("invalid keep_alive: {value}"));
        match &self.keep_alive {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.starts_with('-') => Ok(Some(None)),
            Some(value @ Value::String(text)) => parse_duration(text)
                .map(|time| Some(Some(time)))
                .map_err(|_| refuse(value)),
            Some(value) => {
                let seconds = value.as_f64().ok_or_else(|| refuse(value))?;
                // A negative number does not fit a duration, and means for ever.
                Ok(Some(Duration::try_from_secs_f64(seconds).ok()))
            }
        }
    }
}

/// Writes answers as Ollama does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ollama {
    pub(super) endpoint: Endpoint,
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<AnswerMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'static str>,
    /// All token ids so far; `/api/generate` alone has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Vec<u32>>,
    #[serde(flatten)]
    durations: Option<Durations>,
}

#[derive(Serialize)]
struct AnswerMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
}

/// What the server measured itself, in nanoseconds.
#[derive(Serialize)]
struct Durations {
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u32,
    prompt_eval_duration: u64,
    eval_count: u32,
    eval_duration: u64,
}

impl Durations {
    fn of(answer: &Generation) -> Self {
        Self {
            total_duration: nanos(answer.end()),
            // As in Ollama, the wait for a slot counts as load.
            load_duration: nanos(answer.queue + answer.load),
            prompt_eval_count: answer.prompt_tokens,
            prompt_eval_duration: nanos(answer.prefill),
            eval_count: answer.output_tokens(),
            eval_duration: nanos(answer.decode()),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Ollama {
    fn line<'a>(
        &self,
        answer: &'a Generation,
        at: Duration,
        text: &'a str,
        thinking: Option<&'a str>,
    ) -> Line<'a> {
        let (message, response, thinking) = match self.endpoint {
            Endpoint::Chat => {
                let message = AnswerMessage {
                    role: "assistant",
                    content: text,
                    thinking,
                };
                (Some(message), None, None)
            }
            Endpoint::Generate => (None, Some(text), thinking),
        };
        // `created` is the start of the work; the difference to the due time is what matters.
        let since_start = at.saturating_sub(answer.queue);
        Line {
            model: &answer.model,
            created_at: answer
                .created
                .saturating_add(since_start)
                .unwrap_or(answer.created)
                .to_string(),
            message,
            response,
            thinking,
            done: false,
            done_reason: None,
            context: None,
            durations: None,
        }
    }

    fn last_line<'a>(
        &self,
        answer: &'a Generation,
        text: &'a str,
        thinking: Option<&'a str>,
    ) -> Line<'a> {
        let only = matches!(answer.finish, Some(Finish::Load | Finish::Unload));
        let generate = self.endpoint == Endpoint::Generate && !only;
        let ids = answer.prompt_tokens.saturating_add(answer.output_tokens());
        Line {
            done: true,
            done_reason: answer.finish.map(Finish::as_str),
            context: generate.then(|| (0..ids).collect()),
            durations: (!only).then(|| Durations::of(answer)),
            ..self.line(answer, answer.end(), text, thinking)
        }
    }
}

fn ndjson(value: &impl Serialize) -> Bytes {
    let mut out = Vec::with_capacity(192);
    // Our own types have string keys only, so writing them to memory cannot fail.
    let _ = serde_json::to_writer(&mut out, value);
    out.push(b'\n');
    out.into()
}

const FAILURE: &[u8] = b"{\"error\":\"simulated failure during generation\"}\n";

impl Dialect for Ollama {
    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let frame = position.frame;
        let line = if frame.reasoning {
            self.line(answer, frame.at, "", Some(&frame.text))
        } else {
            self.line(answer, frame.at, &frame.text, None)
        };
        ndjson(&line)
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        vec![ndjson(&self.last_line(answer, "", None))]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let (text, thinking) = (answer.text(false), answer.text(true));
        let thinking = Some(thinking.as_str()).filter(|thinking| !thinking.is_empty());
        ndjson(&self.last_line(answer, &text, thinking))
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![Bytes::from_static(FAILURE)]
    }

    fn whole_failure(&self) -> Bytes {
        Bytes::from_static(FAILURE)
    }
}
