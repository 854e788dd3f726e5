//! LlamaEdge (`llama-api-server`): the OpenAI dialect, whose streams end without a reason.

use super::detect::{Question, text};
use super::openai::{OpenAi, OpenAiInterpreter};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::wire::Frame;

/// What stands where the text would, once the context is full. It is no token.
const CONTEXT_FULL: &str = "<|WASMEDGE-GGML-CONTEXT-FULL|>";

pub(super) struct LlamaEdge;

pub(super) const LLAMAEDGE: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/v1/info",
        models: "/v1/models",
        native: None,
        recognise: |answer| text(answer.get("api_server")?, &["version"]),
    }),
    owners: &["Not specified"],
    ..RuntimeSpec::new(
        "llamaedge",
        "LlamaEdge (WASM), by its OpenAI-compatible API",
        &LlamaEdge,
        "http://127.0.0.1:8080",
    )
};

impl Runtime for LlamaEdge {
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        OpenAi.encode(input)
    }

    fn interpreter(&self, _operation: Operation, stream: bool) -> Box<dyn Interpreter> {
        Box::new(LlamaEdgeInterpreter {
            inner: OpenAiInterpreter { stream },
            stream,
            finished: false,
        })
    }
}

struct LlamaEdgeInterpreter {
    inner: OpenAiInterpreter,
    stream: bool,
    finished: bool,
}

impl Interpreter for LlamaEdgeInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        let mut delta = self.inner.on_frame(frame);
        if delta.visible.as_deref() == Some(CONTEXT_FULL) {
            delta.visible = None;
        }
        self.finished |= delta.finish.is_some();
        // A reason comes only where the context ended the answer: neither the model's own end nor the
        // request's limit has one.
        if self.stream && delta.terminator && !self.finished {
            delta.finish = Some(FinishReason::Stop);
        }
        delta
    }
}
