//! Vectors and ranks: what a runtime may offer besides text, or instead of it.

mod gemini;
mod ollama;
mod openai;
mod ranks;
mod tei;
mod vectors;

pub(super) use gemini::GeminiEmbeddings;
pub(super) use ollama::OllamaEmbeddings;
pub(super) use openai::{OpenAiEmbeddings, OpenAiRerank};
pub(super) use tei::TEI;

use super::request::{drop_nulls, encoded};
use super::text::{error_text, parse};
use super::{EncodedRequest, Interpreter};
use crate::measure::delta::{Delta, Fault};
use crate::measure::items::Items;
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use crate::workload::Texts;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What is asked for instead of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrieval {
    /// Texts in, a vector of each out: `/v1/embeddings`, `/api/embed`.
    Embeddings,
    /// A query and documents in, the documents by relevance out: `/v1/rerank`.
    Rerank,
}

impl Retrieval {
    /// The value of a scenario's `operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}

/// Everything that is needed to write such a request.
#[derive(Clone, Copy, Debug)]
pub struct RetrievalInput<'a> {
    /// The model's name, as the runtime knows it.
    pub model: &'a str,
    /// What is to be embedded or ranked.
    pub texts: &'a Texts,
    /// Fields put into the request body as they are, over our own.
    pub extra_body: &'a Map<String, Value>,
}

impl RetrievalInput<'_> {
    /// How many vectors or ranks a complete answer has: one for each text, unless `body` wants fewer ranks.
    pub fn expected(&self, kind: Retrieval) -> usize {
        let all = self.texts.inputs.len();
        let most = self.extra_body.get("top_n").and_then(Value::as_u64);
        match (kind, most.and_then(|most| usize::try_from(most).ok())) {
            (Retrieval::Rerank, Some(most)) => all.min(most),
            _ => all,
        }
    }

    /// A request whose body is `ours` with the scenario's own fields over it.
    fn request(&self, path: impl Into<Cow<'static, str>>, ours: Value) -> EncodedRequest {
        let mut body = ours;
        if let Value::Object(map) = &mut body {
            map.extend(self.extra_body.clone());
            drop_nulls(map);
        }
        encoded(path, false, &body)
    }
}

/// One dialect's way to embed or to rank. The answer is always one JSON document.
pub trait Retriever: Send + Sync {
    /// Writes the request.
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest;

    /// Reads the answer to a request with so many texts, the query apart: what it holds, and what it says besides.
    ///
    /// # Errors
    /// When it is not what the dialect allows, or an error in the place of the answer.
    fn read<'a>(&self, data: &'a [u8], texts: usize) -> Result<(Items, Delta<'a>), Fault>;

    /// Whether the count of tokens is the dialect's own rather than a usage block's.
    fn counts_natively(&self) -> bool {
        false
    }
}

/// A fresh reader of one answer to a request with so many texts.
pub fn reader(retriever: &'static dyn Retriever, texts: usize) -> Box<dyn Interpreter> {
    Box::new(RetrievalReader {
        retriever,
        texts,
        items: None,
    })
}

struct RetrievalReader {
    retriever: &'static dyn Retriever,
    texts: usize,
    items: Option<Items>,
}

impl Interpreter for RetrievalReader {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        match self.retriever.read(frame.data, self.texts) {
            Ok((items, said)) => {
                self.items = Some(items);
                Delta {
                    terminator: true,
                    ..said
                }
            }
            Err(fault) => Delta {
                fault: Some(fault),
                ..Delta::default()
            },
        }
    }

    fn items(&self) -> Option<Items> {
        self.items
    }
}

/// The document, or what is wrong with it.
fn document<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Fault> {
    let wrong = |error| Fault::Malformed(format!("the answer is not the expected JSON: {error}"));
    parse(data).map_err(wrong)
}

/// Complains of an error in the place of the answer.
fn no_error(error: Option<&Value>) -> Result<(), Fault> {
    match error.filter(|error| !error.is_null()) {
        Some(error) => Err(Fault::InBand(error_text(error))),
        None => Ok(()),
    }
}

