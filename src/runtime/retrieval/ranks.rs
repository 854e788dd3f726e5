//! Ranked documents, as Jina and Cohere have them (`results`, `relevance_score`), and as bare lists with a `score`.

use super::super::text::Text;
use super::vectors::check_places;
use super::{document, no_error, read_tokens};
use crate::measure::delta::{Delta, Fault};
use crate::measure::items::Items;
use serde::Deserialize;
use serde_json::Value;

#[derive(Default, Deserialize)]
struct Body<'a> {
    results: Option<Vec<Rank>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<UsageBlock>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Rank {
    index: u64,
    /// `null` is what some writers of JSON make of NaN.
    #[serde(alias = "score")]
    relevance_score: Option<f64>,
}

/// Jina tells a total only, and there is no output to be in it.
#[derive(Deserialize)]
pub(super) struct UsageBlock {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl UsageBlock {
    pub(super) fn input(&self) -> Option<u64> {
        self.prompt_tokens.or(self.total_tokens)
    }
}

/// Ranks of so many documents.
pub(super) fn read(data: &[u8], documents: usize) -> Result<(Items, Delta<'_>), Fault> {
    let body = match data.trim_ascii_start().first() {
        Some(b'[') => Body {
            results: document(data)?,
            ..Body::default()
        },
        _ => document::<Body<'_>>(data)?,
    };
    no_error(body.error.as_ref())?;
    let none = || Fault::Malformed("the answer has no `results`".to_owned());
    let results = body.results.ok_or_else(none)?;
    let bad = |rank: &&Rank| !rank.relevance_score.is_some_and(f64::is_finite);
    if let Some(Rank { index, .. }) = results.iter().find(bad) {
        let complaint = format!("document {index} has no finite score");
        return Err(Fault::Malformed(complaint));
    }
    let places = results.iter().map(|rank| Some(rank.index));
    check_places(places, documents).map_err(Fault::Malformed)?;
    let items = Items {
        count: results.len(),
        ..Items::default()
    };
    let said = Delta {
        usage: read_tokens(body.usage.and_then(|usage| usage.input())),
        model: body.model.map(|text| text.0),
        ..Delta::default()
    };
    Ok((items, said))
}
