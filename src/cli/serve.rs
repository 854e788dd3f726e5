//! `sonde serve`.

use super::CliError;
use crate::app::{self, ConfigSource, ServeOptions};
use crate::config::Environment;
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Read when it exists and neither `--config` nor `--url` is given.
const DEFAULT_FILE: &str = "sonde.yaml";

/// The file that is read when none is named, where it exists.
pub(super) fn default_file() -> Option<PathBuf> {
    let default = Path::new(DEFAULT_FILE);
    default.exists().then(|| default.to_owned())
}

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Configuration file [default: sonde.yaml where it exists]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, over `server.listen`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// TLS and users for our own HTTP, in the format of Prometheus' exporter-toolkit
    #[arg(long, value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// Log filter, over `log.level`
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Log format, over `log.format`: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// A target without a file.
#[derive(Args, Clone)]
pub(super) struct TargetArgs {
    /// Probe this endpoint; runtime and model are found by asking
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// The model to ask for [default: the first that the endpoint offers]
    #[arg(long, requires = "url")]
    model: Option<String>,
    /// The runtime: auto, or one that docs/configuration.md lists, such as ollama, vllm or anthropic
    #[arg(long, requires = "url")]
    runtime: Option<String>,
    /// Let runs load the model, and keep it in memory (Ollama unloads idle ones)
    #[arg(long, requires = "url")]
    wake: bool,
}

impl ServeArgs {
    pub(super) async fn run(self, environment: Environment) -> Result<(), CliError> {
        let mut overrides = Vec::new();
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                overrides.push((key.to_owned(), Value::String(value)));
            }
        };
        set("server.listen", self.listen);
        set("log.level", self.log_level);
        set("log.format", self.log_format);
        let web_config_file = self
            .web_config_file
            .map(|path| path.to_string_lossy().into_owned());
        set("server.web_config_file", web_config_file);
        let by_url = self.target.url.is_some();
        set("targets[0].url", self.target.url);
        set("targets[0].model", self.target.model);
        set("targets[0].runtime", self.target.runtime);
        if self.target.wake {
            overrides.push(("defaults.wake".to_owned(), Value::Bool(true)));
        }
        let path = self.config.or_else(|| default_file().filter(|_| !by_url));
        let source = ConfigSource {
            path,
            text: None,
            environment,
            overrides,
        };
        Ok(app::serve(source, ServeOptions::default()).await?)
    }
}
