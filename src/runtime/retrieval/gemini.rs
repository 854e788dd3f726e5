//! The Gemini API's `batchEmbedContents`: one request for each text, in one body.

use super::super::gemini::{in_words, resource};
use super::super::request::{drop_nulls, encoded};
use super::vectors::{Vector, items};
use super::{RetrievalInput, Retriever, document, read_tokens};
use crate::measure::delta::{Delta, Fault};
use crate::measure::items::Items;
use crate::runtime::EncodedRequest;
use serde::Deserialize;
use serde_json::{Value, json};

pub(in crate::runtime) struct GeminiEmbeddings;

impl Retriever for GeminiEmbeddings {
    /// The scenario's own fields, such as `outputDimensionality`, belong to each text.
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        let bare = input.model.strip_prefix("models/").unwrap_or(input.model);
        let name = format!("models/{bare}");
        let requests = input.texts.inputs.iter().map(|text| {
            let mut request = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
            if let Value::Object(map) = &mut request {
                map.extend(input.extra_body.clone());
                drop_nulls(map);
            }
            request
        });
        let body = json!({ "requests": requests.collect::<Vec<_>>() });
        let path = format!("/v1beta/{}:batchEmbedContents", resource(input.model));
        encoded(path, false, &body)
    }

    fn read<'a>(&self, data: &'a [u8], _texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        let body: Body = document(data)?;
        if let Some(error) = body.error.filter(|error| !error.is_null()) {
            return Err(Fault::InBand(in_words(&error)));
        }
        let none = || Fault::Malformed("the answer has no `embeddings`".to_owned());
        let embeddings = body.embeddings.ok_or_else(none)?;
        let vectors = embeddings.iter().map(|embedding| embedding.values);
        let counted = body
            .usage_metadata
            .and_then(|usage| usage.prompt_token_count);
        let said = Delta {
            usage: read_tokens(counted),
            ..Delta::default()
        };
        Ok((items(vectors)?, said))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    embeddings: Option<Vec<Embedding>>,
    /// Not every model counts.
    usage_metadata: Option<UsageMetadata>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Embedding {
    values: Vector,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    prompt_token_count: Option<u64>,
}
