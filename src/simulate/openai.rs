//! The OpenAI dialect as vLLM, llama.cpp and Ollama speak it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::character::RuntimeFlavor;
use super::generation::{Finish, Generation, Wanted};
use super::refusal::Refusal;
use super::script::{Dialect, Framing, Position};
use super::vocabulary::Prompt;

/// The two generation endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
}

/// The fields of a request that matter here; all others are ignored, as real servers do.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Request {
    pub(super) model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<Value>,
    #[serde(default)]
    pub(super) stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    #[serde(default)]
    ignore_eos: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default)]
    continuous_usage_stats: bool,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, endpoint: Endpoint, template: u32) -> Result<Prompt, Refusal> {
        let mut prompt = Prompt::template(template);
        match endpoint {
            Endpoint::Chat => {
                let messages = self.messages.as_deref().unwrap_or_default();
                if messages.is_empty() {
                    return Err(Refusal::bad_request(
                        "`messages` is required and cannot be empty",
                    ));
                }
                for message in messages {
                    prompt.push_token(&message.role);
                    push_content(&mut prompt, message.content.as_ref());
                }
            }
            Endpoint::Completions => match &self.prompt {
                None | Some(Value::Null) => {
                    return Err(Refusal::bad_request("`prompt` is required"));
                }
                some => push_content(&mut prompt, some.as_ref()),
            },
        }
        Ok(prompt)
    }

    /// Reads the limits.
    pub(super) fn wanted(&self) -> Result<Wanted, Refusal> {
        let limit = match self.max_completion_tokens.or(self.max_tokens) {
            None => None,
            // llama.cpp reads -1 as no limit.
            Some(-1) => None,
            Some(limit) if limit < 1 => {
                let message = format!("max_tokens must be at least 1, got {limit}.");
                return Err(Refusal::bad_request(message));
            }
            Some(limit) => Some(u32::try_from(limit).unwrap_or(u32::MAX)),
        };
        Ok(Wanted {
            limit,
            ignore_stop: self.ignore_eos,
            ..Wanted::default()
        })
    }

    /// The dialect of the answer.
    pub(super) fn dialect(&self, endpoint: Endpoint, flavor: RuntimeFlavor) -> OpenAi {
        let options = self.stream_options.unwrap_or_default();
        OpenAi {
            endpoint,
            flavor,
            include_usage: options.include_usage,
            continuous_usage: options.include_usage && options.continuous_usage_stats,
        }
    }
}

/// Adds a text, a list of texts or content parts, or a list of token ids.
pub(super) fn push_content(prompt: &mut Prompt, content: Option<&Value>) {
    match content {
        Some(Value::String(text)) => prompt.push(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                push_content(prompt, Some(part));
            }
        }
        Some(Value::Object(part)) => push_content(prompt, part.get("text")),
        Some(Value::Number(id)) => prompt.push_token(id.as_i64()),
        _ => {}
    }
}

/// Writes answers as OpenAI-style JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAi {
    endpoint: Endpoint,
    flavor: RuntimeFlavor,
    include_usage: bool,
    continuous_usage: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'static str>,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Value>,
}

#[derive(Default, Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Written as null by vLLM, left out by the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Value>,
    finish_reason: Option<&'static str>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
}

impl OpenAi {
    fn id(&self, answer: &Generation) -> String {
        let prefix = match (self.endpoint, self.flavor) {
            (Endpoint::Chat, _) | (_, RuntimeFlavor::LlamaCpp) => "chatcmpl",
            _ => "cmpl",
        };
        format!("{prefix}-{:032x}", answer.id)
    }

    fn is_vllm(&self) -> bool {
        matches!(self.flavor, RuntimeFlavor::Vllm | RuntimeFlavor::All)
    }

    /// Whether it counts nothing but the prompt and the answer, and begins without a chunk for the role.
    fn is_terse(&self) -> bool {
        matches!(
            self.flavor,
            RuntimeFlavor::Ollama | RuntimeFlavor::LlamaEdge
        )
    }

