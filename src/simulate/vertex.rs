//! Vertex AI: the answers of Gemini and of Anthropic behind paths of its own.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::anthropic;
use super::refusal::Refusal;

/// The generation endpoints. Their paths hold the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Gemini { stream: bool },
    Anthropic { stream: bool },
}

impl Endpoint {
    /// The endpoint and the model of a path, if it is one of theirs: below a project's location, or, for whoever has
    /// a key, below the version alone.
    pub(super) fn of(path: &str) -> Option<(Self, String)> {
        let (version, rest) = path.strip_prefix("/v1")?.split_once('/')?;
        if !["", "beta1"].contains(&version) {
            return None;
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let (publisher, call) = match *parts.as_slice() {
            [
                "projects",
                _,
                "locations",
                _,
                "publishers",
                publisher,
                "models",
                call,
            ]
            | ["publishers", publisher, "models", call] => (publisher, call),
            ["projects", _, "locations", _, "endpoints", call] => ("google", call),
            _ => return None,
        };
        let (model, method) = call.split_once(':')?;
        let endpoint = match (publisher, method) {
            ("google", "generateContent") => Self::Gemini { stream: false },
            ("google", "streamGenerateContent") => Self::Gemini { stream: true },
            ("anthropic", "rawPredict") => Self::Anthropic { stream: false },
            ("anthropic", "streamRawPredict") => Self::Anthropic { stream: true },
            _ => return None,
        };
        let model = percent_decode_str(model).decode_utf8().ok()?;
        Some((endpoint, model.into_owned()))
    }

    pub(super) fn streams(self) -> bool {
        match self {
            Self::Gemini { stream } | Self::Anthropic { stream } => stream,
        }
    }
}

/// Reads a request of Anthropic's form, whose model is in the path and whose version in the body.
pub(super) fn read_anthropic(
    body: &[u8],
    stream: bool,
    model: &str,
) -> Result<anthropic::Request, Refusal> {
    let mut fields: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("cannot read the request: {error}")))?;
    // `vertex-2023-10-16`; Anthropic's own client of late 2026 names a date of its API here.
    if !fields
        .get("anthropic_version")
        .is_some_and(Value::is_string)
    {
        return Err(Refusal::bad_request("anthropic_version: Field required"));
    }
    if fields.get("model").is_some() {
        let message = "model: Extra inputs are not permitted";
        return Err(Refusal::bad_request(message));
    }
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("model".to_owned(), model.into());
    }
    let request = anthropic::Request::parse(fields.to_string().as_bytes())?;
    match request.stream == stream {
        true => Ok(request),
        false => Err(Refusal::bad_request(
            "simulated: `stream` is not what the path says",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_publisher_model_and_whether_it_streams() {
        let place = "projects/p/locations/europe-west4";
        let gemini = Endpoint::Gemini { stream: true };
        let claude = Endpoint::Anthropic { stream: false };
        for (path, wanted, model) in [
            (
                format!("/v1/{place}/publishers/google/models/m:streamGenerateContent"),
                gemini,
                "m",
            ),
            (
                "/v1beta1/publishers/google/models/m:streamGenerateContent".to_owned(),
                gemini,
                "m",
            ),
            (
                format!("/v1/{place}/endpoints/1:streamGenerateContent"),
                gemini,
                "1",
            ),
            (
                format!("/v1/{place}/publishers/anthropic/models/c%401:rawPredict"),
                claude,
                "c@1",
            ),
        ] {
            let found = Endpoint::of(&path);
            assert_eq!(found, Some((wanted, model.to_owned())), "{path}");
        }
        for path in [
            "/v1beta/models/m:generateContent",
            "/v1/models/m:generateContent",
            "/v1/publishers/google/models/m:rawPredict",
            "/v1/publishers/google/models/m",
        ] {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
    }
}
