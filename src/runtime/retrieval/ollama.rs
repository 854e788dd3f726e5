//! Ollama's `/api/embed`.

use super::super::text::Text;
use super::vectors::{Vector, items};
use super::{RetrievalInput, Retriever, document, no_error, read_tokens};
use crate::measure::delta::{Delta, Fault, ServerTimings};
use crate::measure::items::Items;
use crate::runtime::EncodedRequest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

pub(in crate::runtime) struct OllamaEmbeddings;

impl Retriever for OllamaEmbeddings {
    /// Without `truncate: false` a text that is too long is cut and embedded all the same: less work than was asked
    /// for. No `keep_alive`: a probe must not pin a model that the user lets go.
    fn request(&self, input: RetrievalInput<'_>) -> EncodedRequest {
        let texts = &input.texts.inputs;
        let body = json!({ "model": input.model, "input": texts, "truncate": false });
        input.request("/api/embed", body)
    }

    fn read<'a>(&self, data: &'a [u8], _texts: usize) -> Result<(Items, Delta<'a>), Fault> {
        let body: Body<'a> = document(data)?;
        no_error(body.error.as_ref())?;
        let none = || Fault::Malformed("the answer has no `embeddings`".to_owned());
        let said = Delta {
            usage: read_tokens(body.prompt_eval_count),
            server: ServerTimings {
                load: body.load_duration.map(Duration::from_nanos),
                total: body.total_duration.map(Duration::from_nanos),
                ..ServerTimings::default()
            },
            model: body.model.map(|text| text.0),
            ..Delta::default()
        };
        Ok((items(body.embeddings.ok_or_else(none)?)?, said))
    }

    fn counts_natively(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    embeddings: Option<Vec<Vector>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    total_duration: Option<u64>,
    load_duration: Option<u64>,
    prompt_eval_count: Option<u64>,
    error: Option<Value>,
}
