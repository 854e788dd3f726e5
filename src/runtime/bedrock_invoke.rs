//! Amazon Bedrock's `InvokeModelWithResponseStream` and `InvokeModel`: the service carries, in base64, what each family of
//! models has for a dialect, and adds counts and times of its own to the last chunk.

use super::anthropic::Anthropic;
use super::bedrock::{self, inference_profile, millis, without_area};
use super::openai::{OpenAi, whole};
use super::request::{drop_nulls, encoded_without};
use super::text::{Text, parse};
use super::{
    EncodeInput, EncodedRequest, Interpreter, ModelProblem, Operation, Runtime, RuntimeSpec, aws,
    request,
};
use crate::measure::delta::{Delta, FinishReason, ServerTimings};
use crate::measure::tokens::Usage;
use crate::wire::{Frame, FrameKind, Framing};
use crate::workload::Prompt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

pub(super) struct BedrockInvoke;

pub(super) const BEDROCK_INVOKE: RuntimeSpec = RuntimeSpec::new(
    "bedrock-invoke",
    "Amazon Bedrock's InvokeModel API, by which Claude, Llama, Nova and models with OpenAI's dialect speak their own",
    &BedrockInvoke,
    "https://bedrock-runtime.eu-central-1.amazonaws.com",
);

/// Models that have a dialect in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Anthropic,
    Llama,
    Nova,
    OpenAi,
}

/// Providers whose models take OpenAI's messages, or a text.
const OPENAI_LIKE: [&str; 4] = ["mistral", "openai", "deepseek", "qwen"];

impl Family {
    /// By the id's first words: `meta.llama3-…`, with or without the area of a profile.
    fn of(model: &str) -> Option<Self> {
        let (provider, name) = without_area(model).0.split_once('.')?;
        match provider {
            "anthropic" => Some(Self::Anthropic),
            "meta" => Some(Self::Llama),
            "amazon" if name.starts_with("nova") => Some(Self::Nova),
            provider => OPENAI_LIKE.contains(&provider).then_some(Self::OpenAi),
        }
    }

    fn body(self, input: EncodeInput<'_>) -> Bytes {
        match self {
            Self::Anthropic => {
                let more = [("anthropic_version", json!("bedrock-2023-05-31"))];
                encoded_without(&Anthropic, input, &["model", "stream"], more).body
            }
            Self::OpenAi => {
                let unwanted = ["model", "stream", "stream_options"];
                encoded_without(&OpenAi, input, &unwanted, []).body
            }
            Self::Nova => {
                let mut body = bedrock::body(input);
                let version = body.entry("schemaVersion");
                version.or_insert_with(|| "messages-v1".into());
                Value::from(body).to_string().into()
            }
            Self::Llama => llama(input),
        }
    }
}

