//! What proves requests, as typed.

use schemars::JsonSchema;
use serde::Deserialize;

/// See [`super::RawTarget::auth`]. Its `Debug` holds names of variables and files, never a secret.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawAuth {
    /// Environment variable that holds the bearer token, read when the configuration is. Runtimes
    /// such as `anthropic` send it as their API key, in a header of their own.
    pub bearer_env: Option<String>,
    /// File that holds it, read again for every run, since mounted secrets rotate.
    pub bearer_file: Option<String>,
    /// User name of basic authentication.
    pub username: Option<String>,
    /// Environment variable that holds the password.
    pub password_env: Option<String>,
    /// File that holds the password, read again for every run.
    pub password_file: Option<String>,
    /// Requests are signed, as services of AWS want it. Absent, and without any other proof: as an empty one,
    /// where the runtime is such a service.
    pub aws: Option<RawAws>,
    /// Requests carry an access token of Google's. Absent, and without any other proof: as an empty one, where the
    /// runtime is Vertex AI.
    pub google: Option<RawGoogle>,
}

/// See [`RawAuth::aws`]. Keys are found where Amazon's own tools find them, and never stand here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawAws {
    /// The region to sign for, such as `eu-central-1`. Absent: that of the URL's host, else `AWS_REGION`,
    /// `AWS_DEFAULT_REGION` or that of the profile.
    pub region: Option<String>,
    /// The profile of `~/.aws/config` and `~/.aws/credentials` to use rather than the environment's keys.
    /// Absent: `AWS_PROFILE`, else `default`, after the environment's keys.
    pub profile: Option<String>,
}

/// See [`RawAuth::google`]. Keys are found where Google's own tools find them, and never stand here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping")]
pub struct RawGoogle {
    /// JSON file of a service account's key, or of `gcloud auth application-default login`, read again for every
    /// token. Absent: `GOOGLE_APPLICATION_CREDENTIALS`, else gcloud's own file, else the metadata server.
    pub credentials_file: Option<String>,
}
