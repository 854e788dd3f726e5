//! What is wrong with a configuration: everything at once, each with where, what and how to mend it.

use std::cmp::Ordering;
use std::fmt;

/// Below these keys, values may be secret; they are never shown.
const SECRET_KEYS: [&str; 5] = ["auth", "headers", "headers_env", "headers_file", "body"];

/// Longer values are cut: a message is not the place for a whole prompt.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `targets[1].url`. Empty: the file as a whole.
    pub key: String,
    /// The environment variable or command line that set it, where the file did not.
    pub origin: Option<String>,
    /// What was found there. Absent where nothing was, and where it may be secret.
    pub value: Option<String>,
    /// Which rule it breaks; reads on from the value.
    pub rule: String,
    /// How to mend it.
    pub remedy: String,
}

impl Problem {
    /// A problem at a key. `rule` may carry its remedy behind a `hint:` line, as the errors of
    /// lower layers do; then `remedy` is not used.
    pub fn new(key: impl Into<String>, rule: impl fmt::Display, remedy: impl Into<String>) -> Self {
        let rule = rule.to_string();
        let (rule, remedy) = match rule.split_once("\nhint: ") {
            Some((rule, remedy)) => (rule.to_owned(), remedy.to_owned()),
            None => (rule, remedy.into()),
        };
        Self {
            key: key.into(),
            origin: None,
            value: None,
            rule,
            remedy,
        }
    }

    /// Adds what was found, unless it may be secret.
    pub fn found(mut self, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        if !is_secret(&self.key) && !holds_user_info(&value) {
            self.value = Some(clip(&value));
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("  ")?;
        match &self.origin {
            Some(origin) if self.key.is_empty() => write!(f, "{origin}: ")?,
            Some(origin) => write!(f, "{} (from {origin}): ", self.key)?,
            None if self.key.is_empty() => {}
            None => write!(f, "{}: ", self.key)?,
        }
        if let Some(value) = &self.value {
            write!(f, "`{value}` ")?;
        }
        f.write_str(&self.rule)?;
        match self.remedy.is_empty() {
            true => Ok(()),
            false => write!(f, "\n    hint: {}", self.remedy),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    source: String,
    list: Vec<Problem>,
}

impl Problems {
    /// `source` is what the user calls the configuration: the file's path.
    pub fn new(source: impl Into<String>, mut list: Vec<Problem>) -> Self {
        list.sort_by(|a, b| in_key_order(&a.key, &b.key));
        Self {
            source: source.into(),
            list,
        }
    }

    /// One by one.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.list.len() == 1 { "" } else { "s" };
        write!(f, "{}: {} problem{plural}", self.source, self.list.len())?;
        for problem in &self.list {
            write!(f, "\n{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What checks leave behind: problems, which are fatal, and warnings, which are not.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// Adds a problem, unless its key has one already: what follows from a problem is none.
    pub(super) fn add(&mut self, problem: Problem) {
        if !self.has(&problem.key) {
            self.problems.push(problem);
        }
    }

    /// Adds a warning, once.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Whether this key has a problem.
    pub(super) fn has(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// Whether this key or one below it has a problem.
    pub(super) fn has_below(&self, key: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| is_within(&problem.key, key))
    }
}

/// Whether `key` is `ancestor` or lies below it.
pub(super) fn is_within(key: &str, ancestor: &str) -> bool {
    key.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The candidate that was probably meant.
pub(super) fn nearest<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let found = found.to_lowercase();
    // A third of the letters may be wrong, at least one, but never all.
    let letters = found.chars().count();
    let tolerance = (letters / 3).max(1).min(letters.saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&found, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or all there is to choose from.
pub(super) fn suggestion<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    or_else: &str,
) -> String {
    match nearest(found, candidates.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            let all: Vec<_> = candidates
                .into_iter()
                .map(|name| format!("`{name}`"))
                .collect();
            match all.is_empty() {
                true => format!("{or_else} nothing"),
                false => format!("{or_else} {}", all.join(", ")),
            }
        }
    }
}

fn is_secret(key: &str) -> bool {
    key.split(['.', '['])
        .any(|part| SECRET_KEYS.contains(&part))
}

/// `https://user:password@host`.
fn holds_user_info(value: &str) -> bool {
    value.contains('@') && value.contains("://")
}

fn clip(value: &str) -> String {
    let mut line: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN_CHARS)
        .collect();
    if value.chars().count() > SHOWN_CHARS {
        line.push('…');
    }
    line
}

/// Text by text, but `[10]` after `[9]`.
fn in_key_order(a: &str, b: &str) -> Ordering {
    fn parts(key: &str) -> impl Iterator<Item = (Option<usize>, &str)> {
        key.split(['.', '[']).map(|part| {
            let index = part
                .strip_suffix(']')
                .and_then(|digits| digits.parse().ok());
            (index, part)
        })
    }
    parts(a).cmp(parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_all_at_once_in_the_order_of_their_keys() {
        let problems = Problems::new(
            "sonde.yaml",
            vec![
                Problem::new("targets[10].url", "is required", "add it"),
                Problem::new("targets[9].url", "is not a URL", "").found("x\ny"),
                Problem::new("log.level", "is wrong\nhint: mend it", "").found("loud"),
            ],
        );
        assert_eq!(
            problems.to_string(),
            "sonde.yaml: 3 problems\n  \
               log.level: `loud` is wrong\n    hint: mend it\n  \
               targets[9].url: `x y` is not a URL\n  \
               targets[10].url: is required\n    hint: add it"
        );
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for key in [
            "targets[0].auth.bearer_env",
            "targets[0].headers.X-Key",
            "scenarios[0].body.key",
        ] {
            assert_eq!(
                Problem::new(key, "is wrong", "").found("hunter2").value,
                None,
                "{key}"
            );
        }
        let url = Problem::new("targets[0].url", "is wrong", "").found("http://me:hunter2@host");
        assert_eq!(url.value, None);
    }

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_does_not() {
        assert_eq!(nearest("urll", ["name", "url"]), Some("url"));
        assert_eq!(nearest("Modle", ["model", "mode"]), Some("model"));
        assert_eq!(nearest("password", ["name", "url"]), None);
    }
}
