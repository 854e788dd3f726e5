//! llama.cpp's `/completion`, as its server answers since December 2024.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, wanted};
use crate::simulate::generation::{Finish, Generation};
use crate::simulate::openai::{sse, timings};
use crate::simulate::refusal::{Refusal, Surface};
use crate::simulate::script::{Dialect, Framing, Position};

#[derive(Deserialize)]
struct Request {
    prompt: Option<String>,
    model: Option<String>,
    /// -1 is no limit.
    n_predict: Option<i64>,
    #[serde(default)]
    ignore_eos: bool,
    #[serde(default)]
    stream: bool,
}

pub(super) fn read(body: &[u8]) -> Result<Asked, Refusal> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
    let prompt = request
        .prompt
        .ok_or_else(|| Refusal::bad_request("\"prompt\" must be provided"))?;
    let limit = request.n_predict.filter(|limit| *limit > 0);
    let limit = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    Ok(Asked {
        model: request.model,
        dialect: Box::new(LlamaCpp {
            prompt: prompt.clone(),
        }),
        prompt,
        wanted: wanted(limit, request.ignore_eos),
        stream: request.stream,
    })
}

struct LlamaCpp {
    /// Echoed at the end.
    prompt: String,
}

fn stop_type(finish: Option<Finish>) -> &'static str {
    match finish {
        Some(Finish::Length) => "limit",
        Some(Finish::ContentFilter) => "word",
        Some(Finish::Stop | Finish::Load | Finish::Unload) => "eos",
        None => "none",
    }
}

impl LlamaCpp {
    fn last(&self, answer: &Generation, content: &str) -> Value {
        let (prompt, predicted) = (answer.prompt_tokens, answer.output_tokens());
        json!({
            "index": 0,
            "content": content,
            "tokens": [],
            "id_slot": 0,
            "stop": true,
            "model": answer.model,
            "tokens_predicted": predicted,
            "tokens_evaluated": prompt,
            "generation_settings": {"n_predict": predicted},
            "prompt": self.prompt,
            "has_new_line": content.contains('\n'),
            "truncated": false,
            "stop_type": stop_type(answer.finish),
            "stopping_word": "",
            // All that the slot holds; the last token has not gone through the model.
            "tokens_cached": prompt.saturating_add(predicted).saturating_sub(1),
            "timings": timings(answer),
        })
    }
}

impl Dialect for LlamaCpp {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        sse(&json!({
            "index": 0,
            "content": frame.text,
            "tokens": [sent],
            "stop": false,
            "id_slot": 0,
            "tokens_predicted": sent,
            "tokens_evaluated": answer.prompt_tokens,
        }))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        vec![sse(&self.last(answer, ""))]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let text = answer.text(true) + &answer.text(false);
        self.last(answer, &text).to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![sse(&failure())]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

fn failure() -> Value {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Surface::LlamaCpp.error(status, "simulated failure during generation")
}
