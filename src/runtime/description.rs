//! What there is to say of each runtime, from its entry and its adapter alone: what is said here is what is done.

use super::{EncodeInput, Generation, Operation, RUNTIMES, RuntimeSpec};
use crate::wire::Framing;
use crate::workload::Prompt;
use serde::Serialize;

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
    /// How the key of `auth` travels.
    pub key: String,
    /// Who counts the answer's tokens: `usage` or `runtime`, as in the label `source`.
    pub counts: &'static str,
    /// How `auto` finds it; absent where it must be named.
    pub found_by: Option<String>,
}

/// One operation's request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The operations that it serves.
    pub operations: Vec<Operation>,
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
                Framing::Sse => "server-sent events",
                Framing::Ndjson => "newline-delimited JSON",
                Framing::EventStream => "event stream (application/vnd.amazon.eventstream)",
                Framing::WholeBody => "none",
            },
            key: match adapter.key_header() {
                Some(name) => format!("`{name}`"),
                None => "`Authorization: Bearer`".to_owned(),
            },
            counts: match adapter.counts_natively() {
                true => "runtime",
                false => "usage",
            },
            found_by: self.found_by(),
        }
    }

    fn requests(&self) -> Vec<Request> {
        let mut requests: Vec<Request> = Vec::new();
        for operation in [Operation::Chat, Operation::Completion] {
            let path = self.path(operation);
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
            [Request {
                operations: vec![Operation::Chat, Operation::Completion],
                path: "/v1beta/models/MODEL:streamGenerateContent?alt=sse".to_owned(),
            }]
        );
        assert_eq!(gemini.key, "`x-goog-api-key`");
        let ollama = find("ollama").unwrap().describe();
        let paths: Vec<&str> = ollama.requests.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(paths, ["/api/chat", "/api/generate"]);
        assert_eq!(ollama.counts, "runtime");
        let native = find("tgi-generate").unwrap().describe();
        let found_by = native.found_by.unwrap();
        assert_eq!(found_by, "`GET /info`, where there is no OpenAI API");
    }
}
