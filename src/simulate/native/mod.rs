//! The own dialects of servers that also speak OpenAI's: text in, text out, any model's name.

mod llamacpp;
mod sglang;
mod tgi;

use serde_json::Value;

use super::generation::Wanted;
use super::refusal::{Refusal, Surface};
use super::script::Dialect;

/// The generation endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    TgiGenerate,
    TgiGenerateStream,
    LlamaCppCompletion,
    SglangGenerate,
}

/// A request, as far as it matters here.
pub(super) struct Asked {
    pub(super) model: Option<String>,
    pub(super) prompt: String,
    pub(super) wanted: Wanted,
    pub(super) stream: bool,
    pub(super) dialect: Box<dyn Dialect>,
}

impl Endpoint {
    /// TGI and SGLang share a path, so where both are served the body tells them apart.
    pub(super) fn meant_by(self, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match self {
            Self::TgiGenerate if body.get("text").is_some() && body.get("inputs").is_none() => {
                Self::SglangGenerate
            }
            _ => self,
        }
    }

    /// The form of its errors.
    pub(super) fn surface(self) -> Surface {
        match self {
            Self::TgiGenerate | Self::TgiGenerateStream => Surface::Tgi,
            Self::LlamaCppCompletion => Surface::LlamaCpp,
            Self::SglangGenerate => Surface::Sglang,
        }
    }

    /// Reads a request body.
    pub(super) fn read(self, body: &[u8]) -> Result<Asked, Refusal> {
        match self {
            Self::TgiGenerate => tgi::read(body, false),
            Self::TgiGenerateStream => tgi::read(body, true),
            Self::LlamaCppCompletion => llamacpp::read(body),
            Self::SglangGenerate => sglang::read(body),
        }
    }
}

/// What a request wants that may take so many tokens. A text-only answer has no hidden part.
fn wanted(limit: Option<u32>, ignore_stop: bool) -> Wanted {
    Wanted {
        limit,
        ignore_stop,
        no_reasoning: true,
        ..Wanted::default()
    }
}
