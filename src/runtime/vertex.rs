//! Vertex AI of Google Cloud: Gemini's dialect, and Anthropic's, behind paths that name project and location, which
//! stand in the target's URL.

use super::anthropic::Anthropic;
use super::gemini::{self, GeminiInterpreter};
use super::request::{encoded_without, segment};
use super::text::one_line;
use super::{
    EncodeInput, EncodedRequest, Interpreter, ModelProblem, Operation, Runtime, RuntimeSpec,
};
use serde_json::{Value, json};

/// Which form of Anthropic's API is spoken here.
const ANTHROPIC_VERSION: &str = "vertex-2023-10-16";

pub(super) struct Vertex;

pub(super) struct VertexAnthropic;

pub(super) const VERTEX: RuntimeSpec = RuntimeSpec {
    hosts: &[
        "aiplatform.googleapis.com",
        "*-aiplatform.googleapis.com",
        "aiplatform.*.rep.googleapis.com",
    ],
    ..RuntimeSpec::new(
        "vertex",
        "Gemini on Google Cloud's Vertex AI, server-sent events; with an access token of Google's",
        &Vertex,
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west4",
    )
};

pub(super) const VERTEX_ANTHROPIC: RuntimeSpec = RuntimeSpec::new(
    "vertex-anthropic",
    "Claude on Google Cloud's Vertex AI, server-sent events; with an access token of Google's",
    &VertexAnthropic,
    "https://europe-west1-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west1",
);

impl Runtime for Vertex {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        gemini::encode(&resource("google", input.model), input)
    }

    fn takes_google_tokens(&self) -> bool {
        true
    }

    fn check_model(&self, model: &str) -> Result<(), ModelProblem> {
        check_model(model)
    }

    fn interpreter(&self, _operation: Operation, _stream: bool) -> Box<dyn Interpreter> {
        Box::<GeminiInterpreter>::default()
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        error_message(body)
    }
}

impl Runtime for VertexAnthropic {
    /// The model is in the path only, and the version in the body.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let version = [("anthropic_version", json!(ANTHROPIC_VERSION))];
        let operation = match input.stream {
            true => "streamRawPredict",
            false => "rawPredict",
        };
        let path = format!("{}:{operation}", resource("anthropic", input.model));
        let mut request = encoded_without(&Anthropic, input, &["model"], version);
        request
            .headers
            .retain(|(name, _)| *name != "anthropic-version");
        EncodedRequest {
            path: path.into(),
            ..request
        }
    }

    fn takes_google_tokens(&self) -> bool {
        true
    }

    fn check_model(&self, model: &str) -> Result<(), ModelProblem> {
        check_model(model)
    }

    fn interpreter(&self, operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Anthropic.interpreter(operation, stream)
    }

    /// What Google refuses, it says in its own form.
    fn error_message(&self, body: &[u8]) -> Option<String> {
        error_message(body).or_else(|| Anthropic.error_message(body))
    }
}

/// Where a model is below the URL: a publisher's, or one of the project's own that an endpoint serves.
fn resource(publisher: &str, model: &str) -> String {
    if let Some(id) = model.strip_prefix("endpoints/") {
        return format!("/endpoints/{}", segment(id));
    }
    let named = model.strip_prefix("publishers/");
    match named.and_then(|named| named.split_once("/models/")) {
        Some((publisher, name)) => {
            format!(
                "/publishers/{}/models/{}",
                segment(publisher),
                segment(name)
            )
        }
        None => format!("/publishers/{publisher}/models/{}", segment(model)),
    }
}

/// Project and location are the URL's.
fn check_model(model: &str) -> Result<(), ModelProblem> {
    match model.starts_with("projects/") {
        true => Err(ModelProblem {
            rule: "begins with `projects/`, which is a part of `url`",
            remedy: "write what stands behind the location, such as `publishers/google/models/…`, or only the model",
        }),
        false => Ok(()),
    }
}