/// What stands around a message of a chat: before the role, behind it, and at the end.
type Marks = (&'static str, &'static str, &'static str);
const LLAMA_3: Marks = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>");
const LLAMA_4: Marks = ("<|header_start|>", "<|header_end|>", "<|eot|>");

fn llama(input: EncodeInput<'_>) -> Bytes {
    let prompt = match input.operation {
        Operation::Chat => llama_chat(input.model, input.prompt),
        Operation::Completion => whole(input.prompt),
    };
    let mut body = Map::from_iter([("prompt".to_owned(), prompt.into())]);
    if let Some(tokens) = input.generation.output_tokens {
        body.insert("max_gen_len".into(), tokens.into());
    }
    if let Some(temperature) = input.generation.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    body.extend(input.generation.extra_body.clone());
    drop_nulls(&mut body);
    Value::from(body).to_string().into()
}

/// The API takes the text as the model is to see it, so the template is ours to write.
fn llama_chat(model: &str, prompt: &Prompt) -> String {
    let (before, behind, end) = match model.contains("llama4") {
        true => LLAMA_4,
        false => LLAMA_3,
    };
    let mut text = "<|begin_of_text|>".to_owned();
    let system = prompt.system.as_deref().map(|words| ("system", words));
    for (role, words) in system.into_iter().chain([("user", prompt.user.as_str())]) {
        text += &format!("{before}{role}{behind}\n\n{words}{end}");
    }
    text + &format!("{before}assistant{behind}\n\n")
}

impl Runtime for BedrockInvoke {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let operation = match input.stream {
            true => "invoke-with-response-stream",
            false => "invoke",
        };
        let path = format!("/model/{}/{operation}", request::segment(input.model));
        // The configuration knows of no others.
        let family = Family::of(input.model).unwrap_or(Family::OpenAi);
        aws::encoded(path, input.stream, family.body(input))
    }

    fn aws_service(&self) -> Option<&'static str> {
        Some(bedrock::SERVICE)
    }

    fn check_model(&self, model: &str) -> Result<(), ModelProblem> {
        Family::of(model).map(|_| ()).ok_or(ModelProblem {
            rule: "does not say which family's dialect the model speaks",
            remedy: "write an id such as `eu.anthropic.…`, `meta.…`, `amazon.nova-…` or `mistral.…`; or use the runtime `bedrock`, which is the same for all models",
        })
    }

    fn model_labels(&self, model: &str) -> Vec<(&'static str, String)> {
        inference_profile(model)
    }

    fn framing(&self, stream: bool) -> Framing {
        bedrock::framing(stream)
    }

    fn interpreter(&self, operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(InvokeInterpreter {
            stream,
            anthropic: Anthropic.interpreter(operation, stream),
            openai: OpenAi.interpreter(operation, stream),
            counted: false,
            finished: false,
        })
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (StatusCode, Option<String>) {
        aws::refusal(status, headers, body)
    }
}

struct InvokeInterpreter {
    stream: bool,
    anthropic: Box<dyn Interpreter>,
    openai: Box<dyn Interpreter>,
    /// The model's own dialect has told the counts.
    counted: bool,
    finished: bool,
}

impl Interpreter for InvokeInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        if frame.kind == FrameKind::Fault {
            return aws::fault(frame);
        }
        if !self.stream {
            return self.read(frame.data);
        }
        if frame.event != Some(b"chunk") {
            // Whatever the API adds.
            return Delta::default();
        }
        let carried = match parse::<Chunk<'_>>(frame.data) {
            Ok(chunk) => STANDARD.decode(&*chunk.bytes.0),
            Err(error) => {
                return Delta::malformed(format!("a chunk is not the expected JSON: {error}"));
            }
        };
        match carried {
            Ok(carried) => self.read(&carried).into_owned(),
            Err(error) => Delta::malformed(format!("a chunk's `bytes` are no base64: {error}")),
        }
    }

    /// The last chunk has the service's counts, but without them the answer is complete as well.
    fn ends_with_body(&self) -> bool {
        self.finished
    }
}

impl InvokeInterpreter {
    /// Reads what a chunk carries, or a whole answer. Its fields say whose dialect it is.
    fn read<'a>(&mut self, data: &'a [u8]) -> Delta<'a> {
        let frame = Frame::bare(data);
        let read = match parse::<Fields>(data) {
            Ok(fields) if fields.kind.is_some() => Ok((self.anthropic.on_frame(frame), fields)),
            Ok(fields) if fields.choices.is_some() || fields.error.is_some() => {
                let mut delta = self.openai.on_frame(frame);
                delta.finish = delta.finish.or(fields.stop_reason());
                Ok((delta, fields))
            }
            Ok(fields) if fields.generation.is_some() || fields.outputs.is_some() => {
                parse::<Plain<'a>>(data).map(|plain| (plain.into_delta(!self.stream), fields))
            }
            Ok(fields) if !self.stream => {
                parse::<bedrock::Event<'a>>(data).map(|answer| (answer.into_delta(""), fields))
            }
            Ok(fields) => parse::<Nova<'a>>(data).map(|event| (event.into_delta(), fields)),
            Err(error) => Err(error),
        };
        let (mut delta, fields) = match read {
            Ok(read) => read,
            Err(error) => {
                return Delta::malformed(format!(
                    "a chunk does not carry the expected JSON: {error}"
                ));
            }
        };
        if let Some(metrics) = fields.metrics {
            // What the model's own dialect counts is finer.
            let known = self.counted || delta.usage.is_some();
            delta.usage = delta.usage.or((!known).then(|| metrics.counts()));
            delta.server.merge(metrics.times());
            delta.terminator = true;
        }
        self.counted |= delta.usage.is_some_and(|usage| usage.output.is_some());
        self.finished |= delta.finish.is_some();
        delta
    }
}

