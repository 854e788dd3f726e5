//! `/v2`: Triton's generate extension, as its vLLM backend answers, and the text generation of KServe's Open
//! Inference Protocol on the same paths.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::engine::Engine;
use super::generation::{Finish, Generation, Wanted};
use super::openai::sse;
use super::refusal::{Refusal, Surface};
use super::script::{Dialect, Framing, Position};

/// The backend's own default, in tokens.
const MAX_TOKENS: u32 = 16;

/// What the real one had when this was written; the suffix says whose it is.
const VERSION: &str = "2.62.0-sonde-simulate";

const EXTENSIONS: [&str; 3] = ["model_repository", "model_configuration", "parameters"];

/// What is behind a model's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Generate,
    GenerateStream,
    Ready,
    Metadata,
}

impl Endpoint {
    /// The endpoint and the model of a path, if it is one of theirs. There is one version of each model.
    pub(super) fn of(path: &str) -> Option<(Self, String)> {
        let (model, rest) = match path.strip_prefix("/v2/models/")?.split_once('/') {
            Some((model, rest)) => (model, Some(rest)),
            None => (path.strip_prefix("/v2/models/")?, None),
        };
        let endpoint = match rest.map(|rest| rest.strip_prefix("versions/1/").unwrap_or(rest)) {
            Some("generate") => Self::Generate,
            Some("generate_stream") => Self::GenerateStream,
            Some("ready") => Self::Ready,
            None | Some("versions/1") => Self::Metadata,
            Some(_) => return None,
        };
        let model = percent_decode_str(model).decode_utf8().ok()?;
        Some((endpoint, model.into_owned()))
    }

    pub(super) fn generates(self) -> bool {
        matches!(self, Self::Generate | Self::GenerateStream)
    }
}

/// A request, as far as it matters here.
pub(super) struct Request {
    pub(super) prompt: String,
    pub(super) wanted: Wanted,
    pub(super) dialect: Triton,
}

impl Request {
    /// Reads a request body. Both protocols have the same paths; only Triton's models take a `stream`.
    pub(super) fn parse(body: &[u8], endpoint: Endpoint, all: bool) -> Result<Self, Refusal> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            Refusal::bad_request(format!("failed to parse the request: {error}"))
        })?;
        let Some(Value::String(prompt)) = fields.remove("text_input") else {
            let message = "expected 1 inputs but got 0 inputs: `text_input` is missing";
            return Err(Refusal::bad_request(message));
        };
        // Whether a field is among the parameters or beside them makes no difference.
        if let Some(Value::Object(parameters)) = fields.remove("parameters") {
            fields.extend(parameters);
        }
        let is = |name: &str| fields.get(name) == Some(&Value::Bool(true));
        let limit = fields.get("max_tokens").and_then(Value::as_u64);
        let form = match all && !fields.contains_key("stream") {
            true => Form::OpenInference,
            false => Form::Triton {
                echo: (!is("exclude_input_in_output")).then(|| prompt.clone()),
                reasons: is("return_finish_reason"),
                input_tokens: is("return_num_input_tokens"),
                output_tokens: is("return_num_output_tokens"),
            },
        };
        if endpoint == Endpoint::Generate && is("stream") {
            let message = "generate expects model to produce exactly 1 response, use generate stream for model that generates various number of responses";
            return Err(Refusal::bad_request(message));
        }
        Ok(Self {
            wanted: Wanted {
                limit: Some(
                    limit.map_or(MAX_TOKENS, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
                ),
                ignore_stop: is("ignore_eos"),
                // A text-only answer has no hidden part.
                no_reasoning: true,
                only: None,
                reads_only: false,
            },
            prompt,
            dialect: Triton { form },
        })
    }
}

/// What is told beside the text.
enum Form {
    Triton {
        /// What a whole answer begins with; the backend never streams it.
        echo: Option<String>,
        reasons: bool,
        input_tokens: bool,
        output_tokens: bool,
    },
    OpenInference,
}

/// Writes answers in the form that was asked for.
pub(super) struct Triton {
    form: Form,
}

/// `Some(None)` where the answer ends for no reason.
type Ended = Option<Option<Finish>>;

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::ContentFilter | Finish::Load | Finish::Unload => "stop",
    }
}

impl Triton {
    /// The model's own end brings no text, but an event.
    fn ends_by_itself(answer: &Generation) -> bool {
        answer.finish == Some(Finish::Stop) || answer.frames.is_empty()
    }

