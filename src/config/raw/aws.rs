//! Signatures as typed.

use schemars::JsonSchema;
use serde::Deserialize;

/// See [`super::RawAuth::aws`]. Keys are found where Amazon's own tools find them, and never stand here.
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
