//! What there is to say of each runtime, from its entry and its adapter alone: what is said here is what is done.

use super::{EncodeInput, Generation, Operation, RUNTIMES, RetrievalInput, Retriever, RuntimeSpec};
use crate::wire::Framing;
use crate::workload::{Prompt, Texts};
use serde::Serialize;
use serde_json::Map;

/// What a runtime takes and gives.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RuntimeDescription {
    /// The value of `runtime`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// A URL as a configuration has it.
    pub url: &'static str,
    /// What is asked, each once: paths behind the URL, `MODEL` for the model's name.
    pub requests: Vec<Request>,
    /// How a streamed answer is cut.
    pub stream: &'static str,
    /// How requests prove who asks: how the key of `auth` travels, or that they are signed.
    pub key: String,
    /// Who counts the answer's tokens: `usage` or `runtime`, as in the label `source`.
    pub counts: &'static str,
    /// How `auto` finds it; absent where it must be named.
    pub found_by: Option<String>,
}

/// One operation's request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The operations that it serves: values of a scenario's `operation`.
    pub operations: Vec<&'static str>,
    /// The path of a streamed answer, and its query.
    pub path: String,
}

impl RuntimeSpec {
    /// Says what there is to say.
    pub fn describe(&self) -> RuntimeDescription {
        let adapter = self.adapter;
        RuntimeDescription {
            name: self.name,
            summary: self.summary,
            url: self.url,
            requests: self.requests(),
            stream: match adapter.framing(true) {
                _ if !self.generates => "none",
                Framing::Sse => "server-sent events",
                Framing::Ndjson => "newline-delimited JSON",
                Framing::EventStream => "event stream (application/vnd.amazon.eventstream)",
                Framing::PayloadParts => "event stream of parts of the container's own stream",
                Framing::WholeBody => "none",
            },
            key: match (adapter.aws_service(), adapter.key_header()) {
                _ if adapter.takes_google_tokens() => {
                    "`Authorization: Bearer`, an access token of Google's".to_owned()
                }
                (Some(service), _) => format!("AWS signature for `{service}`"),
                (None, Some(name)) => format!("`{name}`"),
                (None, None) => "`Authorization: Bearer`".to_owned(),
            },
            counts: match self.counts_natively() {
                true => "runtime",
                false => "usage",
            },
            found_by: self.found_by(),
        }
    }

    /// A runtime that writes no text counts as its other operations do.
    fn counts_natively(&self) -> bool {
        match (self.generates, self.retrieval) {
            (false, [(_, retriever), ..]) => retriever.counts_natively(),
            _ => self.adapter.counts_natively(),
        }
    }

    fn requests(&self) -> Vec<Request> {
        let text = [
            (Operation::Chat, "chat"),
            (Operation::Completion, "completion"),
        ];
        let text = text.into_iter().filter(|_| self.generates);
        let text = text.map(|(operation, name)| (name, self.path(operation)));
        let others = self.retrieval.iter();
        let others = others.map(|(kind, how)| (kind.as_str(), retrieval_path(*how)));
        let mut requests: Vec<Request> = Vec::new();
        for (operation, path) in text.chain(others) {
            match requests.iter_mut().find(|request| request.path == path) {
                Some(request) => request.operations.push(operation),
                None => requests.push(Request {
                    operations: vec![operation],
                    path,
                }),
            }
        }
        requests
    }

    fn path(&self, operation: Operation) -> String {
        let prompt = Prompt {
            system: None,
            user: String::new(),
            generated_words: None,
        };
        let request = self.adapter.encode(EncodeInput {
            model: "MODEL",
            operation,
            stream: true,
            prompt: &prompt,
            generation: &Generation::default(),
        });
        request.path.into_owned()
    }

    fn found_by(&self) -> Option<String> {
        if !self.hosts.is_empty() {
            return Some(format!("the host `{}`", self.hosts.join("`, `")));
        }
        if let Some(question) = &self.question {
            return Some(format!("`GET {}`", question.path));
        }
        // Where another runtime's server turns out to have nothing else.
        let other = RUNTIMES.iter().find_map(|other| {
            let question = other.question.as_ref()?;
            let (native, _) = question.native?;
            (native == self.name).then_some(question.path)
        });
        if let Some(path) = other {
            return Some(format!("`GET {path}`, where there is no OpenAI API"));
        }
        match self.owners {
            [] if self.name == "openai" => Some("`GET /v1/models`".to_owned()),
            [] => None,
            owners => Some(format!(
                "`GET /v1/models`, owned by `{}`",
                owners.join("` or `")
            )),
        }
    }
}

fn retrieval_path(retriever: &dyn Retriever) -> String {
    let texts = Texts {
        query: None,
        inputs: Vec::new(),
        generated_words: None,
    };
    let request = retriever.request(RetrievalInput {
        model: "MODEL",
        texts: &texts,
        extra_body: &Map::new(),
    });
    request.path.into_owned()
}

/// A table of all runtimes, in Markdown.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "| `runtime` | what it is | request | stream | key | found by `auto` |\n|---|---|---|---|---|---|\n",
    );
    for spec in RUNTIMES {
        let described = spec.describe();
        let paths: Vec<String> = described
            .requests
            .iter()
            .map(|request| format!("`{}`", request.path))
            .collect();
        out.push_str(&format!(
            "| [`{name}`]({name}.md) | {} | {} | {} | {} | {} |\n",
            described.summary,
            paths.join(", "),
            described.stream,
            described.key,
            described.found_by.as_deref().unwrap_or("–"),
            name = described.name,
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::find;

    #[test]
    fn what_is_said_is_what_is_done() {
        let gemini = find("gemini").unwrap().describe();
        assert_eq!(
            gemini.requests,
            [
                Request {
                    operations: vec!["chat", "completion"],
                    path: "/v1beta/models/MODEL:streamGenerateContent?alt=sse".to_owned(),
                },
                Request {
                    operations: vec!["embeddings"],
                    path: "/v1beta/models/MODEL:batchEmbedContents".to_owned(),
                },
            ]
        );
        assert_eq!(gemini.key, "`x-goog-api-key`");
        let ollama = find("ollama").unwrap().describe();
        let paths: Vec<&str> = ollama.requests.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(paths, ["/api/chat", "/api/generate", "/api/embed"]);
        assert_eq!(ollama.counts, "runtime");
        let tei = find("tei").unwrap().describe();
        let paths: Vec<&str> = tei.requests.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(paths, ["/embed", "/rerank"]);
        assert_eq!((tei.stream, tei.counts), ("none", "runtime"));
        let native = find("tgi-generate").unwrap().describe();
        let found_by = native.found_by.unwrap();
        assert_eq!(found_by, "`GET /info`, where there is no OpenAI API");
    }
}
