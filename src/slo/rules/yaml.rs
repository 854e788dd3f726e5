//! YAML, written: a few kinds of nodes in a given order. Text is plain only where no version of YAML
//! can read it as anything else.

use std::fmt::Write as _;

/// A document or a part of one.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Number(f64),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Node {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// A mapping in this order.
pub(super) fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
    let named = entries.map(|(key, value)| (key.to_owned(), value));
    Node::Map(named.into())
}

/// The document, with a line end after every line.
pub(super) fn document(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

/// Lists and mappings line by line, each from the indentation on; a scalar is one more line.
fn block(node: &Node, indent: usize, out: &mut String) {
    match node {
        Node::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                begin_line(indent, out);
                out.push_str(&scalar(key, 0));
                out.push(':');
                value_of_key(value, indent, out);
            }
        }
        Node::List(items) if !items.is_empty() => {
            for item in items {
                begin_line(indent, out);
                out.push_str("- ");
                block(item, indent + 2, out);
            }
        }
        Node::Map(_) => out.push_str("{}\n"),
        Node::List(_) => out.push_str("[]\n"),
        Node::Text(text) => {
            out.push_str(&scalar(text, indent));
            out.push('\n');
        }
        Node::Number(number) => {
            let _ = writeln!(out, "{number}");
        }
    }
}

/// What comes first in an item of a list stands behind the dash.
fn begin_line(indent: usize, out: &mut String) {
    if out.is_empty() || out.ends_with('\n') {
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn value_of_key(value: &Node, indent: usize, out: &mut String) {
    let nested = match value {
        Node::Map(entries) => !entries.is_empty(),
        Node::List(items) => !items.is_empty(),
        Node::Text(_) | Node::Number(_) => false,
    };
    out.push(if nested { '\n' } else { ' ' });
    block(value, indent + 2, out);
}

fn scalar(text: &str, indent: usize) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    if is_literal(text) && indent > 0 {
        let margin = " ".repeat(indent);
        let lines = text.split('\n').map(|line| match line {
            "" => String::new(),
            line => format!("{margin}{line}"),
        });
        return format!("|-\n{}", lines.collect::<Vec<_>>().join("\n"));
    }
    quoted(text)
}

/// A name or a duration: what no reader takes for a number, a truth value, a date or a part of YAML.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let lower = text.to_ascii_lowercase();
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./:".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&lower.as_str());
    let duration = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| "smhd".contains(c))
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "smhd".contains(c));
    named || duration
}

/// Several lines, none of which begins or ends with what a block would not give back.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with('\n')
        && text
            .split('\n')
            .all(|line| !line.ends_with(' ') && !line.chars().any(must_escape))
}

fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// In single quotes where double ones would have to escape: PromQL is full of double quotes.
fn quoted(text: &str) -> String {
    if text.contains('"') && !text.chars().any(must_escape) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if must_escape(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use yaml_rust2::{Yaml, YamlLoader};

    fn read_back(node: &Node) -> Yaml {
        let text = document(node);
        let mut documents =
            YamlLoader::load_from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0)
    }

    #[test]
    fn nesting_reads_as_people_write_it() {
        let rule = map([("record", "a:b:c".into()), ("expr", "x\n  / y".into())]);
        let group = map([("name", "g".into()), ("rules", Node::List(vec![rule]))]);
        let file = map([
            ("groups", Node::List(vec![group])),
            ("none", Node::List(vec![])),
        ]);
        let expected = "groups:\n  - name: g\n    rules:\n      - record: a:b:c\n        expr: |-\n          x\n            / y\nnone: []\n";
        assert_eq!(document(&file), expected);
        read_back(&file);
    }

    #[test]
    fn what_yaml_could_misread_is_quoted() {
        for text in [
            "no",
            "Off",
            "1.5",
            "1_000",
            "12:30",
            "0b1",
            "",
            "a: b",
            "~",
            "2026-01-01",
            "5",
            "x:",
        ] {
            assert!(document(&text.into()).starts_with('"'), "{text}");
        }
        for text in ["30s", "1h30m", "sonde-slo-ttft", "a/b.c:d"] {
            assert_eq!(document(&text.into()), format!("{text}\n"));
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text in any::<String>(), words in "[ a-z0-9:#\n-]{0,20}") {
            for text in [text, words] {
                let node = map([("key", Node::List(vec![map([("text", text.as_str().into())])]))]);
                let yaml = read_back(&node);
                prop_assert_eq!(yaml["key"][0]["text"].as_str(), Some(text.as_str()));
            }
        }
    }
}
