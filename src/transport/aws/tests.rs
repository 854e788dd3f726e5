//! Against what Amazon's own Python client finds, asks and calls its hosts; and what is our own.

mod messages;
mod oracle;
mod renewal;

use super::*;
use crate::transport::sigv4::AwsCredentials;
use crate::transport::tests::credentials::{Folder, serve};

fn credentials(id: &str) -> AwsCredentials {
    AwsCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::new("hunter2"),
        session_token: Some(Secret::new("hunter2")),
    }
}

/// Settings for a region that nobody asks, with these variables.
fn settings<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> AwsSettings {
    let pairs: BTreeMap<&str, &str> = pairs.into_iter().collect();
    AwsSettings {
        region: "eu-central-1".to_owned(),
        profile: None,
        variables: AwsVariables::read(|name| pairs.get(name).copied()),
    }
}
