//! What the runtime says about itself and its models.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::character::RuntimeFlavor;
use super::engine::{Engine, Model};
use crate::base::clock::wall_now;

/// Owner of every model, so that nobody takes it for a real one.
const OWNER: &str = "sonde-simulate";

/// Versions that the real runtimes had when this was written; the suffix says whose they are.
const VLLM_VERSION: &str = "0.11.0+sonde-simulate";
const LLAMACPP_BUILD: &str = "b0-sonde-simulate";
const TGI_VERSION: &str = "3.3.6-sonde-simulate";
const TEI_VERSION: &str = "1.8.2-sonde-simulate";
const SGLANG_VERSION: &str = "0.5.3+sonde-simulate";
const OLLAMA_VERSION: &str = "0.17.4-sonde-simulate";

/// Bytes that a model claims to have.
const MODEL_BYTES: u64 = 1 << 30;

/// `/v1/models`.
pub(super) fn openai_models(engine: &Engine) -> Value {
    let character = &engine.character;
    let models = engine.models.iter().map(|model| {
        let id = if character.flavor == RuntimeFlavor::Ollama {
            tagged(&model.name)
        } else {
            model.name.clone()
        };
        let mut entry = json!({"id": id, "object": "model", "created": 0, "owned_by": OWNER});
        let details = match character.flavor {
            RuntimeFlavor::Ollama => None,
            RuntimeFlavor::LlamaCpp => {
                Some(("meta", json!({"n_ctx_train": character.context_tokens})))
            }
            _ => Some(("max_model_len", json!(character.context_tokens))),
        };
        if let (Some(entry), Some((key, value))) = (entry.as_object_mut(), details) {
            entry.insert(key.to_owned(), value);
        }
        entry
    });
    json!({"object": "list", "data": models.collect::<Vec<_>>()})
}

/// vLLM's `/version`.
pub(super) fn vllm_version() -> Value {
    json!({ "version": VLLM_VERSION })
}

/// TGI's `/info`.
pub(super) fn tgi_info(engine: &Engine) -> Value {
    let context = engine.character.context_tokens;
    json!({
        "model_id": first_model(engine),
        "max_concurrent_requests": engine.character.slots,
        "max_input_tokens": context.saturating_sub(1),
        "max_total_tokens": context,
        "router": "text-generation-router",
        "version": TGI_VERSION,
    })
}

/// The same of Text Embeddings Inference.
pub(super) fn tei_info(engine: &Engine) -> Value {
    json!({
        "model_id": first_model(engine),
        "model_dtype": "float32",
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": engine.character.slots,
        "max_input_length": engine.character.context_tokens,
        "max_client_batch_size": 32,
        "auto_truncate": false,
        "version": TEI_VERSION,
    })
}

/// SGLang's `/get_server_info`.
pub(super) fn sglang_server_info(engine: &Engine) -> Value {
    json!({
        "model_path": first_model(engine),
        "served_model_name": first_model(engine),
        "context_length": engine.character.context_tokens,
        "version": SGLANG_VERSION,
    })
}

fn first_model(engine: &Engine) -> &str {
    engine
        .models
        .first()
        .map_or("none", |model| model.name.as_str())
}

/// llama.cpp's `/props`.
pub(super) fn llamacpp_props(engine: &Engine) -> Value {
    let character = &engine.character;
    let model = first_model(engine);
    json!({
        "default_generation_settings": {
            "id": 0,
            "n_ctx": character.context_tokens,
            "is_processing": false,
            "params": {"n_predict": -1, "seed": character.seed, "stream": true},
        },
        "total_slots": character.slots,
        "model_alias": model,
        "model_path": format!("/simulated/{model}.gguf"),
        "modalities": {"vision": false, "audio": false},
        "chat_template": "{{ messages }}",
        "build_info": LLAMACPP_BUILD,
    })
}

/// Ollama's `/api/version`.
pub(super) fn ollama_version() -> Value {
    json!({ "version": OLLAMA_VERSION })
}

/// Ollama's `/api/tags`.
pub(super) fn ollama_tags(engine: &Engine) -> Value {
    let models = engine.models.iter().map(|model| {
        json!({
            "name": tagged(&model.name),
            "model": tagged(&model.name),
            "modified_at": Timestamp::UNIX_EPOCH.to_string(),
            "size": MODEL_BYTES,
            "digest": digest(&model.name),
            "details": details(),
        })
    });
    json!({"models": models.collect::<Vec<_>>()})
}

/// Ollama's `/api/ps`: the models in memory.
pub(super) fn ollama_ps(engine: &Engine) -> Value {
    let now = Instant::now();
    let loaded = |model: &&std::sync::Arc<Model>| model.residence.lock().is_loaded(now);
    let models = engine.models.iter().filter(loaded).map(|model| {
        json!({
            "name": tagged(&model.name),
            "model": tagged(&model.name),
            "size": MODEL_BYTES,
            "digest": digest(&model.name),
            "details": details(),
            "expires_at": expiry(model, now).to_string(),
            "size_vram": MODEL_BYTES,
            "context_length": engine.character.context_tokens,
        })
    });
    json!({"models": models.collect::<Vec<_>>()})
}

/// When the model leaves memory; one that stays says a year, one in use five minutes.
fn expiry(model: &Model, now: Instant) -> Timestamp {
    const STAYS: std::time::Duration = std::time::Duration::from_hours(24 * 365);
    let expires_at = model.residence.lock().expires_at();
    let left = expires_at.map_or(STAYS, |at| at.saturating_duration_since(now));
    wall_now().saturating_add(left).unwrap_or(Timestamp::MAX)
}

/// Ollama's `/api/show`.
pub(super) fn ollama_show(engine: &Engine) -> Value {
    let mut capabilities = vec!["completion"];
    if engine.character.reasoning_tokens > 0 {
        capabilities.push("thinking");
    }
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), json!("simulated"));
    info.insert("general.parameter_count".to_owned(), json!(0));
    info.insert(
        "simulated.context_length".to_owned(),
        json!(engine.character.context_tokens),
    );
    json!({
        "modelfile": "# simulated by sonde\n",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": Timestamp::UNIX_EPOCH.to_string(),
    })
}

fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "simulated",
        "families": ["simulated"],
        "parameter_size": "0",
        "quantization_level": "none",
    })
}

/// As Ollama lists it: with a tag.
fn tagged(name: &str) -> String {
    if name.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// Looks like a SHA-256, but is only different for each name.
fn digest(name: &str) -> String {
    (0..4_u8)
        .map(|part| {
            let mut hasher = DefaultHasher::new();
            (name, part).hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        })
        .collect()
}
