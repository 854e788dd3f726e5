//! The verdict of a daemon.

use super::{GateArgs, Told, value};
use crate::base::secret::Secret;
use crate::cli::CliError;
use crate::config::Environment;
use crate::slo::{Assessment, Reason, Verdict};
use crate::transport::{Auth, SecretSource, ask};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// A daemon answers from memory.
const LIMIT: Duration = Duration::from_secs(10);

impl GateArgs {
    /// # Errors
    /// When the daemon does not know what is asked for, or wants another proof. A daemon that does not
    /// answer is UNDECIDED: nothing is known of its targets.
    pub(super) async fn ask(self, environment: &Environment) -> Result<Value, CliError> {
        let url = self.daemon.as_deref().unwrap_or_default();
        let (mut endpoint, dialer) = self.proof.resolve(url, environment)?;
        if let (Some(username), Some(name)) = (&self.username, &self.password_env) {
            let password = environment.get(name).map(Secret::new).ok_or_else(|| {
                CliError::Usage(format!("`--password-env {name}`: that variable is not set"))
            })?;
            endpoint.auth = Auth::Basic {
                username: username.clone(),
                password: SecretSource::Value(password),
            };
        }
        let path = self.path();
        let asked = ask(&endpoint, &dialer, Method::GET, &path, Bytes::new(), LIMIT).await;
        let (head, body) = match asked {
            Ok(answer) => answer,
            Err(error) => {
                return undecided(format!("the daemon at `{url}` does not answer: {error}"));
            }
        };
        let text = String::from_utf8_lossy(&body);
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if text.starts_with("there is no ") => {
                return Err(CliError::Usage(text.trim_end().to_owned()));
            }
            StatusCode::UNAUTHORIZED => {
                return Err(CliError::Usage(format!(
                    "the daemon at `{url}` wants a user and a password, or others\nhint: give `--username` and \
                     `--password-env`"
                )));
            }
            status if status.is_server_error() => {
                return undecided(format!("the daemon at `{url}` answers HTTP {status}"));
            }
            status => return Err(no_daemon(url, &format!("it answers HTTP {status}"))),
        }
        let answer: Value =
            serde_json::from_slice(&body).map_err(|error| no_daemon(url, &error.to_string()))?;
        match Told::deserialize(&answer) {
            Ok(_) => Ok(answer),
            Err(error) => Err(no_daemon(url, &error.to_string())),
        }
    }

    fn path(&self) -> String {
        let mut path = "/api/v1/verdict".to_owned();
        let mut mark = '?';
        for (key, names) in [
            ("slo", &self.slo),
            ("target", &self.target),
            ("scenario", &self.scenario),
        ] {
            for name in names {
                // Writing to a string cannot fail.
                let _ = write!(path, "{mark}{key}={}", encoded(name));
                mark = '&';
            }
        }
        path
    }
}

fn undecided(text: String) -> Result<Value, CliError> {
    let reason = Reason::new(Verdict::Undecided, text);
    value(&Assessment::of(Vec::new(), Vec::new(), vec![reason]))
}

fn no_daemon(url: &str, why: &str) -> CliError {
    CliError::Usage(format!(
        "no daemon of Sonde that has verdicts is at `{url}`: {why}\nhint: name the address of its `server.listen`"
    ))
}

/// Percent-encoding of all but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_query() {
        assert_eq!(encoded("a.b_c-d~9"), "a.b_c-d~9");
        assert_eq!(encoded("host:80/ä&x=1 "), "host%3A80%2F%C3%A4%26x%3D1%20");
    }
}
