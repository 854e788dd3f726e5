//! The Gemini API (`generateContent` and `streamGenerateContent?alt=sse`): server-sent events without
//! a last word. The stream is complete when its body ends after a finish reason.

use super::request::{drop_nulls, encoded, segment};
use super::retrieval::{GeminiEmbeddings, Retrieval};
use super::text::{Text, error_text, parse};
use super::{EncodeInput, EncodedRequest, Interpreter, Operation, Runtime, RuntimeSpec};
use crate::measure::delta::{Delta, FinishReason};
use crate::measure::tokens::Usage;
use crate::wire::Frame;
use http::header::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Collections that a model's full name begins with.
const COLLECTIONS: [&str; 2] = ["models/", "tunedModels/"];

pub(super) struct Gemini;

pub(super) const GEMINI: RuntimeSpec = RuntimeSpec {
    hosts: &["generativelanguage.googleapis.com"],
    retrieval: &[(Retrieval::Embeddings, &GeminiEmbeddings)],
    ..RuntimeSpec::new(
        "gemini",
        "the Gemini API, server-sent events; the key travels as `x-goog-api-key`",
        &Gemini,
        "https://generativelanguage.googleapis.com",
    )
};

impl Runtime for Gemini {
    /// Chat and completion are the same here: there is one operation.
    fn encode(&self, input: EncodeInput<'_>) -> EncodedRequest {
        encode(&format!("/v1beta/{}", resource(input.model)), input)
    }

    fn key_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("x-goog-api-key"))
    }

    fn interpreter(&self, _operation: Operation, _stream: bool) -> Box<dyn Interpreter> {
        Box::<GeminiInterpreter>::default()
    }
}

/// A request for the model at this path.
pub(super) fn encode(model: &str, input: EncodeInput<'_>) -> EncodedRequest {
    let mut generation = Map::new();
    if let Some(tokens) = input.generation.output_tokens {
        generation.insert("maxOutputTokens".into(), tokens.into());
    }
    if let Some(temperature) = input.generation.temperature {
        generation.insert("temperature".into(), temperature.into());
    }
    let mut body = json!({
        "contents": [{ "role": "user", "parts": [{ "text": input.prompt.user }] }],
    });
    if let Value::Object(map) = &mut body {
        if let Some(system) = &input.prompt.system {
            let system = json!({ "parts": [{ "text": &**system }] });
            map.insert("systemInstruction".into(), system);
        }
        let mut extra = input.generation.extra_body.clone();
        if let Some(Value::Object(more)) = extra.remove("generationConfig") {
            generation.extend(more);
        }
        drop_nulls(&mut generation);
        if !generation.is_empty() {
            map.insert("generationConfig".into(), generation.into());
        }
        map.extend(extra);
        drop_nulls(map);
    }
    let method = match input.stream {
        true => "streamGenerateContent?alt=sse",
        false => "generateContent",
    };
    encoded(format!("{model}:{method}"), input.stream, &body)
}

/// `models/…` in the form that a path can hold, whether or not the name has its collection already.
pub(super) fn resource(model: &str) -> String {
    let known = COLLECTIONS
        .iter()
        .find_map(|collection| Some((*collection, model.strip_prefix(collection)?)));
    let (collection, name) = known.unwrap_or(("models/", model));
    format!("{collection}{}", segment(name))
}

#[derive(Default)]
pub(super) struct GeminiInterpreter {
    finished: bool,
}

