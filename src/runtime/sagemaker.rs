//! Amazon SageMaker's real-time endpoints: the container behind one speaks its own dialect, which the service carries
//! as it is in a whole answer, and in pieces within an event stream in `invocations-response-stream`.

use super::openai::OpenAi;
use super::tgi::Tgi;
use super::{
    EncodeInput, EncodedRequest, Generation, Interpreter, Operation, Runtime, RuntimeSpec, aws,
    request,
};
use crate::measure::delta::Delta;
use crate::wire::{Frame, FrameKind, Framing};
use http::StatusCode;
use http::header::HeaderMap;
use serde_json::Value;

/// Endpoints by what their container speaks.
pub(super) struct SageMaker {
    container: &'static dyn Runtime,
}

pub(super) const SAGEMAKER: RuntimeSpec = RuntimeSpec {
    hosts: &["runtime.sagemaker.*.amazonaws.com"],
    ..RuntimeSpec::new(
        "sagemaker",
        "an Amazon SageMaker endpoint whose container takes OpenAI's messages (LMI, vLLM, SGLang, TGI); requests are signed",
        &SageMaker { container: &OpenAi },
        "https://runtime.sagemaker.eu-central-1.amazonaws.com",
    )
};

pub(super) const SAGEMAKER_TGI: RuntimeSpec = RuntimeSpec::new(
    "sagemaker-tgi",
    "an Amazon SageMaker endpoint whose container takes TGI's `inputs` and `parameters`; requests are signed",
    &SageMaker { container: &Tgi },
    "https://runtime.sagemaker.eu-central-1.amazonaws.com",
);

impl Runtime for SageMaker {
    /// The model is the endpoint. Containers know theirs by other names, and answer without one; a scenario's `body`
    /// may give it.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        let mut generation: Generation = input.generation.clone();
        generation.extra_body.entry("model").or_insert(Value::Null);
        let operation = match input.stream {
            true => "invocations-response-stream",
            false => "invocations",
        };
        let path = format!("/endpoints/{}/{operation}", request::segment(input.model));
        let stream = input.stream;
        let within = self.container.encode(EncodeInput {
            generation: &generation,
            ..input
        });
        aws::encoded(path, stream, within.body)
    }

    fn aws_service(&self) -> Option<&'static str> {
        Some("sagemaker")
    }

    fn framing(&self, stream: bool) -> Framing {
        match stream {
            true => Framing::PayloadParts,
            false => Framing::WholeBody,
        }
    }

    fn interpreter(&self, operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(SageMakerInterpreter {
            container: self.container.interpreter(operation, stream),
            finished: false,
        })
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (StatusCode, Option<String>) {
        aws::refusal(status, headers, body)
    }

    fn counts_natively(&self) -> bool {
        self.container.counts_natively()
    }
}

struct SageMakerInterpreter {
    container: Box<dyn Interpreter>,
    finished: bool,
}

impl Interpreter for SageMakerInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        if frame.kind == FrameKind::Fault {
            return aws::fault(frame);
        }
        let delta = self.container.on_frame(Frame {
            data: only_one(frame.data),
            ..frame
        });
        self.finished |= delta.finish.is_some();
        delta
    }

    /// LMI's lines of JSON, and TGI before version 2, have no other last word than the reason to stop.
    fn ends_with_body(&self) -> bool {
        self.finished || self.container.ends_with_body()
    }
}

/// TGI answers a whole request here with a list of one answer.
fn only_one(data: &[u8]) -> &[u8] {
    let list = data.trim_ascii().strip_prefix(b"[");
    let one = list.and_then(|list| list.strip_suffix(b"]"));
    match one {
        Some(one) if one.trim_ascii_start().starts_with(b"{") => one,
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::delta::FinishReason;
    use crate::workload::Prompt;
    use serde_json::json;

    fn body(spec: &RuntimeSpec, extra: Value) -> Value {
        let generation = Generation {
            output_tokens: Some(7),
            extra_body: extra.as_object().cloned().unwrap(),
            ..Generation::default()
        };
        let prompt = Prompt {
            system: None,
            user: "Hi".to_owned(),
            generated_words: None,
        };
        let request = spec.adapter.encode(EncodeInput {
            model: "my-endpoint",
            operation: Operation::Chat,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        });
        assert_eq!(
            request.path,
            "/endpoints/my-endpoint/invocations-response-stream"
        );
        serde_json::from_slice(&request.body).unwrap()
    }

    #[test]
    fn the_endpoint_is_in_the_path_and_the_containers_model_only_where_it_is_given() {
        let wanted = json!({
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 7,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        assert_eq!(body(&SAGEMAKER, json!({})), wanted);
        let named = body(&SAGEMAKER, json!({"model": "lmi"}));
        assert_eq!(named["model"], "lmi");
        let wanted = json!({
            "inputs": "Hi",
            "parameters": {"details": true, "max_new_tokens": 7},
            "stream": true,
        });
        assert_eq!(body(&SAGEMAKER_TGI, json!({})), wanted);
    }

    #[test]
    fn a_list_of_one_answer_is_that_answer() {
        let data = r#" [{"generated_text":" [a]","details":{"finish_reason":"length","generated_tokens":2}}]"#;
        let mut reader = SAGEMAKER_TGI.adapter.interpreter(Operation::Chat, false);
        let delta = reader.on_frame(Frame::bare(data.as_bytes()));
        assert_eq!(delta.visible.as_deref(), Some(" [a]"));
        assert_eq!(delta.finish, Some(FinishReason::Length));
        assert_eq!(only_one(b"[DONE]"), b"[DONE]");
    }
}
