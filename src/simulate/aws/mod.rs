//! Amazon's services that serve models: Bedrock's Converse and InvokeModel, and SageMaker's endpoints.

mod converse;
mod envelope;
mod llama;
mod signature;

use http::{HeaderName, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::anthropic::{self, Anthropic};
use super::character::{Character, RuntimeFlavor};
use super::generation::Wanted;
use super::native;
use super::openai;
use super::refusal::{Refusal, Surface};
use super::script::Dialect;
use super::vocabulary::Prompt;
use converse::{Carrier, Converse};
use envelope::{Chunks, Parts};
pub(super) use signature::check as check_signature;
pub use signature::{AwsKey, AwsKeyError};

/// Tells an error's name.
pub(super) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The generation endpoints. Their paths hold the model, or the endpoint that SageMaker has it behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Converse { stream: bool },
    Invoke { stream: bool },
    SageMaker { stream: bool },
}

/// A request, as far as it matters here.
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    pub(super) wanted: Wanted,
    pub(super) dialect: Box<dyn Dialect>,
}

impl Endpoint {
    /// The endpoint and the name in a path, if it is one of theirs.
    pub(super) fn of(path: &str) -> Option<(Self, String)> {
        let (collection, rest) = path.strip_prefix('/')?.split_once('/')?;
        let (name, operation) = rest.split_once('/')?;
        let endpoint = match (collection, operation) {
            ("model", "converse") => Self::Converse { stream: false },
            ("model", "converse-stream") => Self::Converse { stream: true },
            ("model", "invoke") => Self::Invoke { stream: false },
            ("model", "invoke-with-response-stream") => Self::Invoke { stream: true },
            ("endpoints", "invocations") => Self::SageMaker { stream: false },
            ("endpoints", "invocations-response-stream") => Self::SageMaker { stream: true },
            _ => return None,
        };
        let name = percent_decode_str(name).decode_utf8().ok()?;
        Some((endpoint, name.into_owned()))
    }

    /// The form of its errors.
    pub(super) fn surface(self) -> Surface {
        match self {
            Self::Converse { .. } | Self::Invoke { .. } => Surface::Bedrock,
            Self::SageMaker { .. } => Surface::SageMaker,
        }
    }

    /// Whether the answer is a stream: the path says so.
    pub(super) fn streams(self) -> bool {
        let (Self::Converse { stream } | Self::Invoke { stream } | Self::SageMaker { stream }) =
            self;
        stream
    }

    /// Reads a request body for the model of this name.
    pub(super) fn read(
        self,
        name: &str,
        body: &[u8],
        character: &Character,
    ) -> Result<Asked, Refusal> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
        match self {
            Self::Converse { .. } => converse(&body, Carrier::Messages, character),
            Self::Invoke { .. } => {
                let mut asked = invoke(name, body, character)?;
                asked.dialect = Box::new(Chunks {
                    inner: asked.dialect,
                });
                Ok(asked)
            }
            Self::SageMaker { stream } => {
                let mut asked = container(body, stream, character)?;
                asked.dialect = Box::new(Parts {
                    inner: asked.dialect,
                });
                Ok(asked)
            }
        }
    }
}

/// Providers, whose names stand in front of their models' ids.
const PROVIDERS: [&str; 5] = ["anthropic", "meta", "amazon", "mistral", "openai"];

/// The provider in a model's id or resource name, and what follows it: `meta` and `sim` of `eu.meta.sim`.
fn provider(name: &str) -> Option<(&'static str, &str)> {
    let id = name.rsplit('/').next()?;
    PROVIDERS.iter().find_map(|known| {
        let (area, rest) = id.split_once(known)?;
        let is_first = area.is_empty() || area.ends_with('.');
        Some((*known, rest.strip_prefix('.')?)).filter(|_| is_first)
    })
}

/// The served model that is meant.
pub(super) fn served_name(name: &str) -> &str {
    match provider(name) {
        Some((_, rest)) => rest.strip_prefix("nova-").unwrap_or(rest),
        None => name,
    }
}

fn converse(body: &Value, carrier: Carrier, character: &Character) -> Result<Asked, Refusal> {
    let request = converse::Request::parse(body)?;
    Ok(Asked {
        prompt: request.prompt(character.template_tokens),
        wanted: request.wanted(),
        dialect: Box::new(Converse { carrier }),
    })
}

