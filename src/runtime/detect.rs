//! Finds out what an endpoint speaks by asking it: Ollama's version, vLLM's version, llama.cpp's
//! props, TGI's info, SGLang's server info, LlamaEdge's info, the OpenAI model list.

use super::{RUNTIMES, RuntimeSpec, find};
use crate::transport::{AskError, Dialer, Endpoint, ask};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::time::Duration;

/// How long one question may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// What an endpoint turned out to be.
#[derive(Clone, Debug)]
pub struct Detection {
    /// The runtime.
    pub runtime: &'static RuntimeSpec,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// The models that it offers, in its own order.
    pub models: Vec<String>,
    /// What gave it away.
    pub evidence: String,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// Nobody there.
    #[error("`{url}` does not answer: {source}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: AskError,
    },
    /// The endpoint wants a key.
    #[error("`{url}` wants authentication (HTTP {status})\nhint: give the target an `auth`")]
    Unauthorized {
        /// Where.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// Somebody there, but no runtime that we know.
    #[error(
        "`{url}` is no runtime that Sonde knows\nhint: name it with `runtime:`; and the model with `model:`"
    )]
    Unknown {
        /// Where.
        url: String,
    },
}

/// One way to recognise a runtime.
pub(super) struct Question {
    /// Where it is asked.
    pub(super) path: &'static str,
    /// Where the models are listed: OpenAI's way, or Ollama's.
    pub(super) models: &'static str,
    /// The runtime's own dialect, and where the answer names its model: for a server that has no other.
    pub(super) native: Option<(&'static str, &'static [&'static str])>,
    /// Reads the version out of a JSON answer; `None` means "this is not it".
    pub(super) recognise: fn(&Value) -> Option<String>,
}

/// The text at the first of the keys that has one.
pub(super) fn text(answer: &Value, keys: &[&str]) -> Option<String> {
    keys.iter()
        .find_map(|key| answer.get(key)?.as_str())
        .map(str::to_owned)
}

/// Asks an endpoint what it is and which models it has.
///
/// # Errors
/// When nobody answers, a key is wanted, or nothing known is recognised.
pub async fn detect(endpoint: &Endpoint, dialer: &Dialer) -> Result<Detection, DetectError> {
    let mut asker = Asker {
        endpoint,
        dialer,
        unauthorized: None,
    };
    for spec in RUNTIMES {
        let Some(question) = &spec.question else {
            continue;
        };
        let Some(answer) = asker.json(question.path).await? else {
            continue;
        };
        let Some(version) = (question.recognise)(&answer) else {
            continue;
        };
        let native = match question.native {
            Some((name, keys)) if !asker.has_openai().await? => find(name).zip(Some(keys)),
            _ => None,
        };
        let (runtime, models) = match native {
            Some((runtime, keys)) => (runtime, text(&answer, keys).into_iter().collect()),
            None => {
                let listed = asker.json(question.models).await?.unwrap_or_default();
                // Several servers answer `/version`: whose models they are is a better witness.
                let models = model_ids(&listed).unwrap_or_default();
                (owner(&listed).unwrap_or(spec), models)
            }
        };
        return Ok(Detection {
            runtime,
            version: (!version.is_empty()).then_some(version),
            models,
            evidence: format!("GET {}", question.path),
        });
    }
    let listed = asker.json("/v1/models").await?;
    let found = listed.and_then(|answer| {
        let runtime = owner(&answer).or_else(|| find("openai"));
        Some((model_ids(&answer)?, runtime?))
    });
    let url = || endpoint.url();
    match (found, asker.unauthorized) {
        (Some((models, runtime)), _) => Ok(Detection {
            runtime,
            version: None,
            models,
            evidence: "GET /v1/models".to_owned(),
        }),
        (None, Some(status)) => Err(DetectError::Unauthorized { url: url(), status }),
        (None, None) => Err(DetectError::Unknown { url: url() }),
    }
}

impl Detection {
    /// The model to ask when none is named: the first that does not look made for embeddings.
    pub fn default_model(&self) -> Option<&str> {
        let models = self.models.iter().map(String::as_str);
        models
            .clone()
            .find(|model| !model.to_ascii_lowercase().contains("embed"))
            .or_else(|| models.clone().next())
    }
}

struct Asker<'a> {
    endpoint: &'a Endpoint,
    dialer: &'a Dialer,
    /// The status, where an answer wanted a key. Gateways give it for paths that they do not know,
    /// so it counts only when nothing else is found.
    unauthorized: Option<u16>,
}

impl Asker<'_> {
    /// The JSON at `path`; `None` where there is none.
    async fn json(&mut self, path: &str) -> Result<Option<Value>, DetectError> {
        match self.get(path).await? {
            (status @ (401 | 403), _) => {
                self.unauthorized = Some(status);
                Ok(None)
            }
            (200, body) => Ok(serde_json::from_slice(&body).ok()),
            _ => Ok(None),
        }
    }

    /// The status and the body at `path`.
    async fn get(&mut self, path: &str) -> Result<(u16, Bytes), DetectError> {
        let url = || self.endpoint.url();
        let asked = ask(
            self.endpoint,
            self.dialer,
            Method::GET,
            path,
            Bytes::new(),
            QUESTION_LIMIT,
        );
        let (head, body) = asked
            .await
            .map_err(|source| DetectError::Unreachable { url: url(), source })?;
        Ok((head.status.as_u16(), body.into()))
    }

    /// Whether anything of the OpenAI API is there. TGI had no chat before 1.4, and no list of models for a
    /// long time after; llama.cpp's server says 404 where the method alone is wrong. So both are asked.
    async fn has_openai(&mut self) -> Result<bool, DetectError> {
        for path in ["/v1/models", "/v1/chat/completions"] {
            if self.get(path).await?.0 != 404 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Ids of an OpenAI list (`data[].id`) or names of an Ollama list (`models[].name`).
fn model_ids(answer: &Value) -> Option<Vec<String>> {
    let list = answer
        .get("data")
        .or_else(|| answer.get("models"))?
        .as_array()?;
    let name = |entry: &Value| {
        let id = entry.get("id").or_else(|| entry.get("name"))?;
        id.as_str().map(str::to_owned)
    };
    Some(list.iter().filter_map(name).collect())
}

/// Some servers are known by whom their models "belong" to.
fn owner(answer: &Value) -> Option<&'static RuntimeSpec> {
    let owned_by = answer
        .pointer("/data/0/owned_by")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let of = |spec: &&RuntimeSpec| spec.owners.contains(&owned_by);
    RUNTIMES.iter().find(of)
}
