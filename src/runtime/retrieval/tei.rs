//! Text Embeddings Inference: `/embed` and `/rerank`, bare lists. Counts and times are in the response's head.

use super::super::openai::OpenAi;
use super::vectors::{Vector, items};
use super::{Retrieval, RetrievalInput, Retriever, document, no_error, ranks};
use crate::measure::delta::{Delta, Fault};
use crate::measure::items::Items;
use crate::runtime::detect::{Question, text};
use crate::runtime::{EncodedRequest, RuntimeSpec};
use serde_json::{Value, json};

/// It writes no text; of the OpenAI dialect it has the form of errors and of keys.
pub(in crate::runtime) const TEI: RuntimeSpec = RuntimeSpec {
    // TGI answers at the same path, and has no such field.
    question: Some(Question {
        path: "/info",
        models: "/v1/models",
        native: Some(("tei", &["model_id"])),
        recognise: |answer| {
            answer.get("model_type")?;
            text(answer, &["version"])
        },
    }),
    generates: false,
    retrieval: &[
        (Retrieval::Embeddings, &TeiEmbeddings),
        (Retrieval::Rerank, &TeiRerank),
    ],
    ..RuntimeSpec::new(
        "tei",
        "Text Embeddings Inference: embeddings and ranks, no text",
        &OpenAi,
        "http://127.0.0.1:8080",
    )
};

struct TeiEmbeddings;

impl Retriever for TeiEmbeddings {
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        input.request("/embed", json!({ "inputs": input.texts.inputs }))
    }

    fn read<'a>(&self, data: &'a [u8], _texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        // What is no list may be an error in the place of the answer.
        let vectors = document::<Vec<Vector>>(data).map_err(|fault| {
            let said = serde_json::from_slice::<Value>(data).unwrap_or_default();
            no_error(said.get("error")).err().unwrap_or(fault)
        })?;
        Ok((items(vectors)?, Delta::default()))
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

struct TeiRerank;

impl Retriever for TeiRerank {
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        let texts = input.texts;
        let body = json!({ "query": texts.query, "texts": texts.inputs });
        input.request("/rerank", body)
    }

    fn read<'a>(&self, data: &'a [u8], texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        ranks::read(data, texts)
    }

    fn counts_natively(&self) -> bool {
        true
    }
}
