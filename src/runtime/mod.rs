//! Layer 2: one adapter per API dialect. Adding a runtime is one file and one line in [`RUNTIMES`].

mod anthropic;
mod aws;
mod azure;
mod bedrock;
mod bedrock_invoke;
mod cohere;
mod description;
pub mod detect;
mod gemini;
mod head_timings;
mod llamacpp;
mod llamaedge;
mod ollama;
mod openai;
mod request;
mod responses;
mod retrieval;
mod sagemaker;
mod servers;
mod sglang;
mod text;
mod tgi;
#[cfg(test)]
mod toy;
mod triton;
mod vertex;

pub use description::{Request, RuntimeDescription, reference_markdown};
pub use head_timings::{head_input_tokens, head_timings};
pub use retrieval::{Retrieval, RetrievalInput, Retriever, reader};

use crate::measure::delta::Delta;
use crate::measure::items::Items;
use crate::wire::{Frame, Framing};
use crate::workload::Prompt;
use bytes::Bytes;
use detect::Question;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Which operation of the dialect is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Messages in, message out: `/v1/chat/completions`, `/api/chat`, `/v1/messages`.
    #[default]
    Chat,
    /// Text in, text out: `/v1/completions`, `/api/generate`.
    Completion,
}

/// What the answer may cost and how it is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Most tokens of the answer.
    pub output_tokens: Option<u32>,
    /// Sampling temperature; 0 is greedy.
    pub temperature: Option<f64>,
    /// Fields put into the request body as they are, over our own.
    pub extra_body: Map<String, Value>,
}

/// Everything that an adapter needs to write a request.
#[derive(Clone, Copy, Debug)]
pub struct EncodeInput<'a> {
    /// The model's name, as the runtime knows it.
    pub model: &'a str,
    /// Chat or completion.
    pub operation: Operation,
    /// Whether the answer is to come as a stream.
    pub stream: bool,
    /// What is asked.
    pub prompt: &'a Prompt,
    /// How it is to be answered.
    pub generation: &'a Generation,
}

/// A request, but for what the transport adds (host, authentication, our marks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRequest {
    /// Path behind the endpoint's prefix, with its slash, and the query if there is one.
    pub path: Cow<'static, str>,
    /// Headers of the dialect.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// One API dialect.
pub trait Runtime: Send + Sync {
    /// Writes the request.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest;

    /// The header that carries the key; `None` is `Authorization: Bearer`.
    fn key_header(&self) -> Option<HeaderName> {
        None
    }

    /// The service whose requests are signed (AWS Signature Version 4); `None` where a key travels in a header.
    fn aws_service(&self) -> Option<&'static str> {
        None
    }

    /// Whether requests carry an access token of Google's where the configuration says nothing of it.
    fn takes_google_tokens(&self) -> bool {
        false
    }

    /// Whether requests for a model of this name can be written.
    ///
    /// # Errors
    /// What is wrong with the name, as a predicate, and what to do about it.
    fn check_model(&self, _model: &str) -> Result<(), ModelProblem> {
        Ok(())
    }

    /// What else the model's name says, as labels.
    fn model_labels(&self, _model: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// How a successful body is cut into frames: a stream as server-sent events, unless the dialect has its own.
    fn framing(&self, stream: bool) -> Framing {
        match stream {
            true => Framing::Sse,
            false => Framing::WholeBody,
        }
    }

    /// A fresh reader of one answer's frames.
    fn interpreter(&self, operation: Operation, stream: bool) -> Box<dyn Interpreter>;

    /// What a body of an unsuccessful answer says, in one line.
    fn error_message(&self, body: &[u8]) -> Option<String> {
        text::error_message(body)
    }

    /// What an unsuccessful answer says, in one line, and the status that it stands for: a service in front of the
    /// runtime may tell the runtime's own in a place of its own.
    fn refusal(
        &self,
        status: StatusCode,
        _headers: &HeaderMap,
        body: &[u8],
    ) -> (StatusCode, Option<String>) {
        (status, self.error_message(body))
    }

    /// Whether counts in the answer are the dialect's own rather than a usage block.
    fn counts_natively(&self) -> bool {
        false
    }
}

