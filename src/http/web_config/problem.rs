//! What is wrong with a web configuration file: everything at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where the format is described.
pub(super) const MANUAL: &str =
    "see https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md";

/// Longer values are cut: a message is not the place for a whole certificate.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfigProblem {
    /// Where: `tls_server_config.min_version`. Empty: the file as a whole.
    pub key: String,
    /// What was found there. Absent where nothing was, and where it may be secret.
    pub value: Option<String>,
    /// Which rule it breaks; reads on from the value.
    pub rule: String,
    /// How to mend it.
    pub remedy: String,
}

impl WebConfigProblem {
    pub(super) fn new(
        key: impl Into<String>,
        rule: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: None,
            rule: rule.to_string(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn found(self, value: impl fmt::Display) -> Self {
        let value = value.to_string().chars().take(SHOWN_CHARS).collect();
        Self {
            value: Some(value),
            ..self
        }
    }
}

impl fmt::Display for WebConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("  ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, "`{value}` ")?;
        }
        write!(f, "{}\n    hint: {}", self.rule, self.remedy)
    }
}

/// A running server neither begins nor ends to speak TLS.
pub(super) fn tls_is_settled(uses_tls: bool) -> WebConfigProblem {
    let rule = match uses_tls {
        true => "is gone, but the server speaks TLS until it is restarted",
        false => "is new, but the server speaks plain HTTP until it is restarted",
    };
    WebConfigProblem::new("tls_server_config", rule, "restart, or undo the change")
}

/// Why a web configuration file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfigError {
    path: PathBuf,
    problems: Vec<WebConfigProblem>,
}

impl WebConfigError {
    pub(super) fn new(path: &Path, problems: Vec<WebConfigProblem>) -> Self {
        Self {
            path: path.to_owned(),
            problems,
        }
    }

    /// One by one.
    pub fn problems(&self) -> &[WebConfigProblem] {
        &self.problems
    }
}

impl fmt::Display for WebConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} problem{plural}", self.path.display())?;
        for problem in &self.problems {
            write!(f, "\n{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for WebConfigError {}
