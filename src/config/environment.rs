//! The environment as an argument, so that a test owns it.

use crate::base::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;

/// What every variable that sets a key starts with.
pub const PREFIX: &str = "SONDE__";

/// Environment variables by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The same without the variables that set keys.
    pub(super) fn without_settings(&self) -> Self {
        let others = self.0.iter().filter(|(name, _)| !name.starts_with(PREFIX));
        Self(
            others
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// Takes the variables as given.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self(pairs.collect())
    }

    /// Takes the variables of this process. What is not UTF-8 can be no setting and is left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the process's environment"
    )]
    pub fn process() -> Self {
        let readable = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(readable.collect())
    }

    /// The value of one variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The secret in one variable. An empty variable holds none.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let secret = self.get(name).map(Secret::new);
        secret.filter(|secret| !secret.expose().is_empty())
    }

    /// The variables that set keys, in name order: full name, the name behind [`PREFIX`], value.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?;
            Some((name.as_str(), key, value.as_str()))
        })
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
