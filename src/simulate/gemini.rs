//! The Gemini API: `generateContent` and `streamGenerateContent`.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::generation::{Finish, Generation, Wanted};
use super::openai::push_content;
use super::refusal::{Refusal, Surface};
use super::script::{Dialect, Framing, Position};
use super::vocabulary::Prompt;

/// Both versions of the API are in use, and alike in all that matters here.
pub(super) const MODELS: [&str; 2] = ["/v1beta/models/", "/v1/models/"];

/// The two generation endpoints. Their paths hold the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Whole,
    Stream,
}

impl Endpoint {
    /// The endpoint and the model of a path, if it is one of theirs.
    pub(super) fn of(path: &str) -> Option<(Self, String)> {
        let mut known = MODELS.iter();
        let call = known.find_map(|models| path.strip_prefix(models))?;
        let (model, method) = call.split_once(':')?;
        let endpoint = match method {
            "generateContent" => Self::Whole,
            "streamGenerateContent" => Self::Stream,
            _ => return None,
        };
        let model = percent_decode_str(model).decode_utf8().ok()?;
        Some((endpoint, model.into_owned()))
    }
}

/// The fields of a request that matter here; all others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    #[serde(default)]
    contents: Vec<Content>,
    system_instruction: Option<Content>,
    #[serde(default)]
    generation_config: GenerationConfig,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    role: String,
    parts: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GenerationConfig {
    max_output_tokens: Option<u32>,
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    /// Google's own client spells it as its protocol buffers do.
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
}

impl Request {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let request: Self = serde_json::from_slice(body).map_err(|error| {
            Refusal::bad_request(format!("Invalid JSON payload received. {error}"))
        })?;
        if request.contents.is_empty() {
            return Err(Refusal::bad_request(
                "* GenerateContentRequest.contents: contents is not specified",
            ));
        }
        Ok(request)
    }

    /// Counts the prompt.
    pub(super) fn prompt(&self, template: u32) -> Prompt {
        let mut prompt = Prompt::template(template);
        for content in self.system_instruction.iter().chain(&self.contents) {
            prompt.push_token(&content.role);
            push_content(&mut prompt, content.parts.as_ref());
        }
        prompt
    }

    /// Reads the limits. A model that reasons does so unless its budget is 0.
    pub(super) fn wanted(&self) -> Wanted {
        let config = &self.generation_config;
        let budget = config.thinking_config.as_ref();
        let budget = budget.and_then(|thinking| thinking.thinking_budget);
        Wanted {
            limit: config.max_output_tokens.filter(|limit| *limit > 0),
            no_reasoning: budget == Some(0),
            ..Wanted::default()
        }
    }
}

/// Writes answers as chunks that all have the form of a whole answer. Thoughts are always told, as the API
/// does where `includeThoughts` asks for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gemini;

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
    }
}

/// Counts that are zero are left out, as the API does.
fn usage(answer: &Generation, sent: u32) -> Value {
    let thoughts = answer.reasoning_tokens().min(sent);
    let counts = [
        ("promptTokenCount", answer.prompt_tokens),
        ("candidatesTokenCount", sent - thoughts),
        ("thoughtsTokenCount", thoughts),
        ("cachedContentTokenCount", answer.cached_tokens),
        ("totalTokenCount", answer.prompt_tokens.saturating_add(sent)),
    ];
    let told = counts.into_iter().filter(|(_, count)| *count > 0);
    let told = told.map(|(name, count)| (name.to_owned(), json!(count)));
    told.collect::<Map<String, Value>>().into()
}

fn chunk(answer: &Generation, parts: &[Value], finish: Option<Finish>, sent: u32) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let (Some(candidate), Some(finish)) = (candidate.as_object_mut(), finish) {
        candidate.insert("finishReason".to_owned(), json!(finish_reason(finish)));
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": usage(answer, sent),
        "modelVersion": answer.model,
        "responseId": format!("{:016x}", answer.id),
    })
}

fn part(text: &str, thought: bool) -> Value {
    match thought {
        true => json!({"text": text, "thought": true}),
        false => json!({"text": text}),
    }
}

fn sse(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn failure() -> Value {
    let status = http::StatusCode::SERVICE_UNAVAILABLE;
    let refusal = Refusal::new(status, "simulated failure during generation");
    refusal.body(Surface::Gemini, super::character::RuntimeFlavor::All)
}

impl Dialect for Gemini {
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn opening(&self, _answer: &Generation) -> Option<Bytes> {
        None
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        let Position { frame, sent, .. } = position;
        let part = part(&frame.text, frame.reasoning);
        sse(&chunk(answer, &[part], None, sent))
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        let total = answer.output_tokens();
        let last = |finish| sse(&chunk(answer, &[part("", false)], Some(finish), total));
        answer.finish.map(last).into_iter().collect()
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        let texts = [(answer.text(true), true), (answer.text(false), false)];
        let parts = texts.iter().filter(|(text, _)| !text.is_empty());
        let parts: Vec<Value> = parts.map(|(text, thought)| part(text, *thought)).collect();
        let body = chunk(answer, &parts, answer.finish, answer.output_tokens());
        body.to_string().into()
    }

    fn failure(&self) -> Vec<Bytes> {
        vec![sse(&failure())]
    }

    fn whole_failure(&self) -> Bytes {
        failure().to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_model_and_whether_it_streams() {
        let of = |path: &str| Endpoint::of(&format!("/v1beta/models/{path}"));
        let model = "a/b:1".to_owned();
        assert_eq!(
            of("a%2Fb%3A1:generateContent"),
            Some((Endpoint::Whole, model))
        );
        let streamed = of("m:streamGenerateContent");
        assert_eq!(streamed, Some((Endpoint::Stream, "m".to_owned())));
        assert_eq!(of("m:countTokens"), None);
        let stable = Endpoint::of("/v1/models/m:generateContent");
        assert_eq!(stable, Some((Endpoint::Whole, "m".to_owned())));
        assert_eq!(Endpoint::of("/v1/models/m"), None);
    }
}
