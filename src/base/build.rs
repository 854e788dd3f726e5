//! Facts about this build.

/// The crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision, set by the image build through `SONDE_REVISION`.
pub const REVISION: &str = match option_env!("SONDE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// What a probe calls itself, so that its traffic can be told apart and subtracted.
pub const USER_AGENT: &str = concat!(
    "sonde/",
    env!("CARGO_PKG_VERSION"),
    " (synthetic LLM probe)"
);