/// Tokens that were read, where they are told.
fn read_tokens(input: Option<u64>) -> Option<Usage> {
    input.map(|_| Usage {
        input,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{RUNTIMES, find};
    use serde_json::json;

    fn texts(query: bool) -> Texts {
        Texts {
            query: query.then(|| "which lamp?".to_owned()),
            inputs: vec!["the lamp".to_owned(), "the café".to_owned()],
            generated_words: None,
        }
    }

    fn body(runtime: &str, kind: Retrieval, extra: &Value) -> (String, Value) {
        let texts = texts(kind == Retrieval::Rerank);
        let input = RetrievalInput {
            model: "a/m:1",
            texts: &texts,
            extra_body: extra.as_object().unwrap(),
        };
        let retriever = find(runtime).unwrap().retriever(kind).unwrap();
        let request = retriever.request(input);
        let body = serde_json::from_slice(&request.body).unwrap();
        (request.path.into_owned(), body)
    }

    #[test]
    fn each_dialect_has_its_own_request() {
        let none = json!({});
        let embed = |runtime, extra: &Value| body(runtime, Retrieval::Embeddings, extra);
        let inputs = json!(["the lamp", "the café"]);
        assert_eq!(
            embed("openai", &json!({"dimensions": 64, "model": null})),
            (
                "/v1/embeddings".to_owned(),
                json!({"input": inputs, "dimensions": 64})
            )
        );
        let wanted = json!({"model": "a/m:1", "input": inputs, "truncate": false});
        assert_eq!(embed("ollama", &none), ("/api/embed".to_owned(), wanted));
        let (path, wanted) = ("/embed".to_owned(), json!({ "inputs": inputs }));
        assert_eq!(embed("tei", &none), (path, wanted));
        let (path, wanted) = embed("gemini", &json!({"outputDimensionality": 8}));
        assert_eq!(path, "/v1beta/models/a%2Fm%3A1:batchEmbedContents");
        let first = &wanted["requests"][0];
        assert_eq!(first["model"], "models/a/m:1");
        assert_eq!(first["content"]["parts"][0]["text"], "the lamp");
        assert_eq!(first["outputDimensionality"], 8);

        let rank = |runtime| body(runtime, Retrieval::Rerank, &none);
        let wanted = json!({"model": "a/m:1", "query": "which lamp?", "documents": inputs});
        assert_eq!(rank("vllm"), ("/v1/rerank".to_owned(), wanted));
        let wanted = json!({"query": "which lamp?", "texts": inputs});
        assert_eq!(rank("tei"), ("/rerank".to_owned(), wanted));
    }

    #[test]
    fn a_scenario_may_want_fewer_ranks_than_documents() {
        let texts = texts(true);
        let expected = |kind, extra: Value| {
            let input = RetrievalInput {
                model: "m",
                texts: &texts,
                extra_body: extra.as_object().unwrap(),
            };
            input.expected(kind)
        };
        assert_eq!(expected(Retrieval::Rerank, json!({"top_n": 1})), 1);
        assert_eq!(expected(Retrieval::Rerank, json!({"top_n": 9})), 2);
        assert_eq!(expected(Retrieval::Embeddings, json!({"top_n": 1})), 2);
    }

    #[test]
    fn every_reader_takes_anything_without_a_panic() {
        for spec in RUNTIMES {
            for kind in [Retrieval::Embeddings, Retrieval::Rerank] {
                let Some(retriever) = spec.retriever(kind) else {
                    continue;
                };
                for data in ["", "{}", "[]", "null", "[[]]", "\u{0}", r#"{"data":[{}]}"#] {
                    let mut reader = reader(retriever, 1);
                    reader.on_frame(Frame::bare(data.as_bytes()));
                    assert!(reader.items().is_none_or(|items| items.count == 0));
                }
            }
        }
    }
}