    fn fingerprint(&self) -> Option<&'static str> {
        match self.flavor {
            RuntimeFlavor::LlamaCpp => Some("b0-simulate"),
            RuntimeFlavor::Ollama => Some("fp_ollama"),
            _ => None,
        }
    }

    fn choice<'a>(&self, text: &'a str, reasoning: bool, finish: Option<Finish>) -> Choice<'a> {
        let (delta, text) = match self.endpoint {
            Endpoint::Completions => (None, Some(text)),
            Endpoint::Chat => (Some(self.delta(text, reasoning)), None),
        };
        Choice {
            index: 0,
            delta,
            text,
            logprobs: self.is_vllm().then_some(Value::Null),
            finish_reason: finish.map(Finish::as_str),
        }
    }

    fn delta<'a>(&self, text: &'a str, reasoning: bool) -> Delta<'a> {
        // Ollama repeats the role in every chunk, as LlamaEdge does, and has its own name for reasoning.
        let ollama = self.flavor == RuntimeFlavor::Ollama;
        let repeats = ollama || self.flavor == RuntimeFlavor::LlamaEdge;
        let hidden = reasoning.then_some(text);
        let visible = if reasoning && ollama {
            Some("")
        } else {
            (!reasoning).then_some(text)
        };
        Delta {
            role: repeats.then_some("assistant"),
            content: visible.map(Some),
            reasoning_content: hidden.filter(|_| !ollama),
            reasoning: hidden.filter(|_| ollama),
        }
    }

    fn event(
        &self,
        answer: &Generation,
        choices: &[Choice<'_>],
        usage: Option<Value>,
        timings: Option<Value>,
    ) -> Bytes {
        sse(&Chunk {
            id: &self.id(answer),
            object: match self.endpoint {
                Endpoint::Chat => "chat.completion.chunk",
                Endpoint::Completions => "text_completion",
            },
            created: answer.created.as_second(),
            model: &answer.model,
            system_fingerprint: self.fingerprint(),
            choices,
            usage,
            timings,
        })
    }

    /// vLLM ends a cut answer in the chunk of its last token, all others in one of their own.
    fn finishes_with_last_token(&self, answer: &Generation) -> bool {
        let cut = matches!(answer.finish, Some(Finish::Length | Finish::ContentFilter));
        self.is_vllm() && cut && !answer.frames.is_empty()
    }

    fn usage(&self, answer: &Generation, sent: u32) -> Value {
        let mut usage = json!({
            "prompt_tokens": answer.prompt_tokens,
            "total_tokens": answer.prompt_tokens.saturating_add(sent),
            "completion_tokens": sent,
        });
        if let Some(usage) = usage.as_object_mut().filter(|_| !self.is_terse()) {
            let details = json!({"cached_tokens": answer.cached_tokens});
            usage.insert("prompt_tokens_details".to_owned(), details);
            let reasoning = answer.reasoning_tokens().min(sent);
            if reasoning > 0 {
                let details = json!({"reasoning_tokens": reasoning});
                usage.insert("completion_tokens_details".to_owned(), details);
            }
        }
        usage
    }

    /// The usage of every chunk: asked for, or the zeros that Ollama's completions carry.
    fn running_usage(&self, answer: &Generation, sent: u32) -> Option<Value> {
        if (self.endpoint, self.flavor) == (Endpoint::Completions, RuntimeFlavor::Ollama) {
            let zeros = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
            return Some(zeros).filter(|_| self.include_usage);
        }
        self.continuous_usage.then(|| self.usage(answer, sent))
    }

    fn failure_value(&self) -> Value {
        let status = http::StatusCode::INTERNAL_SERVER_ERROR;
        let refusal = Refusal::new(status, "simulated failure during generation");
        refusal.body(super::refusal::Surface::OpenAi, self.flavor)
    }
}

/// llama.cpp's own timing, in milliseconds.
pub(super) fn timings(answer: &Generation) -> Value {
    let computed = answer.prompt_tokens.saturating_sub(answer.cached_tokens);
    let predicted = answer.output_tokens();
    let mut timings = Map::from_iter([("cache_n".to_owned(), json!(answer.cached_tokens))]);
    for (name, count, spent) in [
        ("prompt", computed, answer.prefill),
        ("predicted", predicted, answer.decode()),
    ] {
        let millis = spent.as_secs_f64() * 1e3;
        let per_token = millis / f64::from(count.max(1));
        let per_second = if millis > 0.0 {
            f64::from(count) * 1e3 / millis
        } else {
            0.0
        };
        timings.insert(format!("{name}_n"), json!(count));
        timings.insert(format!("{name}_ms"), json!(millis));
        timings.insert(format!("{name}_per_token_ms"), json!(per_token));
        timings.insert(format!("{name}_per_second"), json!(per_second));
    }
    Value::Object(timings)
}