impl Interpreter for GeminiInterpreter {
    fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Delta<'a> {
        let chunk = match parse::<Chunk<'a>>(frame.data) {
            Ok(chunk) => chunk,
            Err(error) => {
                return Delta::malformed(format!("a chunk is not the expected JSON: {error}"));
            }
        };
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            // Vertex AI may find only then that too much is asked of it.
            return match error.get("code").and_then(Value::as_u64) {
                Some(429) => Delta::throttled(in_words(&error)),
                _ => Delta::in_band(in_words(&error)),
            };
        }
        let nothing = chunk.candidates.is_none() && chunk.prompt_feedback.is_none();
        if nothing && chunk.usage_metadata.is_none() {
            return Delta::malformed("a chunk has neither `candidates` nor `usageMetadata`");
        }
        let refused = chunk
            .prompt_feedback
            .is_some_and(|feedback| feedback.block_reason.is_some());
        let mut delta = Delta {
            finish: refused.then_some(FinishReason::ContentFilter),
            usage: chunk.usage_metadata.map(UsageMetadata::counts),
            model: chunk.model_version.map(|text| text.0),
            ..Delta::default()
        };
        // We never ask for more than one candidate.
        if let Some(candidate) = chunk.candidates.into_iter().flatten().next() {
            let reason = candidate.finish_reason.map(|text| finish(&text.0));
            delta.finish = reason.or(delta.finish);
            let content = candidate.content.and_then(|content| content.parts);
            for part in content.into_iter().flatten() {
                part.add_to(&mut delta);
            }
        }
        self.finished |= delta.finish.is_some();
        delta
    }

    /// Older models gave a reason in every chunk, so the first is no last word.
    fn ends_with_body(&self) -> bool {
        self.finished
    }
}

fn finish(reason: &str) -> FinishReason {
    match reason {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "LANGUAGE"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        other => FinishReason::parse(&other.to_ascii_lowercase()),
    }
}

/// The status goes first: `UNAVAILABLE` is shorter than what its message makes of it.
pub(super) fn in_words(error: &Value) -> String {
    let text = error_text(error);
    match error.get("status").and_then(Value::as_str) {
        Some(status) => super::text::one_line(&format!("{status}: {text}")),
        None => text,
    }
}

/// A chunk of a stream, or a whole answer: they have the same form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow)]
    model_version: Option<Text<'a>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(default)]
    thought: bool,
    function_call: Option<Value>,
    executable_code: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Text<'a>>,
}

/// Cumulative where it comes with every chunk.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    /// The whole prompt, what a cache held included.
    prompt_token_count: Option<u64>,
    /// The answer without the thoughts.
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl UsageMetadata {
    fn counts(self) -> Usage {
        let output = [self.candidates_token_count, self.thoughts_token_count];
        let output = output.into_iter().flatten().reduce(u64::saturating_add);
        Usage {
            input: self.prompt_token_count,
            output,
            cached: self.cached_content_token_count,
            reasoning: self.thoughts_token_count,
        }
    }
}