    fn value(&self, answer: &Generation, text: &str, tokens: u32, ended: Ended) -> Value {
        let mut value =
            json!({"model_name": answer.model, "model_version": "1", "text_output": text});
        let finish = ended.flatten().map(reason);
        let mut told = Vec::with_capacity(3);
        match &self.form {
            Form::Triton {
                reasons,
                input_tokens,
                output_tokens,
                ..
            } => {
                if *reasons {
                    told.push(("finish_reason", json!(finish.unwrap_or("None"))));
                }
                if *input_tokens {
                    told.push(("num_input_tokens", json!(answer.prompt_tokens)));
                }
                if *output_tokens {
                    told.push(("num_output_tokens", json!(tokens)));
                }
            }
            Form::OpenInference => {
                told.push(("done", json!(ended.is_some())));
                if let Some(finish) = finish {
                    told.push(("details", json!({"finish_reason": finish})));
                }
            }
        }
        if let Some(value) = value.as_object_mut() {
            value.extend(told.into_iter().map(|(name, told)| (name.to_owned(), told)));
        }
        value
    }
}

impl Dialect for Triton {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, last, .. } = position;
        let ended = (last && !Self::ends_by_itself(answer)).then_some(answer.finish);
        sse(&self.value(answer, &frame.text, frame.tokens, ended))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let end = || sse(&self.value(answer, "", 0, Some(answer.finish)));
        Self::ends_by_itself(answer).then(end).into_iter().collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let text = answer.text(true) + &answer.text(false);
        let text = match &self.form {
            Form::Triton {
                echo: Some(prompt), ..
            } => format!("{prompt}{text}"),
            _ => text,
        };
        let tokens = answer.output_tokens();
        let mut value = self.value(answer, &text, tokens, Some(answer.finish));
        if let Some(value) = value.as_object_mut() {
            // In this form there is nothing that could be not done, and all tokens are listed.
            value.remove("done");
            if let Some(details) = value.get_mut("details").and_then(Value::as_object_mut) {
                let tokens = answer.frames.iter().flat_map(|frame| {
                    let token =
                        json!({"id": 1, "logprob": -0.5, "special": false, "text": frame.text});
                    std::iter::repeat_n(token, frame.tokens as usize)
                });
                details.insert("logprobs".to_owned(), tokens.collect());
            }
        }
        value.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![sse(&failure())]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

fn failure() -> Value {
    let status = http::StatusCode::BAD_REQUEST;
    Surface::Triton.error(status, "simulated failure during generation")
}

/// `/v2`.
pub(super) fn server() -> Value {
    json!({"name": "triton", "version": VERSION, "extensions": EXTENSIONS})
}

/// `/v2/repository/index`.
pub(super) fn index(engine: &Engine) -> Value {
    let ready = |name: &str| json!({"name": name, "version": "1", "state": "READY"});
    engine
        .models
        .iter()
        .map(|model| ready(&model.name))
        .collect()
}

/// `/v2/models/MODEL`.
pub(super) fn metadata(model: &str) -> Value {
    let tensor =
        |name: &str, datatype: &str| json!({"name": name, "datatype": datatype, "shape": [1]});
    json!({
        "name": model,
        "versions": ["1"],
        "platform": "vllm",
        "inputs": [tensor("text_input", "BYTES"), tensor("stream", "BOOL")],
        "outputs": [tensor("text_output", "BYTES")],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_model_and_what_is_wanted_of_it() {
        let of = |path: &str| Endpoint::of(&format!("/v2/models/{path}"));
        let model = |name: &str| name.to_owned();
        let streamed = (Endpoint::GenerateStream, model("a/b:1"));
        assert_eq!(of("a%2Fb%3A1/generate_stream"), Some(streamed));
        let version = (Endpoint::Generate, model("m"));
        assert_eq!(of("m/versions/1/generate"), Some(version));
        assert_eq!(of("m/ready"), Some((Endpoint::Ready, model("m"))));
        assert_eq!(of("m"), Some((Endpoint::Metadata, model("m"))));
        assert_eq!(of("m/versions/2/generate"), None);
        assert_eq!(of("m/infer"), None);
    }

    #[test]
    fn a_stream_among_the_parameters_makes_the_request_one_for_triton() {
        let parse = |body: Value, all| {
            let body = body.to_string();
            Request::parse(body.as_bytes(), Endpoint::GenerateStream, all).map(|request| {
                let limit = request.wanted.limit.unwrap();
                (matches!(request.dialect.form, Form::OpenInference), limit)
            })
        };
        let nested = json!({"text_input": "x", "parameters": {"stream": true, "max_tokens": 3}});
        assert_eq!(parse(nested, true), Ok((false, 3)));
        let beside = json!({"text_input": "x", "stream": true, "max_tokens": 3});
        assert_eq!(parse(beside, true), Ok((false, 3)));
        let bare = json!({"text_input": "x"});
        assert_eq!(parse(bare.clone(), true), Ok((true, MAX_TOKENS)));
        assert_eq!(parse(bare, false), Ok((false, MAX_TOKENS)));
    }

    #[test]
    fn a_request_without_a_text_or_for_a_stream_in_one_piece_is_refused() {
        for body in [
            json!({"inputs": "x"}),
            json!({"text_input": "x", "stream": true}),
        ] {
            let body = body.to_string();
            let refused = Request::parse(body.as_bytes(), Endpoint::Generate, false);
            assert_eq!(refused.err().unwrap().status, http::StatusCode::BAD_REQUEST);
        }
    }
}
