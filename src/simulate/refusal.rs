//! Answers that are errors, in the form that each runtime gives them.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::aws;
use super::character::RuntimeFlavor;
use super::fault::{Fault, FaultTuning};

/// Which API the client spoke: it decides the form of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    OpenAi,
    Ollama,
    Anthropic,
    Gemini,
    Vertex,
    Bedrock,
    SageMaker,
    Azure,
    Tgi,
    LlamaCpp,
    Sglang,
    Triton,
    Cohere,
    Tei,
}

impl Surface {
    /// An error in the form of an API that always has the same.
    pub(super) fn error(self, status: StatusCode, message: &str) -> Value {
        // Only the OpenAI API has a form for each flavor.
        Refusal::new(status, message).body(self, RuntimeFlavor::All)
    }
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// What the API calls it, where the status alone does not tell.
    pub(super) name: Option<&'static str>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// An error with nothing but status and message.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            name: None,
            retry_after: None,
        }
    }

    /// Status 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Status 404 for a model.
    pub(super) fn model_not_found(surface: Surface, flavor: RuntimeFlavor, model: &str) -> Self {
        let message = match (surface, flavor) {
            (Surface::Anthropic, _) => format!("model: {model}"),
            (Surface::Gemini, _) => format!("models/{model} is not found for API version v1beta"),
            (Surface::Vertex, _) => format!(
                "Publisher Model `{model}` was not found or your project does not have access to it."
            ),
            (Surface::Azure, _) => {
                "The API deployment for this resource does not exist.".to_owned()
            }
            (Surface::Triton, _) => {
                format!("Request for unknown model: '{model}' is not found")
            }
            (Surface::Ollama | Surface::Cohere, _) | (_, RuntimeFlavor::Ollama) => {
                format!("model '{model}' not found")
            }
            _ => format!("The model `{model}` does not exist."),
        };
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The error that a fault stands for, if it replaces the answer.
    pub(super) fn of_fault(fault: Fault, tuning: FaultTuning) -> Option<Self> {
        let (status, message) = match fault {
            Fault::BadRequest => (StatusCode::BAD_REQUEST, "simulated bad request"),
            Fault::Unauthorized => (StatusCode::UNAUTHORIZED, "simulated: the key is not valid"),
            Fault::ModelNotFound => (StatusCode::NOT_FOUND, "simulated: the model does not exist"),
            Fault::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "simulated rate limit"),
            Fault::ServerError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "simulated internal error",
            ),
            Fault::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "simulated: overloaded"),
            _ => return None,
        };
        let mut refusal = Self::new(status, message);
        refusal.retry_after = (fault == Fault::RateLimited).then_some(tuning.retry_after);
        Some(refusal)
    }

    /// The JSON body.
    pub(super) fn body(&self, surface: Surface, flavor: RuntimeFlavor) -> Value {
        let (message, code) = (&self.message, self.status.as_u16());
        match (surface, flavor) {
            (Surface::Ollama | Surface::Triton, _) => json!({ "error": message }),
            (Surface::Cohere, _) => json!({"id": "simulated", "message": message}),
            (Surface::Anthropic, _) => {
                let error = json!({"type": anthropic_kind(code), "message": message});
                json!({"type": "error", "error": error, "request_id": null})
            }
            (Surface::Gemini | Surface::Vertex, _) => {
                let status = google_status(code);
                json!({"error": {"code": code, "message": message, "status": status}})
            }
            (Surface::Bedrock | Surface::SageMaker, _) => aws::error(surface, self).body,
            (Surface::Azure, _) => {
                let code = match code {
                    400 => "BadRequest".to_owned(),
                    404 => "DeploymentNotFound".to_owned(),
                    other => other.to_string(),
                };
                json!({"error": {"code": code, "message": message}})
            }
            (Surface::Sglang, _) => json!({"error": {"message": message}}),
            (Surface::Tgi, _) => {
                let kind = match code {
                    400 | 422 => "validation",
                    429 => "overloaded",
                    500 => "incomplete_generation",
                    _ => "generation",
                };
                json!({"error": message, "error_type": kind})
            }
            (Surface::Tei, _) => {
                let kind = match code {
                    400 | 413 => "Validation",
                    422 => "Tokenizer",
                    429 => "Overloaded",
                    503 => "Unhealthy",
                    _ => "Backend",
                };
                json!({"error": message, "error_type": kind})
            }
            (_, RuntimeFlavor::Ollama) => {
                let bad_request = self.status == StatusCode::BAD_REQUEST;
                let kind = if bad_request {
                    "invalid_request_error"
                } else {
                    "api_error"
                };
                json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
            }
            (Surface::LlamaCpp, _) | (_, RuntimeFlavor::LlamaCpp) => {
                let kind = match code {
                    400 => "invalid_request_error",
                    401 => "authentication_error",
                    404 => "not_found_error",
                    503 => "unavailable_error",
                    _ => "server_error",
                };
                json!({"error": {"code": code, "message": message, "type": kind}})
            }
            // vLLM's authentication sits in front of its API and has its own form.
            (_, RuntimeFlavor::Vllm) if code == 401 => json!({"error": "Unauthorized"}),
            _ => {
                let kind = match code {
                    400 => "BadRequestError",
                    401 => "AuthenticationError",
                    404 => "NotFoundError",
                    429 => "RateLimitError",
                    503 => "ServiceUnavailableError",
                    _ => "InternalServerError",
                };
                if flavor == RuntimeFlavor::TensorRtLlm {
                    return json!({"object": "error", "message": message, "type": kind, "code": code});
                }
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
        }
    }
}

fn anthropic_kind(code: u16) -> &'static str {
    match code {
        400 => "invalid_request_error",
        401 => "authentication_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        _ => "api_error",
    }
}

/// Names of `google.rpc.Code`, as HTTP maps them.
fn google_status(code: u16) -> &'static str {
    match code {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_surface_has_its_own_form() {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "gone");
        let form = |surface, flavor| refusal.body(surface, flavor).to_string();
        let ollama = form(Surface::Ollama, RuntimeFlavor::All);
        assert_eq!(ollama, r#"{"error":"gone"}"#);
        let llamacpp = form(Surface::OpenAi, RuntimeFlavor::LlamaCpp);
        assert_eq!(
            llamacpp,
            r#"{"error":{"code":404,"message":"gone","type":"not_found_error"}}"#
        );
        let vllm = form(Surface::OpenAi, RuntimeFlavor::Vllm);
        assert!(vllm.contains(r#""type":"NotFoundError""#), "{vllm}");
    }

    #[test]
    fn only_a_rate_limit_says_when_to_come_back() {
        let tuning = FaultTuning::default();
        let limited = Refusal::of_fault(Fault::RateLimited, tuning).unwrap();
        assert_eq!(limited.retry_after, Some(tuning.retry_after));
        assert_eq!(
            Refusal::of_fault(Fault::ServerError, tuning)
                .unwrap()
                .retry_after,
            None
        );
        assert_eq!(Refusal::of_fault(Fault::Stall, tuning), None);
    }
}
