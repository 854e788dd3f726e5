//! Against what Google's own Python library finds, asks and signs (`tests/oracle/google_oracle.py`); and what is our own.

use super::assertion::ServiceAccount;
use super::chain;
use super::*;
use crate::base::secret::Secret;
use crate::transport::tests::credentials::{Answers, Folder, Question, serve};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::net::TcpListener;

const CREDENTIALS: &str = include_str!("../../../tests/golden/google_credentials.jsonl");
const ASSERTION: &str = include_str!("../../../tests/golden/google_assertion.json");
const KEY: &str = include_str!("../../../tests/golden/google_key.pem");

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    answers: Answers,
    /// Token and quota project, or a word.
    found: Value,
    asked: Vec<Value>,
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// An assertion's header, its claims without times, and how long it holds.
fn said(assertion: &str) -> Value {
    let parts: Vec<&str> = assertion.split('.').collect();
    let (header, mut claims) = (decoded(parts[0]), decoded(parts[1]));
    let fields = claims.as_object_mut().unwrap();
    let mut time = |name: &str| fields.remove(name).unwrap().as_i64().unwrap();
    let lifetime = time("exp") - time("iat");
    json!([header, claims, lifetime])
}

/// What we find, in the words of the file, what we have asked, and what we say where there is nothing.
async fn found(case: &Case) -> (Value, Vec<Value>, String) {
    let folder = Folder::new("google-oracle");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let key = json!(KEY).to_string();
    let fill = |text: &str| {
        text.replace("{dir}", folder.path())
            .replace("{url}", &format!("http://{host}"))
            .replace("{host}", &host)
            .replace("{key}", key.trim_matches('"'))
    };
    for (name, text) in &case.files {
        folder.write(name, &fill(text));
    }
    let filled = case.environment.iter();
    let filled: HashMap<_, _> = filled
        .map(|(name, value)| (name.as_str(), fill(value)))
        .collect();
    let settings = GoogleSettings {
        credentials_file: None,
        variables: GoogleVariables::read(|name| filled.get(name).map(String::as_str)),
    };
    let mut asked = Vec::new();
    let note = |question: Question| {
        let form = question
            .form
            .iter()
            .map(|(name, value)| match name.as_str() {
                "assertion" => json!([name, said(value)]),
                _ => json!([name, value]),
            });
        let form: Vec<Value> = form.collect();
        let flavor = question.headers.get("metadata-flavor");
        let kept: Vec<_> = flavor
            .map(|value| ("metadata-flavor", value))
            .into_iter()
            .collect();
        asked.push(json!([question.method, question.target, kept, form]));
    };
    let found = tokio::select! {
        found = chain::find(&settings) => found,
        () = serve(&listener, &case.answers, note) => unreachable!(),
    };
    let said = found.as_ref().err().map(ToString::to_string);
    let word = match found {
        Ok(lease) => {
            let Token {
                secret,
                quota_project,
            } = lease.credentials;
            json!([secret.expose(), quota_project])
        }
        Err(GoogleError::Nowhere(_)) => json!("nowhere"),
        Err(GoogleError::Refused { .. }) => json!("refused"),
    };
    (word, asked, said.unwrap_or_default())
}

#[tokio::test]
async fn credentials_are_found_where_google_auth_finds_them_and_by_the_same_questions() {
    let mut words = BTreeMap::new();
    for line in CREDENTIALS.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let (word, asked, said) = found(&case).await;
        assert_eq!(word, case.found, "{}: {said}", case.name);
        if word.is_array() {
            assert_eq!(asked, case.asked, "{}", case.name);
        }
        assert!(
            !["-secret", "PRIVATE", "-token"]
                .iter()
                .any(|secret| said.contains(secret)),
            "{said}"
        );
        let kind = word.as_str().unwrap_or("found").to_owned();
        *words.entry(kind).or_insert(0) += 1;
    }
    // Enough of each to mean something.
    for (word, least) in [("found", 14), ("nowhere", 2), ("refused", 15)] {
        assert!(words[word] >= least, "{words:?}");
    }
}

