//! TGI's `/generate` and `/generate_stream`, as version 3.3 answers.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, wanted};
use crate::simulate::generation::{Finish, Generation};
use crate::simulate::refusal::{Refusal, Surface};
use crate::simulate::script::{Dialect, Framing, Position};

#[derive(Deserialize)]
struct Request {
    inputs: String,
    model: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    max_new_tokens: Option<u32>,
    temperature: Option<f64>,
    #[serde(default)]
    details: bool,
}

pub(super) fn read(body: &[u8], stream: bool) -> Result<Asked, Refusal> {
    let refuse = |what: String| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, what);
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        refuse(format!(
            "Failed to deserialize the JSON body into the target type: {error}"
        ))
    })?;
    let invalid = |rule: &str| Err(refuse(format!("Input validation error: {rule}")));
    let Parameters {
        max_new_tokens,
        temperature,
        details,
    } = request.parameters;
    if request.inputs.is_empty() {
        return invalid("`inputs` cannot be empty");
    }
    if temperature.is_some_and(|temperature| temperature <= 0.0) {
        return invalid("`temperature` must be strictly positive");
    }
    if max_new_tokens == Some(0) {
        return invalid("`max_new_tokens` must be strictly positive");
    }
    Ok(Asked {
        model: request.model,
        prompt: request.inputs,
        wanted: wanted(max_new_tokens, false),
        stream,
        dialect: Box::new(Tgi { details }),
    })
}

struct Tgi {
    details: bool,
}

/// TGI has three reasons; a filter is none of them.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ContentFilter => "stop_sequence",
        Finish::Stop | Finish::Load | Finish::Unload => "eos_token",
    }
}

/// No space follows the colon there.
fn event(value: &Value) -> Bytes {
    format!("data:{value}\n\n").into()
}

impl Tgi {
    /// The model's own end is a token without text, in an event of its own.
    fn ends_by_itself(answer: &Generation) -> bool {
        answer.finish == Some(Finish::Stop) || answer.frames.is_empty()
    }

    fn details(&self, answer: &Generation) -> Value {
        match answer.finish {
            Some(finish) if self.details => json!({
                "finish_reason": reason(finish),
                "generated_tokens": answer.output_tokens(),
                "seed": null,
                "input_length": answer.prompt_tokens,
            }),
            _ => Value::Null,
        }
    }

    fn event(&self, answer: &Generation, token: Value, index: u32, last: bool) -> Bytes {
        event(&json!({
            "index": index,
            "token": token,
            "generated_text": last.then(|| answer.text(true) + &answer.text(false)),
            "details": if last { self.details(answer) } else { Value::Null },
        }))
    }
}

impl Dialect for Tgi {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, last } = position;
        let token = json!({"id": sent, "text": frame.text, "logprob": -0.5, "special": false});
        let last = last && !Self::ends_by_itself(answer);
        self.event(answer, token, sent, last)
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        if !Self::ends_by_itself(answer) {
            return Vec::new();
        }
        let end = json!({"id": 2, "text": "</s>", "logprob": -0.5, "special": true});
        let index = answer.output_tokens().saturating_add(1);
        vec![self.event(answer, end, index, true)]
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let mut body = json!({"generated_text": answer.text(true) + &answer.text(false)});
        let mut details = self.details(answer);
        if let Some(details) = details.as_object_mut() {
            // In this form TGI lists the tokens and leaves the prompt's number out.
            details.remove("input_length");
            details.insert("prefill".to_owned(), json!([]));
            details.insert("tokens".to_owned(), json!([]));
        }
        if let Some(body) = body.as_object_mut().filter(|_| !details.is_null()) {
            body.insert("details".to_owned(), details);
        }
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![event(&failure())]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

fn failure() -> Value {
    let status = StatusCode::FAILED_DEPENDENCY;
    let message = "Request failed during generation: simulated failure";
    Surface::Tgi.error(status, message)
}
