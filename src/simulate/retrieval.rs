//! Vectors and ranks, in every dialect that has them. No model: a vector is drawn from its text, and documents are
//! ranked by the words that they share with the query.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use rand::Rng as _;
use rand_pcg::Pcg32;
use serde_json::{Value, json};

use super::character::RuntimeFlavor;
use super::gemini;
use super::generation::Generation;
use super::refusal::{Refusal, Surface};
use super::script::{Dialect, Framing, Position};

/// Numbers of a vector, where the request does not say.
const DIMENSIONS: usize = 64;
/// No request is to make the simulator work for seconds.
const MOST_DIMENSIONS: usize = 8192;

/// Texts that Text Embeddings Inference takes in one request, by its default.
const TEI_BATCH: usize = 32;

/// What is asked for, and in whose form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    OpenAiEmbeddings,
    /// As vLLM, llama.cpp's server, Jina and Cohere have it.
    Rerank,
    OllamaEmbed,
    TeiEmbed,
    TeiRerank,
    GeminiEmbed,
    GeminiBatchEmbed,
}

/// A request, read.
pub(super) struct Asked {
    /// Absent where the runtime has one model only.
    pub(super) model: Option<String>,
    /// Each as a model reads it: a document together with its query.
    pub(super) texts: Vec<String>,
    pub(super) dialect: Box<dyn Dialect>,
}

impl Endpoint {
    /// The endpoint and the model of one of Gemini's paths.
    pub(super) fn of_gemini(path: &str) -> Option<(Self, String)> {
        let mut known = gemini::MODELS.iter();
        let call = known.find_map(|models| path.strip_prefix(models))?;
        let (model, method) = call.split_once(':')?;
        let endpoint = match method {
            "embedContent" => Self::GeminiEmbed,
            "batchEmbedContents" => Self::GeminiBatchEmbed,
            _ => return None,
        };
        let model = percent_decode_str(model).decode_utf8().ok()?;
        Some((endpoint, model.into_owned()))
    }

    /// Text Embeddings Inference and others share a path, so where both are served the body tells them apart.
    pub(super) fn meant_by(self, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match self {
            Self::TeiRerank if body.get("documents").is_some() => Self::Rerank,
            _ => self,
        }
    }

    /// The form of its errors.
    pub(super) fn surface(self) -> Surface {
        match self {
            Self::OpenAiEmbeddings | Self::Rerank => Surface::OpenAi,
            Self::OllamaEmbed => Surface::Ollama,
            Self::TeiEmbed | Self::TeiRerank => Surface::Tei,
            Self::GeminiEmbed | Self::GeminiBatchEmbed => Surface::Gemini,
        }
    }

    /// Reads a request body.
    pub(super) fn read(self, body: &[u8], flavor: RuntimeFlavor) -> Result<Asked, Refusal> {
        let unreadable = |error| Refusal::bad_request(format!("cannot read the request: {error}"));
        let body: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let model = body.get("model").and_then(Value::as_str).map(str::to_owned);
        let query = body.get("query").and_then(Value::as_str);
        let key = match self {
            Self::OpenAiEmbeddings | Self::OllamaEmbed => "input",
            Self::Rerank => "documents",
            Self::TeiEmbed => "inputs",
            Self::TeiRerank => "texts",
            Self::GeminiEmbed => "content",
            Self::GeminiBatchEmbed => "requests",
        };
        let texts = body.get(key).map(texts).unwrap_or_default();
        if texts.is_empty() {
            return Err(self.refuse(&format!("`{key}` cannot be empty")));
        }
        if self.surface() == Surface::Tei && texts.len() > TEI_BATCH {
            let found = texts.len();
            let message = format!("batch size {found} > maximum allowed batch size {TEI_BATCH}");
            return Err(self.refuse(&message));
        }
        let ranks = matches!(self, Self::Rerank | Self::TeiRerank);
        if ranks && query.is_none() {
            return Err(self.refuse("`query` is required"));
        }
        let most = body.get("top_n").and_then(Value::as_u64);
        let answer = Answer {
            endpoint: self,
            flavor,
            texts: texts.clone(),
            query: query.map(str::to_owned),
            most: most.map_or(usize::MAX, |most| most as usize),
            dimensions: dimensions(&body),
            base64: body.get("encoding_format").and_then(Value::as_str) == Some("base64"),
        };
        let read = |text: String| match query.filter(|_| ranks) {
            Some(query) => format!("{query} {text}"),
            None => text,
        };
        Ok(Asked {
            model,
            texts: texts.into_iter().map(read).collect(),
            dialect: Box::new(answer),
        })
    }

    /// A request that cannot be met.
    pub(super) fn refuse(self, message: &str) -> Refusal {
        let status = match self.surface() {
            // Whatever is too much or too long.
            Surface::Tei => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, message)
    }
}

/// Every text of a list of strings, of documents, of Gemini's requests, or of one.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) if list.iter().all(Value::is_number) && !list.is_empty() => {
            vec![value.to_string()]
        }
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(map) => {
            let inner = ["text", "content", "parts"].iter();
            inner
                .filter_map(|key| map.get(*key))
                .flat_map(texts)
                .collect()
        }
        _ => Vec::new(),
    }
}

