//! SGLang's `/generate`, as version 0.5 answers: the whole text so far in each event.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, wanted};
use crate::simulate::generation::{Finish, Generation};
use crate::simulate::openai::{DONE, sse};
use crate::simulate::refusal::{Refusal, Surface};
use crate::simulate::script::{Dialect, Framing, Position};

/// SGLang's own default, in tokens.
const MAX_NEW_TOKENS: u32 = 128;

#[derive(Deserialize)]
struct Request {
    text: Option<String>,
    model: Option<String>,
    #[serde(default)]
    sampling_params: SamplingParams,
    #[serde(default)]
    stream: bool,
}

#[derive(Default, Deserialize)]
struct SamplingParams {
    max_new_tokens: Option<u32>,
    #[serde(default)]
    ignore_eos: bool,
}

pub(super) fn read(body: &[u8]) -> Result<Asked, Refusal> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
    let prompt = request
        .text
        .ok_or_else(|| Refusal::bad_request("Either text or input_ids should be provided."))?;
    let limit = request.sampling_params.max_new_tokens;
    let limit = Some(limit.unwrap_or(MAX_NEW_TOKENS));
    Ok(Asked {
        model: request.model,
        prompt,
        wanted: wanted(limit, request.sampling_params.ignore_eos),
        stream: request.stream,
        dialect: Box::new(Sglang),
    })
}

struct Sglang;

impl Sglang {
    fn value(answer: &Generation, text: &str, sent: u32, ended: bool) -> Value {
        let finish = answer.finish.filter(|_| ended);
        let finish = finish.map(|finish| match finish {
            Finish::Length => json!({"type": "length", "length": sent}),
            Finish::ContentFilter => json!({"type": "stop", "matched": "filtered"}),
            Finish::Stop | Finish::Load | Finish::Unload => json!({"type": "stop", "matched": 2}),
        });
        let mut meta = json!({
            "id": format!("{:032x}", answer.id),
            "finish_reason": finish,
            "prompt_tokens": answer.prompt_tokens,
            "weight_version": "default",
            "completion_tokens": sent,
            "cached_tokens": answer.cached_tokens,
        });
        if let Some(meta) = meta.as_object_mut().filter(|_| ended) {
            let seconds = answer.end().as_secs_f64();
            meta.insert("e2e_latency".to_owned(), json!(seconds));
        }
        let ids: Vec<u32> = (1..=sent).collect();
        json!({"text": text, "output_ids": ids, "meta_info": meta})
    }

    fn all(answer: &Generation) -> Value {
        let text = answer.text(true) + &answer.text(false);
        Self::value(answer, &text, answer.output_tokens(), true)
    }

    /// The model's own end brings no text, but an event.
    fn ends_by_itself(answer: &Generation) -> bool {
        answer.finish == Some(Finish::Stop) || answer.frames.is_empty()
    }
}

impl Dialect for Sglang {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { sent, last, .. } = position;
        let mut text = String::new();
        let mut tokens = 0;
        for frame in &answer.frames {
            tokens += frame.tokens;
            if tokens > sent {
                break;
            }
            text.push_str(&frame.text);
        }
        let ended = last && !Self::ends_by_itself(answer);
        sse(&Self::value(answer, &text, sent, ended))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let end = Self::ends_by_itself(answer).then(|| sse(&Self::all(answer)));
        end.into_iter().chain([DONE]).collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        Self::all(answer).to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![sse(&failure()), DONE]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

fn failure() -> Value {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Surface::Sglang.error(status, "simulated failure during generation")
}
