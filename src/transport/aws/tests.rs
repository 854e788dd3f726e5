//! Against what Amazon's own Python client finds, asks and calls its hosts; and what is our own.

mod messages;
mod oracle;
mod renewal;

use super::*;
use crate::transport::sigv4::AwsCredentials;

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

/// A folder that is gone with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sonde-aws-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
