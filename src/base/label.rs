//! Label names that Prometheus accepts and scrapers do not own.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Names that scrapers, Kubernetes or Sonde itself put on series. A user's label of that name
/// would be overwritten or renamed to `exported_…` without a word, so it is refused.
pub const RESERVED: &[&str] = &[
    "job",
    "instance",
    "project_id",
    "location",
    "cluster",
    "namespace",
    "target",
    "runtime",
    "model",
    "scenario",
    "url_host",
    "le",
    "quantile",
    "host",
    "scheme",
];

/// The user's own labels of a target, in name order.
pub type UserLabels = BTreeMap<String, String>;

/// Why a label name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not `[a-zA-Z_][a-zA-Z0-9_]*`, or it starts with `__`.
    #[error("a label name is letters, digits and `_`, not starting with a digit or `__`")]
    Name,
    /// See [`RESERVED`].
    #[error("this label belongs to the scraper or to Sonde itself")]
    Reserved,
}

/// Checks a user's label name.
///
/// # Errors
/// When Prometheus would refuse it or a scraper would overwrite it.
pub fn check_name(name: &str) -> Result<(), LabelError> {
    let mut chars = name.chars();
    let head = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let tail = chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !head || !tail || name.starts_with("__") {
        return Err(LabelError::Name);
    }
    if RESERVED.contains(&name) {
        return Err(LabelError::Reserved);
    }
    Ok(())
}

/// Which probe a number belongs to: the four labels that every probe series carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ProbeLabels {
    /// The target's name.
    pub target: Arc<str>,
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// The model asked for.
    pub model: Arc<str>,
    /// The scenario's name.
    pub scenario: Arc<str>,
}

impl std::fmt::Display for ProbeLabels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.target, self.scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_scrapers_own_are_refused() {
        assert_eq!(check_name("region"), Ok(()));
        assert_eq!(check_name("cluster"), Err(LabelError::Reserved));
        for name in ["", "9lives", "a-b", "__meta", "é"] {
            assert_eq!(check_name(name), Err(LabelError::Name), "{name}");
        }
    }
}