/// One server-sent event with a JSON value.
pub(super) fn sse(value: &impl Serialize) -> Bytes {
    let mut out = Vec::with_capacity(320);
    out.extend_from_slice(b"data: ");
    // Our own types have string keys only, so writing them to memory cannot fail.
    let _ = serde_json::to_writer(&mut out, value);
    out.extend_from_slice(b"\n\n");
    out.into()
}

pub(super) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

impl Dialect for OpenAi {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        let content = match self.flavor {
            RuntimeFlavor::Ollama | RuntimeFlavor::LlamaEdge => return None,
            RuntimeFlavor::LlamaCpp => None,
            _ => Some(""),
        };
        if self.endpoint == Endpoint::Completions {
            return None;
        }
        let mut choice = self.choice("", false, None);
        choice.delta = Some(Delta {
            role: Some("assistant"),
            content: Some(content),
            ..Delta::default()
        });
        let usage = self.running_usage(answer, 0);
        Some(self.event(answer, &[choice], usage, None))
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, last } = position;
        let ends = last && self.finishes_with_last_token(answer);
        let finish = answer.finish.filter(|_| ends);
        let choice = self.choice(&frame.text, frame.reasoning, finish);
        let usage = self.running_usage(answer, sent);
        self.event(answer, &[choice], usage, None)
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let total = answer.output_tokens();
        // llama.cpp puts its timing into whichever chunk is the last.
        let timings = (self.flavor == RuntimeFlavor::LlamaCpp).then(|| timings(answer));
        let mut frames = Vec::with_capacity(3);
        // LlamaEdge's streams have a reason only where the context ended them.
        let told = answer
            .finish
            .filter(|_| self.flavor != RuntimeFlavor::LlamaEdge);
        if told.is_some() && !self.finishes_with_last_token(answer) {
            let mut choice = self.choice("", false, answer.finish);
            if self.flavor == RuntimeFlavor::LlamaCpp && self.endpoint == Endpoint::Chat {
                choice.delta = Some(Delta::default());
            }
            let usage = self.running_usage(answer, total);
            let timings = timings.clone().filter(|_| !self.include_usage);
            frames.push(self.event(answer, &[choice], usage, timings));
        }
        if self.include_usage {
            frames.push(self.event(answer, &[], Some(self.usage(answer, total)), timings));
        }
        frames.push(DONE);
        frames
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let finish = answer.finish.map(Finish::as_str);
        let (object, mut choice) = match self.endpoint {
            Endpoint::Completions => {
                let text = answer.text(true) + &answer.text(false);
                (
                    "text_completion",
                    json!({"index": 0, "text": text, "finish_reason": finish}),
                )
            }
            Endpoint::Chat => {
                let mut message = json!({"role": "assistant", "content": answer.text(false)});
                let reasoning = answer.text(true);
                if let Some(message) = message.as_object_mut().filter(|_| !reasoning.is_empty()) {
                    let ollama = self.flavor == RuntimeFlavor::Ollama;
                    let key = if ollama {
                        "reasoning"
                    } else {
                        "reasoning_content"
                    };
                    message.insert(key.to_owned(), json!(reasoning));
                }
                (
                    "chat.completion",
                    json!({"index": 0, "message": message, "finish_reason": finish}),
                )
            }
        };
        if let Some(choice) = choice.as_object_mut().filter(|_| self.is_vllm()) {
            choice.insert("logprobs".to_owned(), Value::Null);
        }
        let mut body = json!({
            "id": self.id(answer),
            "object": object,
            "created": answer.created.as_second(),
            "model": answer.model,
            "choices": [choice],
            "usage": self.usage(answer, answer.output_tokens()),
        });
        if let Some(body) = body.as_object_mut() {
            let fingerprint = self.fingerprint().map(Value::from);
            body.extend(fingerprint.map(|value| ("system_fingerprint".to_owned(), value)));
            if self.flavor == RuntimeFlavor::LlamaCpp {
                body.insert("timings".to_owned(), timings(answer));
            }
        }
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        let mut frames = vec![sse(&self.failure_value())];
        if self.is_vllm() {
            frames.push(DONE);
        }
        frames
    }

    fn whole_failure(&self) -> Bytes {
        self.failure_value().to_string().into()
    }
}