/// Why no request can be written for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelProblem {
    /// A predicate to the model's name.
    pub rule: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Reads the frames of one answer, in order.
pub trait Interpreter: Send + Sync {
    /// What the frame means. Anything not understood is a fault in the delta, never a panic.
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a>;

    /// Whether the proper end of the body, after the frames so far, is the dialect's last word: for
    /// dialects that have no terminator of their own.
    fn ends_with_body(&self) -> bool {
        false
    }

    /// The vectors or ranks of the answer, where such were asked for and have come.
    fn items(&self) -> Option<Items> {
        None
    }
}

/// A runtime that a configuration can name.
pub struct RuntimeSpec {
    /// The value of `runtime` and of the label.
    pub name: &'static str,
    /// One line for documentation and help.
    pub summary: &'static str,
    /// The dialect that it speaks.
    pub adapter: &'static dyn Runtime,
    /// A URL as a configuration has it, for documentation and help.
    pub url: &'static str,
    /// Hosts that speak this dialect only, and answer nothing to whoever has no key; `*` is any beginning of a label.
    hosts: &'static [&'static str],
    /// How `auto` tells it from others.
    question: Option<Question>,
    /// Whom its models belong to in the OpenAI API's list of models.
    owners: &'static [&'static str],
    /// Whether it writes text: chat and completion.
    pub generates: bool,
    /// What else it can be asked for, and how.
    retrieval: &'static [(Retrieval, &'static dyn Retriever)],
}

impl RuntimeSpec {
    /// How it is asked for vectors or ranks. `None`: it has none.
    pub fn retriever(&self, kind: Retrieval) -> Option<&'static dyn Retriever> {
        let mut known = self.retrieval.iter();
        known.find_map(|(offered, how)| (*offered == kind).then_some(*how))
    }

    /// Whether it can be asked for this; `None` is text.
    pub fn offers(&self, retrieval: Option<Retrieval>) -> bool {
        retrieval.map_or(self.generates, |kind| self.retriever(kind).is_some())
    }

    /// The values of a scenario's `operation` that suit it.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> {
        let text: &[&str] = match self.generates {
            true => &["chat", "completion"],
            false => &[],
        };
        let others = self.retrieval.iter().map(|(kind, _)| kind.as_str());
        text.iter().copied().chain(others)
    }

    /// A runtime that `auto` does not find.
    const fn new(
        name: &'static str,
        summary: &'static str,
        adapter: &'static dyn Runtime,
        url: &'static str,
    ) -> Self {
        Self {
            name,
            summary,
            adapter,
            url,
            hosts: &[],
            question: None,
            owners: &[],
            generates: true,
            retrieval: &[],
        }
    }
}

/// Every runtime by name, in the order in which `auto` asks: the specific before the general. Several share the
/// OpenAI dialect; their names make them comparable. A server's own dialect, where it also has that of OpenAI, goes
/// by the server and its route.
pub const RUNTIMES: &[RuntimeSpec] = &[
    ollama::OLLAMA,
    servers::SGLANG,
    servers::VLLM,
    retrieval::TEI,
    servers::TGI,
    servers::LLAMACPP,
    llamaedge::LLAMAEDGE,
    servers::TENSORRT_LLM,
    servers::OPENAI,
    tgi::TGI_GENERATE,
    llamacpp::LLAMACPP_COMPLETION,
    sglang::SGLANG_GENERATE,
    anthropic::ANTHROPIC,
    gemini::GEMINI,
    bedrock::BEDROCK,
    bedrock_invoke::BEDROCK_INVOKE,
    sagemaker::SAGEMAKER,
    sagemaker::SAGEMAKER_TGI,
    responses::OPENAI_RESPONSES,
    azure::AZURE_OPENAI,
    triton::TRITON,
    triton::KSERVE,
    cohere::COHERE,
    vertex::VERTEX,
    vertex::VERTEX_ANTHROPIC,
    #[cfg(test)]
    toy::TOY,
];

/// Finds a runtime by its name.
pub fn find(name: &str) -> Option<&'static RuntimeSpec> {
    RUNTIMES.iter().find(|spec| spec.name == name)
}

