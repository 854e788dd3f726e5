//! Requests to Vertex AI carry an access token, which the fake gives and checks as Google does.

use crate::support::{Runtime, probe, quick, run, scenario, simulate, target};
use serde_json::json;
use sonde::base::secret::Secret;
use sonde::probe::{Observation, Outcome, TargetSettings};
use sonde::simulate::Character;
use sonde::transport::{Auth, GoogleCredentials, GoogleSettings, GoogleVariables, SecretSource};

const KEY: &str = include_str!("../golden/google_key.pem");
const RUNTIMES: [&str; 2] = ["vertex", "vertex-anthropic"];

fn key_file(email: &str, url: &str) -> String {
    let account = json!({
        "type": "service_account",
        "client_email": email,
        "private_key": KEY,
        "token_uri": format!("{url}/token"),
    });
    account.to_string()
}

async fn server() -> Runtime {
    let key = key_file("probe@my-project.iam.gserviceaccount.com", "http://unused");
    simulate(Character {
        google_key: Some(key.parse().unwrap()),
        ..quick()
    })
    .await
}

async fn run_as(auth: Auth, runtime: &str, url: &str) -> Observation {
    let url = format!("{url}/v1/projects/p/locations/europe-west4");
    let mut target: TargetSettings = target(runtime, &url);
    target.endpoint.auth = auth;
    run(&probe(target, scenario())).await
}

/// By a key file of this account, which is gone again.
async fn run_with_key(email: &str, runtime: &str, url: &str) -> Observation {
    let name = format!("sonde-google-{email}-{runtime}-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, key_file(email, url)).unwrap();
    let auth = Auth::Google(GoogleCredentials::new(GoogleSettings {
        credentials_file: Some(path.clone()),
        variables: GoogleVariables::default(),
    }));
    let seen = run_as(auth, runtime, url).await;
    std::fs::remove_file(path).unwrap();
    seen
}

#[tokio::test]
async fn a_run_with_a_service_accounts_token_is_answered_and_no_other() {
    let server = server().await;
    let url = server.url();
    for runtime in RUNTIMES {
        let email = "probe@my-project.iam.gserviceaccount.com";
        let good = run_with_key(email, runtime, &url).await;
        assert_eq!(good.outcome, Outcome::Success, "{:?}", good.failure);

        let other = run_with_key("other@my-project.iam.gserviceaccount.com", runtime, &url).await;
        assert_eq!(other.outcome, Outcome::Auth);
        let message = other.failure.unwrap().message;
        let why = format!("{url}/token: HTTP 400 Bad Request: invalid_grant: Not a valid email");
        assert!(message.contains(&why), "{message}");

        let stale = Auth::Bearer(SecretSource::Value(Secret::new("ya29.1.seal")));
        for auth in [stale, Auth::None] {
            let bad = run_as(auth, runtime, &url).await;
            assert_eq!(bad.outcome, Outcome::Auth);
            let message = bad.failure.unwrap().message;
            assert!(message.contains("UNAUTHENTICATED: "), "{message}");
        }
    }
}

#[tokio::test]
async fn the_metadata_server_gives_a_pod_its_token() {
    let server = server().await;
    let host = server.url().replace("http://", "");
    let auth = Auth::Google(GoogleCredentials::new(GoogleSettings {
        credentials_file: None,
        variables: GoogleVariables::read(|name| match name {
            "GCE_METADATA_HOST" => Some(&host),
            _ => None,
        }),
    }));
    let good = run_as(auth, "vertex", &server.url()).await;
    assert_eq!(good.outcome, Outcome::Success, "{:?}", good.failure);
}

#[tokio::test]
async fn without_credentials_the_run_says_where_it_has_looked() {
    let auth = Auth::Google(GoogleCredentials::new(GoogleSettings {
        credentials_file: None,
        variables: GoogleVariables::read(|name| (name == "NO_GCE_CHECK").then_some("true")),
    }));
    let seen = run_as(auth, "vertex", "http://127.0.0.1:1").await;
    assert_eq!(seen.outcome, Outcome::Auth);
    let message = seen.failure.unwrap().message;
    assert!(
        message.contains("`GOOGLE_APPLICATION_CREDENTIALS` (not set)"),
        "{message}"
    );
    assert!(message.contains("off by `NO_GCE_CHECK`"), "{message}");
}
