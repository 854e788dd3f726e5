//! Servers that speak the OpenAI dialect, each by its own name: that makes them comparable.

use super::RuntimeSpec;
use super::detect::{Question, text};
use super::openai::OpenAi;
use super::retrieval::{OpenAiEmbeddings, OpenAiRerank, Retrieval, Retriever};

/// Which of them a server really has is its model's to say.
const BOTH: &[(Retrieval, &dyn Retriever)] = &[
    (Retrieval::Embeddings, &OpenAiEmbeddings),
    (Retrieval::Rerank, &OpenAiRerank),
];

const EMBEDDINGS: &[(Retrieval, &dyn Retriever)] = &[(Retrieval::Embeddings, &OpenAiEmbeddings)];

pub(super) const SGLANG: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/get_server_info",
        models: "/v1/models",
        native: Some(("sglang-generate", &["served_model_name", "model_path"])),
        recognise: |answer| text(answer, &["version", "sglang_version"]),
    }),
    owners: &["sglang"],
    retrieval: BOTH,
    ..RuntimeSpec::new(
        "sglang",
        "SGLang's OpenAI-compatible server",
        &OpenAi,
        "http://127.0.0.1:30000",
    )
};

pub(super) const VLLM: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/version",
        models: "/v1/models",
        native: None,
        // LocalAI answers here too, with a `v` in front.
        recognise: |answer| {
            text(answer, &["version"]).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
        },
    }),
    owners: &["vllm"],
    retrieval: BOTH,
    ..RuntimeSpec::new(
        "vllm",
        "vLLM's OpenAI-compatible server",
        &OpenAi,
        "http://127.0.0.1:8000",
    )
};

pub(super) const TGI: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/info",
        models: "/v1/models",
        native: Some(("tgi-generate", &["model_id"])),
        recognise: |answer| {
            answer.get("model_id")?;
            text(answer, &["version"])
        },
    }),
    ..RuntimeSpec::new(
        "tgi",
        "Text Generation Inference, by its OpenAI-compatible route",
        &OpenAi,
        "http://127.0.0.1:8080",
    )
};

pub(super) const LLAMACPP: RuntimeSpec = RuntimeSpec {
    question: Some(Question {
        path: "/props",
        models: "/v1/models",
        native: Some(("llamacpp-completion", &["model_alias", "model_path"])),
        recognise: |answer| {
            answer.get("default_generation_settings")?;
            text(answer, &["build_info"]).or_else(|| Some(String::new()))
        },
    }),
    // `me` is llama-cpp-python.
    owners: &["llamacpp", "me"],
    retrieval: BOTH,
    ..RuntimeSpec::new(
        "llamacpp",
        "llama.cpp's server, and llama-cpp-python's",
        &OpenAi,
        "http://127.0.0.1:8080",
    )
};

pub(super) const LLAMAEDGE: RuntimeSpec = RuntimeSpec {
    owners: &["Not specified"],
    retrieval: EMBEDDINGS,
    ..RuntimeSpec::new(
        "llamaedge",
        "LlamaEdge (WASM), by its OpenAI-compatible API",
        &OpenAi,
        "http://127.0.0.1:8080",
    )
};

pub(super) const OPENAI: RuntimeSpec = RuntimeSpec {
    retrieval: BOTH,
    ..RuntimeSpec::new(
        "openai",
        "any server with the OpenAI API: chat and completions, server-sent events",
        &OpenAi,
        "https://api.openai.com",
    )
};
