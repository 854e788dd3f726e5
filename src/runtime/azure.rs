//! Azure OpenAI: the OpenAI dialect behind paths and a key header of its own. Its content filter speaks in
//! chunks without text, in the finish reason, and by refusing a prompt before the stream.

use super::openai::{OpenAiInterpreter, encode};
use super::request::segment;
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use http::header::HeaderName;
use serde_json::Value;

/// A scenario's `body` may have this, which then goes into the query: the API before its v1 has a date there.
const API_VERSION: &str = "api-version";

pub(super) struct AzureOpenAi;

pub(super) const AZURE_OPENAI: RuntimeSpec = RuntimeSpec {
    hosts: &["*.openai.azure.com"],
    ..RuntimeSpec::new(
        "azure-openai",
        "Azure OpenAI, by its v1 API or a dated one; the key travels as `api-key`",
        &AzureOpenAi,
        "https://my-resource.openai.azure.com",
    )
};

impl Runtime for AzureOpenAi {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        // Models that reason know the limit by its new name only, and the others by both.
        let (operation, limit) = match input.operation {
            Operation::Chat => ("chat/completions", "max_completion_tokens"),
            Operation::Completion => ("completions", "max_tokens"),
        };
        let mut generation = input.generation.clone();
        let path = match generation.extra_body.remove(API_VERSION) {
            None | Some(Value::Null) => format!("/openai/v1/{operation}"),
            Some(version) => {
                let version = version.as_str().map_or(version.to_string(), str::to_owned);
                let (model, version) = (segment(input.model), segment(&version));
                format!("/openai/deployments/{model}/{operation}?{API_VERSION}={version}")
            }
        };
        let generation = &generation;
        encode(
            path,
            limit,
            EncodeInput {
                generation,
                ..input
            },
        )
    }

    fn key_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("api-key"))
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(OpenAiInterpreter { stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Generation;
    use crate::workload::Prompt;
    use serde_json::json;

    fn request(extra: &Value, operation: Operation) -> (String, Value) {
        let generation = Generation {
            output_tokens: Some(8),
            temperature: None,
            extra_body: extra.as_object().cloned().unwrap(),
        };
        let prompt = Prompt {
            system: None,
            user: "hi".into(),
            generated_words: None,
        };
        let request = AzureOpenAi.encode(EncodeInput {
            model: "my gpt",
            operation,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        });
        let body = serde_json::from_slice(&request.body).unwrap();
        (request.path.into_owned(), body)
    }

    #[test]
    fn the_deployment_is_in_the_body_or_with_a_date_in_the_path() {
        let (path, body) = request(&json!({}), Operation::Chat);
        assert_eq!(path, "/openai/v1/chat/completions");
        assert_eq!(body["model"], "my gpt");
        assert_eq!(body["max_completion_tokens"], 8);
        let dated = json!({"api-version": "2024-10-21", "seed": 1});
        let (path, body) = request(&dated, Operation::Chat);
        let wanted = "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21";
        assert_eq!(path, wanted);
        assert_eq!((&body["seed"], body.get("api-version")), (&json!(1), None));
        let (path, body) = request(&json!({ "api-version": null }), Operation::Completion);
        assert_eq!(path, "/openai/v1/completions");
        assert_eq!(body["max_tokens"], 8);
    }
}