/// What a family of models takes for itself.
fn invoke(name: &str, mut body: Value, character: &Character) -> Result<Asked, Refusal> {
    match provider(name) {
        Some(("anthropic", _)) => {
            if body.get("anthropic_version") != Some(&json!("bedrock-2023-05-31")) {
                let message = "anthropic_version: Field required";
                return Err(Refusal::bad_request(message));
            }
            forbid(&body, &["model", "stream"])?;
            set(&mut body, "model", name.into());
            let request = anthropic::Request::parse(body.to_string().as_bytes())?;
            Ok(Asked {
                prompt: request.prompt(character.template_tokens),
                wanted: request.wanted(),
                dialect: Box::new(Anthropic),
            })
        }
        Some(("meta", _)) => llama::read(&body),
        Some(("amazon", _)) => converse(&body, Carrier::Keys, character),
        _ => {
            forbid(&body, &["stream", "stream_options"])?;
            openai(body, true, character)
        }
    }
}

/// What SageMaker passes on to a container.
fn container(body: Value, stream: bool, character: &Character) -> Result<Asked, Refusal> {
    if body.get("inputs").is_none() {
        return openai(body, stream, character);
    }
    let kind = match stream {
        true => native::Endpoint::TgiGenerateStream,
        false => native::Endpoint::TgiGenerate,
    };
    let asked = kind.read(body.to_string().as_bytes())?;
    let mut prompt = Prompt::template(0);
    prompt.push(&asked.prompt);
    Ok(Asked {
        prompt,
        wanted: asked.wanted,
        dialect: asked.dialect,
    })
}

fn openai(mut body: Value, stream: bool, character: &Character) -> Result<Asked, Refusal> {
    set(&mut body, "stream", stream.into());
    set(
        &mut body,
        "stream_options",
        json!({"include_usage": stream}),
    );
    let kind = match body.get("prompt") {
        Some(_) => openai::Endpoint::Completions,
        None => openai::Endpoint::Chat,
    };
    let request = openai::Request::parse(body.to_string().as_bytes())?;
    Ok(Asked {
        prompt: request.prompt(kind, character.template_tokens)?,
        wanted: request.wanted()?,
        dialect: Box::new(request.dialect(kind, RuntimeFlavor::All)),
    })
}

fn set(body: &mut Value, key: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Bedrock refuses fields that a model's own API has for what is in the path here.
fn forbid(body: &Value, fields: &[&str]) -> Result<(), Refusal> {
    match fields.iter().find(|field| body.get(**field).is_some()) {
        Some(field) => {
            let message = format!("{field}: Extra inputs are not permitted");
            Err(Refusal::bad_request(message))
        }
        None => Ok(()),
    }
}

/// An error as these services have it.
pub(super) struct ServiceError {
    pub(super) status: StatusCode,
    pub(super) name: &'static str,
    pub(super) body: Value,
}

/// SageMaker reports a failure of the container as one of its own, and tells the container's status beside.
pub(super) fn error(surface: Surface, refusal: &Refusal) -> ServiceError {
    let (code, message) = (refusal.status.as_u16(), &refusal.message);
    let sagemaker = surface == Surface::SageMaker;
    let (status, name) = match code {
        400 | 413 | 422 => (
            400,
            if sagemaker {
                "ValidationError"
            } else {
                "ValidationException"
            },
        ),
        401 | 403 => (403, "AccessDeniedException"),
        404 if sagemaker => (400, "ValidationError"),
        404 => (404, "ResourceNotFoundException"),
        429 => (429, "ThrottlingException"),
        503 if sagemaker => (503, "ServiceUnavailable"),
        503 => (503, "ServiceUnavailableException"),
        _ if sagemaker => (424, "ModelError"),
        _ => (500, "InternalServerException"),
    };
    let body = match (sagemaker, name) {
        (true, "ModelError") => json!({
            "ErrorCode": "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": "",
            "Message": format!("the model's container answered with status {code}: {message}"),
            "OriginalMessage": message,
            "OriginalStatusCode": code,
        }),
        (true, _) => json!({"Message": message}),
        (false, _) => json!({"message": message}),
    };
    ServiceError {
        status: StatusCode::from_u16(status).unwrap_or(refusal.status),
        name: refusal.name.unwrap_or(name),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_name_and_whether_it_streams() {
        let found = Endpoint::of("/model/eu.meta.sim-v1%3A0/converse-stream");
        let name = "eu.meta.sim-v1:0".to_owned();
        assert_eq!(found, Some((Endpoint::Converse { stream: true }, name)));
        let found = Endpoint::of("/endpoints/e/invocations");
        assert_eq!(
            found,
            Some((Endpoint::SageMaker { stream: false }, "e".to_owned()))
        );
        assert_eq!(Endpoint::of("/model/m/count-tokens"), None);
        assert_eq!(Endpoint::of("/models/m/invoke"), None);
    }

    #[test]
    fn a_model_is_found_behind_its_provider() {
        for (name, served) in [
            ("sim", "sim"),
            ("eu.meta.sim", "sim"),
            ("amazon.nova-sim", "sim"),
            (
                "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.sim",
                "sim",
            ),
        ] {
            assert_eq!(served_name(name), served);
        }
    }
}