#[test]
fn an_assertion_says_and_signs_what_that_of_google_auth_does() {
    let golden: Value = serde_json::from_str(ASSERTION).unwrap();
    let text = |name: &str| golden[name].as_str().unwrap();
    let account = ServiceAccount {
        email: text("email").to_owned(),
        key_id: Some(text("key_id").to_owned()),
        private_key: Secret::new(KEY),
    };
    let theirs = text("assertion");
    let (signed, _) = theirs.rsplit_once('.').unwrap();
    // The signature has no randomness in it.
    assert_eq!(account.signed(signed).unwrap(), theirs);
    let (header, claims) = account.says(text("time").parse().unwrap());
    let (theirs, of_theirs) = signed.split_once('.').unwrap();
    assert_eq!((header, claims), (decoded(theirs), decoded(of_theirs)));
}

/// Where nobody listens.
const NOBODY: (&str, &str) = ("GCE_METADATA_HOST", "127.0.0.1:1");

async fn message(file: Option<&str>, pairs: &[(&str, &str)]) -> String {
    let folder = Folder::new("google-messages");
    let path = PathBuf::from(folder.path()).join("key.json");
    if let Some(text) = file {
        folder.write("key.json", text);
    }
    let settings = GoogleSettings {
        credentials_file: file.map(|_| path.clone()),
        variables: GoogleVariables::read(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        }),
    };
    let error = chain::find(&settings).await.unwrap_err().to_string();
    error.replace(path.to_str().unwrap(), "key.json")
}

#[tokio::test]
async fn without_credentials_every_place_is_named() {
    let said = message(None, &[("HOME", "/nowhere"), NOBODY]).await;
    for part in [
        "no Google credentials, though Sonde has looked at `GOOGLE_APPLICATION_CREDENTIALS` (not set); \
         gcloud's `/nowhere/.config/gcloud/application_default_credentials.json` (not there); \
         the metadata server `127.0.0.1:1` (",
        "; hint: give the pod a service account (Workload Identity on GKE), or name a key file in \
         `auth.google.credentials_file`",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_does_not_serve_ends_the_search_and_is_told_by_its_type() {
    for (file, wanted) in [
        (
            r#"{"type":"external_account","audience":"x"}"#,
            "no Google credentials from `key.json`: it is of workload identity federation (`external_account`), which \
             Sonde does not do; hint: on GKE give the pod a service account (Workload Identity), else use a service \
             account's key",
        ),
        (
            r#"{"type":"impersonated_service_account"}"#,
            "no Google credentials from `key.json`: it is of type `impersonated_service_account`, which Sonde does \
             not do; hint: on GKE give the pod a service account (Workload Identity), else use a service account's key",
        ),
        (
            r#"{"type":"service_account","client_email":"a","token_uri":"http://127.0.0.1:1/","private_key":"hunter2"}"#,
            "no Google credentials from `key.json`: its `private_key` is no key in PEM",
        ),
        (
            r#"{"type":"hunter2"}"#,
            "no Google credentials from `key.json`: its `type` is neither `service_account` nor `authorized_user`",
        ),
    ] {
        assert_eq!(message(Some(file), &[NOBODY]).await, wanted);
    }
}

#[tokio::test]
async fn a_token_and_who_pays_are_headers_that_never_print() {
    let credentials = GoogleCredentials::new(GoogleSettings::default());
    let lease = || async {
        Ok::<_, GoogleError>(crate::transport::lease::Lease {
            credentials: Token {
                secret: Secret::new("hunter2"),
                quota_project: Some("paying".to_owned()),
            },
            expires: Some(wall_now() + jiff::SignedDuration::from_hours(1)),
        })
    };
    credentials
        .leases
        .credentials(wall_now(), lease())
        .await
        .unwrap();
    let mut headers = HeaderMap::new();
    credentials.prove(&mut headers).await.unwrap();
    assert_eq!(headers[AUTHORIZATION], "Bearer hunter2");
    assert_eq!(headers[QUOTA_PROJECT], "paying");
    let printed = format!("{headers:?} {credentials:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}
