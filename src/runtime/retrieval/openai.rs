//! The OpenAI API's embeddings, and the ranks that vLLM, SGLang and llama.cpp's server have beside them in the form of
//! Jina's API and Cohere's.

use super::super::text::Text;
use super::ranks::{self, UsageBlock};
use super::vectors::{Vector, check_places, items};
use super::{RetrievalInput, Retriever, document, no_error, read_tokens};
use crate::measure::delta::{Delta, Fault};
use crate::measure::items::Items;
use crate::runtime::EncodedRequest;
use serde::Deserialize;
use serde_json::{Value, json};

pub(in crate::runtime) struct OpenAiEmbeddings;

impl Retriever for OpenAiEmbeddings {
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        let body = json!({ "model": input.model, "input": input.texts.inputs });
        input.request("/v1/embeddings", body)
    }

    fn read<'a>(&self, data: &'a [u8], texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        let body: Body<'a> = document(data)?;
        no_error(body.error.as_ref())?;
        let none = || Fault::Malformed("the answer has no `data`".to_owned());
        let entries = body.data.ok_or_else(none)?;
        let places = entries.iter().map(|entry| entry.index);
        check_places(places, texts).map_err(Fault::Malformed)?;
        let said = Delta {
            usage: read_tokens(body.usage.and_then(|usage| usage.input())),
            model: body.model.map(|text| text.0),
            ..Delta::default()
        };
        Ok((items(entries.iter().map(|entry| entry.embedding))?, said))
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    data: Option<Vec<Entry>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<UsageBlock>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<u64>,
    embedding: Vector,
}

pub(in crate::runtime) struct OpenAiRerank;

impl Retriever for OpenAiRerank {
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        let texts = input.texts;
        let body = json!({ "model": input.model, "query": texts.query, "documents": texts.inputs });
        input.request("/v1/rerank", body)
    }

    fn read<'a>(&self, data: &'a [u8], texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        ranks::read(data, texts)
    }
}
