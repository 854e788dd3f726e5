//! From the file's text to settings that are ready for use.

use super::auth::Users;
use super::problem::{MANUAL, WebConfigError, WebConfigProblem};
use super::tls::{self, RawTls};
use config::{Config, File, FileFormat};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The headers that exporter-toolkit lets one set, and their values where those are a closed set.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// A web configuration, checked and ready for use.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) users: Users,
    headers: HeaderMap,
}

impl WebConfig {
    /// Reads and checks the file and what it names.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(path: &Path) -> Result<Self, WebConfigError> {
        load(path).config
    }

    /// What to speak TLS with.
    pub fn tls(&self) -> Option<&Arc<rustls::ServerConfig>> {
        self.tls.as_ref()
    }

    /// Whether requests need a user and a password.
    pub fn asks_for_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// To be added to every answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// The file as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    tls_server_config: Option<RawTls>,
    http_server_config: Option<RawHttp>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    /// Accepted and without effect: this server speaks HTTP/1.1 only.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// How a file looked just before it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    look: Option<(SystemTime, u64)>,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let look = std::fs::metadata(path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        Self {
            path: path.to_owned(),
            look,
        }
    }

    pub(super) fn still_holds(&self) -> bool {
        Self::of(&self.path) == *self
    }
}

/// What came of reading, and every file that was touched for it.
pub(super) struct Loaded {
    pub(super) stamps: Vec<Stamp>,
    pub(super) config: Result<WebConfig, WebConfigError>,
}

/// Collects stamps and problems while files are read.
#[derive(Default)]
pub(super) struct Loader {
    folder: PathBuf,
    stamps: Vec<Stamp>,
    problems: Vec<WebConfigProblem>,
}

impl Loader {
    /// Reads a file; a relative path starts at the configuration file's folder.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.folder.join(path);
        self.stamps.push(Stamp::of(&path));
        std::fs::read(path)
    }

    pub(super) fn refuse(&mut self, problem: WebConfigProblem) {
        self.problems.push(problem);
    }
}

/// Reads and checks the file and what it names.
pub(super) fn load(path: &Path) -> Loaded {
    let mut loader = Loader {
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        stamps: vec![Stamp::of(path)],
        problems: Vec::new(),
    };
    let config = match parse(path) {
        Ok(raw) => resolve(&mut loader, raw),
        Err(problem) => {
            loader.refuse(problem);
            WebConfig::default()
        }
    };
    let config = match loader.problems.is_empty() {
        true => Ok(config),
        false => Err(WebConfigError::new(path, loader.problems)),
    };
    Loaded {
        stamps: loader.stamps,
        config,
    }
}

fn parse(path: &Path) -> Result<Raw, WebConfigProblem> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        WebConfigProblem::new(
            "",
            format!("cannot be read: {error}"),
            "check `server.web_config_file`",
        )
    })?;
    let tree: serde_json::Value = Config::builder()
        .add_source(File::from_str(&text, FileFormat::Yaml))
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| WebConfigProblem::new("", format!("is not YAML: {error}"), MANUAL))?;
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let key = match error.path().to_string() {
            root if root == "." => String::new(),
            key => key,
        };
        let may_be_secret = key.starts_with("basic_auth_users") || key == "tls_server_config.key";
        match may_be_secret {
            true => WebConfigProblem::new(key, "has the wrong type", MANUAL),
            false => WebConfigProblem::new(key, error.inner(), MANUAL),
        }
    })
}

fn resolve(loader: &mut Loader, raw: Raw) -> WebConfig {
    let Raw {
        tls_server_config,
        http_server_config,
        basic_auth_users,
        rate_limit,
    } = raw;
    if rate_limit.is_some() {
        loader.refuse(WebConfigProblem::new(
            "rate_limit",
            "is not supported here",
            "remove it; limit the rate in a proxy in front",
        ));
    }
    WebConfig {
        tls: tls_server_config.and_then(|raw| tls::server_config(loader, raw)),
        headers: headers(
            loader,
            http_server_config
                .unwrap_or_default()
                .headers
                .unwrap_or_default(),
        ),
        users: Users::check(loader, basic_auth_users.unwrap_or_default()),
    }
}

fn headers(loader: &mut Loader, raw: BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in raw {
        let key = format!("http_server_config.headers.{name}");
        let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known = HEADERS.map(|(name, _)| format!("`{name}`")).join(", ");
            let remedy = format!("one of {known}");
            loader.refuse(WebConfigProblem::new(
                key,
                "is no header that can be set",
                remedy,
            ));
            continue;
        };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            let remedy = format!("one of {}", values.join(", "));
            loader.refuse(WebConfigProblem::new(key, "is not allowed", remedy).found(value));
            continue;
        }
        let pair = (HeaderName::try_from(name), HeaderValue::try_from(&value));
        match pair {
            (Ok(_), Ok(value)) if value.is_empty() => {}
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            _ => loader.refuse(
                WebConfigProblem::new(key, "is no header value", "use visible ASCII on one line")
                    .found(value),
            ),
        }
    }
    headers
}
