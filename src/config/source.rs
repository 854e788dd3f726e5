//! Three layers, the later over the earlier: file, environment, command line. Mappings are merged,
//! everything else is replaced.

use super::LoadInput;
use super::environment::PREFIX;
use super::problem::{Findings, Problem, is_within};
use config::{Config, ConfigError, File, FileFormat, Map, Source};
use serde_json::Value;
use std::collections::BTreeMap;
use yaml_rust2::ScanError;

/// Highest index of a list that a variable may name: a typo must not ask for gigabytes.
const MAX_INDEX: usize = 999;

/// The layers as one.
pub(super) struct Layered {
    /// The merged tree.
    pub(super) tree: Value,
    /// Scalars from the environment as they were written, by key: where text is wanted, `7` means
    /// "7".
    pub(super) texts: BTreeMap<String, String>,
    /// Which keys were not set by the file, lowest layer first, and what the setter is called.
    origins: Vec<(String, String)>,
}

impl Layered {
    /// What set a key, where that was not the file.
    pub(super) fn origin(&self, key: &str) -> Option<&str> {
        let above = self.origins.iter().rfind(|(set, _)| is_within(key, set));
        let below = || self.origins.iter().rfind(|(set, _)| is_within(set, key));
        above.or_else(below).map(|(_, origin)| origin.as_str())
    }
}

/// One key set by the environment or the command line.
#[derive(Clone, Debug)]
struct Assignment {
    key: String,
    value: config::Value,
}

impl Source for Assignment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(Map::from_iter([(self.key.clone(), self.value.clone())]))
    }
}

/// Reads and merges the layers. `None` where the file is not YAML: then nothing else can be said.
pub(super) fn merge(input: &LoadInput<'_>, findings: &mut Findings) -> Option<Layered> {
    let mut builder = Config::builder();
    let mut texts = BTreeMap::new();
    let mut origins = Vec::new();
    if let Some(text) = input.file {
        builder = builder.add_source(File::from_str(text, FileFormat::Yaml));
    }
    // In name order, so that `SONDE__TARGETS` comes before `SONDE__TARGETS__0__URL`.
    for (name, key, text) in input.environment.settings() {
        let origin = format!("`{name}`");
        let Some(key) = key_path(key) else {
            findings.add(too_far(origin));
            continue;
        };
        match parse_value(text) {
            Ok(value) => {
                if !value.is_object() && !value.is_array() {
                    texts.insert(key.clone(), text.to_owned());
                }
                let value = into_config(value);
                builder = builder.add_source(Assignment {
                    key: key.clone(),
                    value,
                });
                origins.push((key, origin));
            }
            Err(mut problem) => {
                problem.key = key;
                problem.origin = Some(origin);
                findings.add(problem);
            }
        }
    }
    for (key, value) in &input.overrides {
        let value = into_config(value.clone());
        texts.retain(|set, _| !is_within(set, key));
        builder = builder.add_source(Assignment {
            key: key.clone(),
            value,
        });
        origins.push((key.clone(), "the command line".to_owned()));
    }
    match builder.build().and_then(Config::try_deserialize) {
        Ok(tree) => Some(Layered {
            tree,
            texts,
            origins,
        }),
        Err(error) => {
            findings.add(not_yaml(&error));
            None
        }
    }
}

/// Reads a value as it stands in an environment variable: lists and mappings in YAML's flow
/// notation (`[a, b]`, `{name: a}`), quoted text, `true`, numbers, nothing at all for `null`; and
/// everything else as the text that it is, so that `@every 30s` and `*/5 * * * *` need no quotes.
///
/// # Errors
/// When it begins like a list, a mapping or quoted text and is none.
pub fn parse_value(text: &str) -> Result<Value, Problem> {
    let trimmed = text.trim();
    if trimmed.starts_with(['[', '{', '"', '\'']) {
        // The line end keeps a comment at the end of the text from swallowing the brace.
        let document = format!("{{\"value\": {trimmed}\n}}");
        return Config::builder()
            .add_source(File::from_str(&document, FileFormat::Yaml))
            .build()
            .and_then(|config| config.get("value"))
            .map_err(|error| not_flow(&error));
    }
    let number = || {
        let numeric = trimmed.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let whole = trimmed.parse::<i64>().map(Value::from).ok();
        let real = || {
            trimmed
                .parse::<f64>()
                .ok()
                .filter(|real| real.is_finite())
                .map(Value::from)
        };
        numeric.then(|| whole.or_else(real)).flatten()
    };
    Ok(match trimmed {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number().unwrap_or_else(|| Value::String(text.to_owned())),
    })
}

