//! The files that Amazon's tools share: `~/.aws/config` and `~/.aws/credentials`.

use super::{AwsError, AwsVariables};
use crate::base::secret::Secret;
use crate::transport::sigv4::AwsCredentials;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const DEFAULT: &str = "default";

/// Settings by name, some of them secret.
type Section = BTreeMap<String, String>;

/// One profile of both files.
pub(super) struct Profile {
    pub(super) name: String,
    /// Whether somebody has named it.
    is_named: bool,
    /// What the credentials file says.
    pub(super) credentials: Section,
    /// What the configuration file says.
    pub(super) config: Section,
    /// The files, whether or not they are there.
    files: String,
}

impl Profile {
    /// Reads the one that is wanted, else that of `AWS_PROFILE`, else `default`, which may be in no file at all.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or when a profile that is named is in none.
    pub(super) fn read(wanted: Option<&str>, variables: &AwsVariables) -> Result<Self, AwsError> {
        let named = wanted.or_else(|| variables.get("AWS_PROFILE"));
        let name = named.unwrap_or(DEFAULT);
        let file = |variable, usual| path(variables.get(variable), usual, variables);
        let paths = [
            file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            file("AWS_CONFIG_FILE", "~/.aws/config"),
        ];
        let [mut credentials, mut config] = [sections(&paths[0])?, sections(&paths[1])?];
        let credentials = credentials.remove(name);
        let config = take_from_config(&mut config, name);
        let mut profile = Self {
            name: name.to_owned(),
            is_named: named.is_some(),
            credentials: Section::new(),
            config: Section::new(),
            files: format!("`{}`, `{}`", paths[0].display(), paths[1].display()),
        };
        if named.is_some() && credentials.is_none() && config.is_none() {
            return Err(profile.refused(format!("it is in none of {}", profile.files)));
        }
        profile.credentials = credentials.unwrap_or_default();
        profile.config = config.unwrap_or_default();
        Ok(profile)
    }

    /// A setting, from wherever it is. The credentials file has precedence.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.credentials.get(key).or_else(|| self.config.get(key));
        found.map(String::as_str)
    }

    /// The keys in one of its sections, if there are any.
    ///
    /// # Errors
    /// When half of them is missing.
    pub(super) fn keys(&self, section: &Section) -> Result<Option<AwsCredentials>, AwsError> {
        let Some(id) = section.get("aws_access_key_id") else {
            return Ok(None);
        };
        let Some(secret) = section.get("aws_secret_access_key") else {
            let reason = "it has an `aws_access_key_id` without an `aws_secret_access_key`";
            return Err(self.refused(reason));
        };
        Ok(Some(AwsCredentials {
            access_key_id: id.clone(),
            secret_access_key: Secret::new(secret),
            session_token: section.get("aws_session_token").map(Secret::new),
        }))
    }

    /// An error that names it.
    pub(super) fn refused(&self, reason: impl Into<String>) -> AwsError {
        AwsError::Refused {
            place: format!("the profile `{}`", self.name),
            reason: reason.into(),
        }
    }

    /// That it holds no keys, for whoever wonders.
    pub(super) fn without_keys(&self) -> String {
        let Self { name, files, .. } = self;
        match self.is_named {
            true => format!("the profile `{name}` (no keys in {files})"),
            false => format!("the profile `{name}` (not in {files}, or without keys)"),
        }
    }
}

fn path(named: Option<&str>, usual: &str, variables: &AwsVariables) -> PathBuf {
    let path = named.unwrap_or(usual);
    let below = path.strip_prefix("~/").zip(variables.get("HOME"));
    match below {
        Some((below, home)) => Path::new(home).join(below),
        None => PathBuf::from(path),
    }
}

fn sections(path: &Path) -> Result<BTreeMap<String, Section>, AwsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(BTreeMap::new())
        }
        Err(error) => Err(AwsError::Refused {
            place: format!("`{}`", path.display()),
            reason: error.to_string(),
        }),
    }
}

/// `[profile name]`, or `[default]`. A name with blanks is in quotes.
fn take_from_config(sections: &mut BTreeMap<String, Section>, name: &str) -> Option<Section> {
    let is_it = |title: &str| {
        let Some(("profile", rest)) = title.split_once([' ', '\t']) else {
            return title == DEFAULT && name == DEFAULT;
        };
        let quoted = |mark: char| rest.trim().strip_prefix(mark)?.strip_suffix(mark);
        match quoted('"').or_else(|| quoted('\'')) {
            Some(quoted) => quoted == name,
            None => rest.split_whitespace().eq([name]),
        }
    };
    let title = sections.keys().find(|title| is_it(title))?.clone();
    sections.remove(&title)
}

/// Settings by section, as Python's `configparser` reads them, by which Amazon's tools began: names in lower case,
/// comments on lines of their own, and what is indented more than the setting above it belongs to that.
fn parse(text: &str) -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut current = None;
    let mut indent = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let deep = line.len() - line.trim_start().len();
        if indent.is_some_and(|indent| deep > indent) {
            continue;
        }
        let title = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'));
        if let Some((title, _)) = title {
            current = Some(sections.entry(title.trim().to_owned()).or_default());
            indent = None;
        } else if let (Some(section), Some((key, value))) = (&mut current, trimmed.split_once('='))
        {
            section.insert(key.trim().to_lowercase(), value.trim().to_owned());
            indent = Some(deep);
        }
    }
    sections
}