/// The runtime of a host that is known by its name. All others have to be asked.
pub fn of_host(host: &str) -> Option<&'static RuntimeSpec> {
    RUNTIMES
        .iter()
        .find(|spec| spec.hosts.iter().any(|known| is_host(known, host)))
}

fn is_host(known: &str, host: &str) -> bool {
    let (mut known, mut host) = (known.split('.'), host.split('.'));
    loop {
        match (known.next(), host.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if is_label(one, other) => {}
            _ => return false,
        }
    }
}

fn is_label(known: &str, label: &str) -> bool {
    let Some(end) = known.strip_prefix('*') else {
        return known.eq_ignore_ascii_case(label);
    };
    let begin = label.len().checked_sub(end.len()).filter(|at| *at > 0);
    let found = begin.and_then(|at| label.get(at..));
    found.is_some_and(|found| found.eq_ignore_ascii_case(end))
}

impl std::fmt::Debug for RuntimeSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Names are unique, so a name is an identity.
impl PartialEq for RuntimeSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_runtime_writes_requests_and_reads_anything_without_a_panic() {
        let mut names = HashSet::new();
        let prompt = Prompt {
            system: Some("Be brief.".into()),
            user: "Hello".to_owned(),
            generated_words: None,
        };
        let generation = Generation {
            output_tokens: Some(7),
            temperature: Some(0.0),
            extra_body: Map::from_iter([("seed".to_owned(), Value::from(1))]),
        };
        for spec in RUNTIMES {
            assert!(names.insert(spec.name), "{} is there twice", spec.name);
            assert!(!spec.summary.is_empty());
            for (operation, stream) in [
                (Operation::Chat, true),
                (Operation::Chat, false),
                (Operation::Completion, true),
                (Operation::Completion, false),
            ] {
                let request = spec.adapter.encode(EncodeInput {
                    model: "a/model:1b",
                    operation,
                    stream,
                    prompt: &prompt,
                    generation: &generation,
                });
                assert!(request.path.starts_with('/'), "{}", spec.name);
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                // Google's and Amazon's APIs name both in the path.
                let in_path = request.path.contains("/a%2Fmodel%3A1b");
                let model = body["model"] == "a/model:1b" || in_path;
                assert!(model, "{}", spec.name);
                let streams = body["stream"] == stream
                    || in_path && request.path.contains("stream") == stream;
                assert!(streams, "{}", spec.name);
                assert_eq!(body["seed"], 1, "{}", spec.name);
                let text = body.to_string();
                assert!(
                    text.contains("Hello") && text.contains("Be brief."),
                    "{text}"
                );
                let mut interpreter = spec.adapter.interpreter(operation, stream);
                for data in [
                    "",
                    "{}",
                    "[]",
                    "null",
                    "\u{0}",
                    r#"{"choices":[],"done":1}"#,
                ] {
                    let frame = Frame::bare(data.as_bytes());
                    interpreter.on_frame(frame);
                }
            }
        }
    }

    #[test]
    fn a_host_is_known_by_its_whole_name_or_by_that_of_its_domain() {
        for spec in RUNTIMES {
            for host in spec.hosts {
                let any = host.strip_prefix('*');
                assert_eq!(of_host(&host.replace('*', "mine")), Some(spec));
                let other = any.map_or(format!("my.{host}"), |end| end.replacen('.', "x", 1));
                assert_eq!(of_host(&other), None, "{other}");
                assert_eq!(of_host(any.unwrap_or(".")), None);
            }
        }
        assert_eq!(of_host("API.Anthropic.com").unwrap().name, "anthropic");
        let bedrock = of_host("bedrock-runtime.eu-central-1.amazonaws.com");
        assert_eq!(bedrock.unwrap().name, "bedrock");
        for host in [
            "bedrock-runtime.amazonaws.com",
            "bedrock-runtime..amazonaws.com",
            "bedrock-runtime.eu.central.amazonaws.com",
            "bedrock-runtime.eu-central-1.amazonaws.com.example",
        ] {
            assert_eq!(of_host(host), None, "{host}");
        }
    }
}