impl<'a> Part<'a> {
    /// A call of a function, and code that the model runs, are the answer that a caller waits for.
    fn add_to(self, delta: &mut Delta<'a>) {
        let call = self.function_call.or(self.executable_code);
        // An empty one ends a call that came in parts.
        let call = call.filter(|call| call.as_object().is_none_or(|fields| !fields.is_empty()));
        let call = call.map(|call| Cow::Owned(call.to_string()));
        let text = self.text.map(|text| text.0);
        let place = match self.thought {
            true => &mut delta.reasoning,
            false => &mut delta.visible,
        };
        for said in [text, call].into_iter().flatten() {
            *place = Some(match place.take() {
                Some(before) => before + said,
                None => said,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Generation;
    use crate::workload::Prompt;

    fn frame(data: &str) -> Frame<'_> {
        Frame::bare(data.as_bytes())
    }

    fn reader() -> GeminiInterpreter {
        GeminiInterpreter::default()
    }

    fn encoded(model: &str, extra: Value) -> (String, Value) {
        let generation = Generation {
            output_tokens: Some(8),
            temperature: Some(0.5),
            extra_body: extra.as_object().cloned().unwrap(),
        };
        let prompt = Prompt {
            system: None,
            user: "hi".into(),
            generated_words: None,
        };
        let request = Gemini.encode(EncodeInput {
            model,
            operation: Operation::Chat,
            stream: true,
            prompt: &prompt,
            generation: &generation,
        });
        let body = serde_json::from_slice(&request.body).unwrap();
        (request.path.into_owned(), body)
    }

    #[test]
    fn a_model_is_one_segment_of_the_path_whatever_its_name() {
        let path = |model| encoded(model, json!({})).0;
        let method = ":streamGenerateContent?alt=sse";
        for (model, segment) in [
            ("gemini-3.7-flash", "models/gemini-3.7-flash"),
            ("models/gemini-3.7-flash", "models/gemini-3.7-flash"),
            ("tunedModels/mine_1", "tunedModels/mine_1"),
            ("a/b:c?d", "models/a%2Fb%3Ac%3Fd"),
        ] {
            assert_eq!(path(model), format!("/v1beta/{segment}{method}"));
        }
    }

    #[test]
    fn extra_settings_of_the_generation_join_ours() {
        let extra =
            json!({ "generationConfig": { "topK": 1, "temperature": null }, "safetySettings": [] });
        let (_, body) = encoded("m", extra);
        let wanted = json!({ "maxOutputTokens": 8, "topK": 1 });
        assert_eq!(body["generationConfig"], wanted);
        assert_eq!(body["safetySettings"], json!([]));
    }

    #[test]
    fn thoughts_are_output_but_not_of_the_candidates() {
        let data = r#"{"candidates":[{"content":{"parts":[{"text":"so ","thought":true},{"text":"Hi"},{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"thoughtsTokenCount":94,"cachedContentTokenCount":3},"modelVersion":"m-1"}"#;
        let mut reader = reader();
        let delta = reader.on_frame(frame(data));
        assert_eq!(delta.visible.as_deref(), Some("Hi!"));
        assert_eq!(delta.reasoning.as_deref(), Some("so "));
        assert_eq!(delta.finish, Some(FinishReason::Stop));
        let usage = delta.usage.unwrap();
        assert_eq!((usage.input, usage.cached), (Some(7), Some(3)));
        assert_eq!((usage.output, usage.reasoning), (Some(96), Some(94)));
    }

    #[test]
    fn a_reason_is_needed_for_the_bodys_end_to_be_the_answers() {
        let mut reader = reader();
        reader.on_frame(frame(
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
        ));
        assert!(!reader.ends_with_body());
        let delta = reader.on_frame(frame(r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#));
        assert_eq!(
            (delta.finish, delta.terminator),
            (Some(FinishReason::Length), false)
        );
        assert!(reader.ends_with_body());
    }

    #[test]
    fn a_call_in_parts_is_visible_but_for_its_empty_end() {
        let read = |part: &str| {
            let data = format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}"#);
            let delta = reader().on_frame(frame(&data)).visible;
            delta.map(Cow::into_owned)
        };
        let named = read(r#"{"functionCall":{"name":"w","args":{"a":1}},"thoughtSignature":"x"}"#);
        assert!(named.unwrap().contains(r#""name":"w""#));
        assert_eq!(read(r#"{"functionCall":{}}"#), None);
    }

    #[test]
    fn a_refusal_before_or_within_the_answer_is_a_filter() {
        for data in [
            r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9}}"#,
            r#"{"candidates":[{"finishReason":"SAFETY","index":0}]}"#,
        ] {
            let delta = reader().on_frame(frame(data));
            assert_eq!(delta.finish, Some(FinishReason::ContentFilter), "{data}");
        }
        let odd = finish("MALFORMED_FUNCTION_CALL");
        assert_eq!(odd, FinishReason::Other("malformed_function_call".into()));
    }

    #[test]
    fn an_error_inside_the_stream_is_in_band() {
        let data =
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
        let said = Delta::in_band("UNAVAILABLE: The model is overloaded.");
        assert_eq!(reader().on_frame(frame(data)), said);
    }

    #[test]
    fn what_is_not_the_dialect_is_malformed() {
        for data in ["nonsense", "{}", r#"{"candidates":3}"#, "null"] {
            let fault = reader().on_frame(frame(data)).fault;
            assert!(
                matches!(fault, Some(crate::measure::delta::Fault::Malformed(_))),
                "{data}"
            );
        }
    }
}
