//! Azure OpenAI: OpenAI's answers behind paths of its own, with the content filter's words in front.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::generation::Generation;
use super::openai::{Endpoint, OpenAi, sse};
use super::script::{Dialect, Framing, Position};

/// What a path means, and the deployment that it names, as all but the newest do.
pub(super) fn endpoint(path: &str) -> Option<(Endpoint, Option<String>)> {
    let rest = path.strip_prefix("/openai/")?;
    let (name, operation) = match rest.strip_prefix("deployments/") {
        Some(rest) => {
            let (name, operation) = rest.split_once('/')?;
            let name = percent_decode_str(name).decode_utf8().ok()?;
            (Some(name.into_owned()), operation)
        }
        None => (None, rest.strip_prefix("v1/")?),
    };
    let endpoint = match operation {
        "chat/completions" => Endpoint::Chat,
        "completions" => Endpoint::Completions,
        _ => return None,
    };
    Some((endpoint, name))
}

/// Writes answers as OpenAI does, after a chunk about the prompt alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Azure(pub(super) OpenAi);

impl Dialect for Azure {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn opening(&self, answer: &Generation) -> Option<Bytes> {
        let verdict = json!({"hate": {"filtered": false, "severity": "safe"}});
        let filter = json!({"prompt_index": 0, "content_filter_results": verdict});
        let chunk = sse(&json!({
            "id": "",
            "object": "",
            "created": 0,
            "model": "",
            "choices": [],
            "prompt_filter_results": [filter],
        }));
        let role = self.0.opening(answer).unwrap_or_default();
        Some([chunk, role].concat().into())
    }

    fn token(&self, answer: &Generation, position: Position<'_>) -> Bytes {
        self.0.token(answer, position)
    }

    fn tail(&self, answer: &Generation) -> Vec<Bytes> {
        self.0.tail(answer)
    }

    fn whole(&self, answer: &Generation) -> Bytes {
        self.0.whole(answer)
    }

    fn failure(&self) -> Vec<Bytes> {
        self.0.failure()
    }

    fn whole_failure(&self) -> Bytes {
        self.0.whole_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_deployment_unless_it_is_the_newest() {
        let dated = endpoint("/openai/deployments/my%20gpt/chat/completions");
        assert_eq!(dated, Some((Endpoint::Chat, Some("my gpt".to_owned()))));
        let newest = endpoint("/openai/v1/completions");
        assert_eq!(newest, Some((Endpoint::Completions, None)));
        for path in [
            "/v1/chat/completions",
            "/openai/v1/models",
            "/openai/deployments/m",
        ] {
            assert_eq!(endpoint(path), None, "{path}");
        }
    }
}