/// In Google's form, the status first.
fn error_message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    // Without server-sent events, a stream is a list.
    let error = answer
        .get("error")
        .or_else(|| answer.get(0)?.get("error"))?;
    error.get("status")?;
    Some(one_line(&gemini::in_words(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Generation, of_host};
    use crate::workload::Prompt;

    fn encoded(spec: &RuntimeSpec, model: &str, stream: bool) -> (EncodedRequest, Value) {
        let prompt = Prompt {
            system: Some("Be brief.".into()),
            user: "hi".into(),
            generated_words: None,
        };
        let generation = Generation {
            output_tokens: Some(8),
            ..Generation::default()
        };
        let request = spec.adapter.encode(EncodeInput {
            model,
            operation: Operation::Chat,
            stream,
            prompt: &prompt,
            generation: &generation,
        });
        let body = serde_json::from_slice(&request.body).unwrap();
        (request, body)
    }

    #[test]
    fn a_model_is_a_publishers_or_an_endpoints() {
        for (model, path) in [
            (
                "gemini-3.7-flash",
                "/publishers/google/models/gemini-3.7-flash",
            ),
            (
                "publishers/meta/models/x@1",
                "/publishers/meta/models/x%401",
            ),
            ("endpoints/123", "/endpoints/123"),
        ] {
            let (request, _) = encoded(&VERTEX, model, true);
            assert_eq!(
                request.path,
                format!("{path}:streamGenerateContent?alt=sse")
            );
            let (request, _) = encoded(&VERTEX, model, false);
            assert_eq!(request.path, format!("{path}:generateContent"));
        }
        let whole = "projects/p/locations/l/publishers/google/models/m";
        assert!(VERTEX.adapter.check_model(whole).is_err());
    }

    #[test]
    fn claude_is_asked_in_its_own_words_but_for_model_and_version() {
        let (request, body) = encoded(&VERTEX_ANTHROPIC, "claude-x@20991231", true);
        let path = "/publishers/anthropic/models/claude-x%4020991231:streamRawPredict";
        assert_eq!(request.path, path);
        assert!(
            request
                .headers
                .iter()
                .all(|(name, _)| *name != "anthropic-version")
        );
        let wanted = json!({
            "anthropic_version": "vertex-2023-10-16",
            "max_tokens": 8,
            "messages": [{"role": "user", "content": "hi"}],
            "stream": true,
            "system": "Be brief.",
        });
        assert_eq!(body, wanted);
        let (request, _) = encoded(&VERTEX_ANTHROPIC, "m", false);
        assert!(request.path.ends_with("/models/m:rawPredict"));
    }

    #[test]
    fn every_location_has_its_host() {
        for host in [
            "aiplatform.googleapis.com",
            "europe-west4-aiplatform.googleapis.com",
            "aiplatform.eu.rep.googleapis.com",
        ] {
            assert_eq!(of_host(host), Some(&VERTEX), "{host}");
        }
        for host in [
            "-aiplatform.googleapis.com",
            "x-aiplatform.googleapis.com.example",
        ] {
            assert_eq!(of_host(host), None, "{host}");
        }
    }

    #[test]
    fn a_refusal_is_in_googles_form_or_in_anthropics() {
        let google = r#"[{"error":{"code":401,"message":"No.","status":"UNAUTHENTICATED"}}]"#;
        let own = r#"{"type":"error","error":{"type":"invalid_request_error","message":"No."}}"#;
        for (spec, body, wanted) in [
            (&VERTEX, google, "UNAUTHENTICATED: No."),
            (&VERTEX_ANTHROPIC, google, "UNAUTHENTICATED: No."),
            (&VERTEX_ANTHROPIC, own, "invalid_request_error: No."),
        ] {
            let said = spec.adapter.error_message(body.as_bytes());
            assert_eq!(said.as_deref(), Some(wanted));
        }
    }
}