fn dimensions(body: &Value) -> usize {
    let first = body.get("requests").and_then(|requests| requests.get(0));
    let asked = ["dimensions", "outputDimensionality"]
        .iter()
        .find_map(|key| {
            let found = body.get(*key).or_else(|| first?.get(*key))?;
            found.as_u64()
        });
    asked.map_or(DIMENSIONS, |asked| {
        (asked as usize).clamp(1, MOST_DIMENSIONS)
    })
}

/// Writes the vectors or ranks of the texts that it was asked for.
struct Answer {
    endpoint: Endpoint,
    flavor: RuntimeFlavor,
    texts: Vec<String>,
    query: Option<String>,
    /// Ranks at most.
    most: usize,
    dimensions: usize,
    base64: bool,
}

impl Answer {
    /// Of length 1, and the same for the same text.
    fn vector(&self, text: &str) -> Vec<f32> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let mut random = Pcg32::new(hasher.finish(), 7);
        let numbers: Vec<f32> = (0..self.dimensions)
            .map(|_| random.random_range(-1.0_f32..1.0))
            .collect();
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers
            .iter()
            .map(|x| x / length.max(f32::MIN_POSITIVE))
            .collect()
    }

    /// The places and scores of the documents, best first.
    fn ranks(&self) -> Vec<(usize, f64)> {
        let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect();
        let wanted: HashSet<String> = words(self.query.as_deref().unwrap_or_default());
        let score = |text: &String| {
            let found: HashSet<String> = words(text);
            let shared = wanted.intersection(&found).count();
            (shared as f64 + 0.5) / (wanted.len() as f64 + 1.0)
        };
        let mut ranks: Vec<(usize, f64)> = self.texts.iter().map(score).enumerate().collect();
        ranks.sort_by(|one, other| other.1.total_cmp(&one.1));
        ranks.truncate(self.most);
        ranks
    }

    fn value(&self, answer: &Generation) -> Value {
        // An answer without a frame is one that is meant to hold nothing.
        let none = answer.frames.is_empty();
        let texts = if none { &[] } else { self.texts.as_slice() };
        let vectors = texts.iter().map(|text| self.vector(text));
        let ranks = if none { Vec::new() } else { self.ranks() };
        let tokens = answer.prompt_tokens;
        match self.endpoint {
            Endpoint::OpenAiEmbeddings => {
                let data = vectors.enumerate().map(|(index, vector)| {
                    let embedding = match self.base64 {
                        true => json!(in_base64(&vector)),
                        false => json!(vector),
                    };
                    json!({"object": "embedding", "index": index, "embedding": embedding})
                });
                json!({
                    "object": "list",
                    "data": data.collect::<Vec<_>>(),
                    "model": answer.model,
                    "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                })
            }
            Endpoint::OllamaEmbed => json!({
                "model": answer.model,
                "embeddings": vectors.collect::<Vec<_>>(),
                "total_duration": nanoseconds(answer.end()),
                "load_duration": nanoseconds(answer.load),
                "prompt_eval_count": tokens,
            }),
            Endpoint::TeiEmbed => json!(vectors.collect::<Vec<_>>()),
            Endpoint::GeminiEmbed => json!({
                "embedding": {"values": vectors.flatten().collect::<Vec<_>>()},
            }),
            Endpoint::GeminiBatchEmbed => json!({
                "embeddings": vectors.map(|values| json!({ "values": values })).collect::<Vec<_>>(),
                "usageMetadata": {"promptTokenCount": tokens},
            }),
            Endpoint::TeiRerank => {
                let rank = |(index, score)| json!({"index": index, "score": score});
                ranks.into_iter().map(rank).collect()
            }
            Endpoint::Rerank => {
                let rank = |(index, score): (usize, f64)| {
                    let text = self.texts.get(index);
                    let document =
                        (self.flavor != RuntimeFlavor::LlamaCpp).then(|| json!({ "text": text }));
                    json!({"index": index, "document": document, "relevance_score": score})
                };
                json!({
                    "id": format!("rerank-{:032x}", answer.id),
                    "model": answer.model,
                    "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                    "results": ranks.into_iter().map(rank).collect::<Vec<_>>(),
                })
            }
        }
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

impl Dialect for Answer {
    /// Nothing is ever streamed.
    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, _answer: &Generation, _position: Position<'_>) -> Bytes {
        Bytes::new()
    }

    fn tail(&self, _answer: &Generation) -> Vec<Bytes> {
        Vec::new()
    }

    /// As much longer as the text of the answer is, which has one only to be too long: blanks at the end mean nothing.
    fn whole(&self, answer: &Generation) -> Bytes {
        let padding = " ".repeat(answer.text(false).len());
        format!("{}{padding}", self.value(answer)).into()
    }

    fn failure(&self) -> Vec<Bytes> {
        Vec::new()
    }

    fn whole_failure(&self) -> Bytes {
        let surface = self.endpoint.surface();
        let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "simulated failure");
        refusal.body(surface, self.flavor).to_string().into()
    }
}