/// A chunk of the stream.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Text<'a>,
}

/// Fields by which dialects are told apart, and what the service adds.
#[derive(Deserialize)]
struct Fields {
    /// Anthropic's.
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
    /// Llama's.
    generation: Option<IgnoredAny>,
    /// Mistral's for texts.
    outputs: Option<IgnoredAny>,
    /// OpenAI's.
    choices: Option<Vec<StopReason>>,
    error: Option<IgnoredAny>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<InvocationMetrics>,
}

/// Mistral's models and DeepSeek's have it in place of a `finish_reason`, others beside it.
#[derive(Deserialize)]
struct StopReason {
    stop_reason: Option<Value>,
}

impl Fields {
    fn stop_reason(&self) -> Option<FinishReason> {
        let first = self.choices.as_ref()?.first()?;
        first
            .stop_reason
            .as_ref()?
            .as_str()
            .map(FinishReason::parse)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InvocationMetrics {
    input_token_count: Option<u64>,
    output_token_count: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_token_count: Option<u64>,
    /// Milliseconds, of everything.
    invocation_latency: Option<f64>,
    /// Milliseconds to the first byte of the model's answer.
    first_byte_latency: Option<f64>,
}

impl InvocationMetrics {
    fn counts(&self) -> Usage {
        let cached = [
            self.cache_read_input_token_count,
            self.cache_write_input_token_count,
        ];
        Usage {
            input: self.input_token_count.map(|fresh| {
                cached
                    .into_iter()
                    .flatten()
                    .fold(fresh, u64::saturating_add)
            }),
            output: self.output_token_count,
            cached: self.cache_read_input_token_count,
            reasoning: None,
        }
    }

    fn times(&self) -> ServerTimings {
        ServerTimings {
            prefill: millis(self.first_byte_latency),
            total: millis(self.invocation_latency),
            ..ServerTimings::default()
        }
    }
}

/// Texts without roles: Llama's `generation`, and Mistral's `outputs`.
#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    generation: Option<Text<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<Output<'a>>>,
    prompt_token_count: Option<u64>,
    /// Of the answer so far.
    generation_token_count: Option<u64>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

impl<'a> Plain<'a> {
    fn into_delta(self, is_whole: bool) -> Delta<'a> {
        let output = self.outputs.into_iter().flatten().next();
        let (text, reason) = match output {
            Some(output) => (output.text, output.stop_reason),
            None => (self.generation, self.stop_reason),
        };
        let usage = Usage {
            input: self.prompt_token_count,
            output: self.generation_token_count,
            ..Usage::default()
        };
        Delta {
            visible: text.map(|text| text.0),
            finish: reason.map(|text| FinishReason::parse(&text.0)),
            usage: (usage != Usage::default()).then_some(usage),
            terminator: is_whole,
            ..Delta::default()
        }
    }
}

/// Nova's events are those of the Converse API, by a key rather than by a header.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nova<'a> {
    #[serde(borrow)]
    content_block_start: Option<bedrock::Event<'a>>,
    #[serde(borrow)]
    content_block_delta: Option<bedrock::Event<'a>>,
    #[serde(borrow)]
    message_stop: Option<bedrock::Event<'a>>,
    #[serde(borrow)]
    metadata: Option<bedrock::Event<'a>>,
}

impl<'a> Nova<'a> {
    fn into_delta(self) -> Delta<'a> {
        let named = [
            ("contentBlockStart", self.content_block_start),
            ("contentBlockDelta", self.content_block_delta),
            ("messageStop", self.message_stop),
            ("metadata", self.metadata),
        ];
        let one = named
            .into_iter()
            .find_map(|(name, event)| Some(event?.into_delta(name)));
        one.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
