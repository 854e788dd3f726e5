//! Secrets and files: named in the file, held elsewhere. No value is ever shown.

use super::problem::Problem;
use super::resolve::Context;
use crate::base::secret::Secret;
use crate::transport::SecretSource;
use std::path::{Path, PathBuf};

/// The secret in an environment variable.
pub(super) fn from_variable(key: &str, name: &str, context: &mut Context<'_>) -> Option<Secret> {
    if literal_reference(key, name, context) {
        return None;
    }
    let secret = context.environment.secret(name);
    if secret.is_none() {
        let rule = match context.environment.get(name) {
            Some(_) => "names an environment variable that is empty",
            None => "names an environment variable that is not set",
        };
        let remedy = "set it where Sonde is started; the name stands here, not the secret";
        context.refuse(key, rule, remedy);
    }
    secret
}

/// The secret in a file, which must be there already.
pub(super) fn from_file(
    key: &str,
    name: &str,
    context: &mut Context<'_>,
) -> Option<(PathBuf, Secret)> {
    if literal_reference(key, name, context) {
        return None;
    }
    let path = context.path(key, name);
    match std::fs::read_to_string(&path).map(Secret::new) {
        Ok(secret) if !secret.expose().is_empty() => Some((path, secret)),
        Ok(_) => {
            context.refuse(
                key,
                "names a file that is empty",
                "put the secret into the file",
            );
            None
        }
        Err(error) => {
            let rule = format!("names a file that cannot be read: {error}");
            let remedy =
                "mount the secret, or correct the path; the secret itself does not stand here";
            context.refuse(key, rule, remedy);
            None
        }
    }
}

/// One of `*_env` and `*_file`. Both, or what cannot be sent, is a problem.
pub(super) fn source(
    place: &str,
    stem: &str,
    (variable, file): (Option<&str>, Option<&str>),
    context: &mut Context<'_>,
) -> Option<SecretSource> {
    let key = |kind: &str| format!("{place}.{stem}_{kind}");
    let (key, secret, source) = match (variable, file) {
        (Some(_), Some(_)) => {
            let rule = format!("excludes `{stem}_env`");
            context.refuse(&key("file"), rule, "keep one of them");
            return None;
        }
        (Some(name), None) => {
            let secret = from_variable(&key("env"), name, context)?;
            (key("env"), secret.clone(), SecretSource::Value(secret))
        }
        (None, Some(name)) => {
            let (path, secret) = from_file(&key("file"), name, context)?;
            (key("file"), secret, SecretSource::File(path))
        }
        (None, None) => return None,
    };
    if http::HeaderValue::try_from(secret.expose()).is_err() {
        let rule = "leads to a secret with characters that an HTTP header cannot hold";
        context.refuse(&key, rule, "look for line ends inside of it");
        return None;
    }
    Some(source)
}

/// `${NAME}` is never expanded: reports it where it is obviously meant to be.
pub(super) fn literal_reference(key: &str, text: &str, context: &mut Context<'_>) -> bool {
    let meant = text.contains("${");
    if meant {
        let remedy = if key.contains(".auth.") {
            "write the bare name of the variable into `bearer_env` or `password_env`"
        } else if key.contains(".headers") {
            "write `headers_env: {Name: VARIABLE}`"
        } else {
            "set the whole key from the environment: `SONDE__TARGETS__0__URL`"
        };
        let problem = Problem::new(key, "holds `${…}`, which Sonde does not expand", remedy);
        context.findings.add(problem);
    }
    meant
}

/// A file that must be there.
pub(super) fn existing_file(key: &str, name: &str, context: &mut Context<'_>) -> Option<PathBuf> {
    let path = context.path(key, name);
    match readable(&path) {
        Ok(()) => Some(path),
        Err(error) => {
            let rule = format!("cannot be read: {error}");
            let remedy = "correct the path; in the configuration relative ones start at its folder";
            context
                .findings
                .add(Problem::new(key, rule, remedy).found(name));
            None
        }
    }
}

fn readable(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?
        .metadata()
        .and_then(|metadata| match metadata.is_dir() {
            true => Err(std::io::ErrorKind::IsADirectory.into()),
            false => Ok(()),
        })
}