/// `TARGETS__0__URL` is `targets[0].url`. `None` where an index is beyond [`MAX_INDEX`].
fn key_path(name: &str) -> Option<String> {
    let mut path = String::new();
    for part in name.split("__") {
        let digits = !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if digits && !path.is_empty() {
            let index = part
                .parse::<usize>()
                .ok()
                .filter(|index| *index <= MAX_INDEX)?;
            path.push_str(&format!("[{index}]"));
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&part.to_lowercase());
    }
    Some(path)
}

fn too_far(origin: String) -> Problem {
    let mut problem = Problem::new(
        "",
        format!("a list's index goes up to {MAX_INDEX}"),
        format!("give the whole list or mapping at once, such as `{PREFIX}TARGETS='[{{url: …}}]'`"),
    );
    problem.origin = Some(origin);
    problem
}

/// Cannot fail in practice: both are trees of the same kinds.
fn into_config(value: Value) -> config::Value {
    serde_json::from_value(value).unwrap_or_default()
}

/// As [`not_yaml`], without a place: a variable has one line.
fn not_flow(error: &ConfigError) -> Problem {
    let scan = match error {
        ConfigError::FileParse { cause, .. } => cause.downcast_ref::<ScanError>(),
        _ => None,
    };
    let why = scan.map_or_else(|| error.to_string(), |scan| scan.info().to_owned());
    let remedy = "close brackets and quotes, or quote the whole text";
    Problem::new("", format!("is not YAML: {why}"), remedy)
}

/// Says where the text stops being YAML.
fn not_yaml(error: &ConfigError) -> Problem {
    if let ConfigError::FileParse { cause, .. } = error {
        if let Some(scan) = cause.downcast_ref::<ScanError>() {
            let mark = scan.marker();
            let rule = format!(
                "is not YAML at line {}, column {}: {}",
                mark.line(),
                mark.col() + 1,
                scan.info()
            );
            return Problem::new("", rule, "check indentation, quotes and brackets there");
        }
        // The crate boxes its own errors twice.
        if let Some(ConfigError::Type { .. }) =
            cause.downcast_ref::<Box<ConfigError>>().map(|e| &**e)
        {
            return Problem::new("", "is no mapping of keys", "begin with `targets:`");
        }
        let remedy = "write one document, its keys as plain text and its numbers finite";
        return Problem::new("", format!("cannot be read: {cause}"), remedy);
    }
    Problem::new(
        "",
        format!("is not YAML: {error}"),
        "check indentation, quotes and brackets",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_variable_is_read_as_the_value_that_it_looks_like() {
        for (text, value) in [
            ("", json!(null)),
            ("true", json!(true)),
            ("-7", json!(-7)),
            ("0.99", json!(0.99)),
            ("99%", json!("99%")),
            ("nan", json!("nan")),
            (".inf", json!(".inf")),
            ("@every 30s", json!("@every 30s")),
            ("*/5 * * * *", json!("*/5 * * * *")),
            ("Answer: yes # please", json!("Answer: yes # please")),
            ("127.0.0.1:10798", json!("127.0.0.1:10798")),
            ("'7'", json!("7")),
            ("[a, 1] # why", json!(["a", 1])),
            ("{Name: {b: [c]}}", json!({"Name": {"b": ["c"]}})),
            (
                "[{name: a,\nurl: 'http://b'}]",
                json!([{"name": "a", "url": "http://b"}]),
            ),
        ] {
            assert_eq!(parse_value(text).unwrap(), value, "{text}");
        }
        for text in ["[a", "{a", "'a", "{a: 1}}"] {
            assert!(parse_value(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_names_a_key() {
        assert_eq!(key_path("SERVER__LISTEN").as_deref(), Some("server.listen"));
        assert_eq!(
            key_path("TARGETS__10__URL").as_deref(),
            Some("targets[10].url")
        );
        assert_eq!(
            key_path("TARGETS__0__LABELS__9").as_deref(),
            Some("targets[0].labels[9]")
        );
        assert_eq!(key_path("TARGETS__999999999__URL"), None);
    }
}
