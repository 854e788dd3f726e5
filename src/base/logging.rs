//! The log: one subscriber, text for people and JSON for collectors, on stderr.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Installs the process-wide subscriber. `filter` is a `tracing` directive such as `info` or
/// `sonde=debug`; one that does not parse is an error that names it.
///
/// # Errors
/// When the filter does not parse or a subscriber is installed already.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let env_filter = EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|_| LoggingError::Installed)
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not a list of `tracing` directives.
    #[error("log filter `{filter}` is not valid\nhint: try `info`, `debug` or `sonde=debug,info`")]
    Filter {
        /// As given.
        filter: String,
        /// What the parser said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else installed a subscriber.
    #[error("a log subscriber is installed already")]
    Installed,
}
