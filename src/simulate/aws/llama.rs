//! Llama's own dialect on Bedrock: text in, text out, counts beside every piece.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;
use crate::simulate::generation::{Finish, Generation, Wanted};
use crate::simulate::openai::sse;
use crate::simulate::refusal::Refusal;
use crate::simulate::script::{Dialect, Framing, Position};
use crate::simulate::vocabulary::Prompt;

#[derive(Deserialize)]
struct Request {
    prompt: String,
    max_gen_len: Option<u32>,
}

pub(super) fn read(body: &Value) -> Result<Asked, Refusal> {
    let request = Request::deserialize(body)
        .map_err(|error| Refusal::bad_request(format!("Malformed input request: {error}")))?;
    let mut prompt = Prompt::template(0);
    prompt.push(&request.prompt);
    Ok(Asked {
        prompt,
        wanted: Wanted {
            limit: request.max_gen_len,
            no_reasoning: true,
            ..Wanted::default()
        },
        dialect: Box::new(Llama),
    })
}

struct Llama;

fn piece(text: &str, prompt_tokens: Option<u32>, sent: u32, finish: Option<Finish>) -> Value {
    let reason = finish.map(|finish| match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::ContentFilter | Finish::Load | Finish::Unload => "stop",
    });
    json!({
        "generation": text,
        "prompt_token_count": prompt_tokens,
        "generation_token_count": sent,
        "stop_reason": reason,
    })
}

impl Dialect for Llama {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let is_first = sent == frame.tokens;
        let prompt_tokens = is_first.then_some(answer.prompt_tokens);
        sse(&piece(&frame.text, prompt_tokens, sent, None))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        vec![sse(&piece("", None, answer.output_tokens(), answer.finish))]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let text = answer.text(true) + &answer.text(false);
        let count = answer.output_tokens();
        let body = piece(&text, Some(answer.prompt_tokens), count, answer.finish);
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        Vec::new()
    }

    fn whole_failure(&self) -> Bytes {
        let message = "simulated failure during generation";
        json!({"message": message}).to_string().into()
    }
}
