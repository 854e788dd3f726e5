//! Against what Google's own Python library finds, asks and signs (`tests/oracle/google_oracle.py`); and what is our own.

use super::assertion::ServiceAccount;
use super::chain;
use super::*;
use crate::base::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

const CREDENTIALS: &str = include_str!("../../../tests/golden/google_credentials.jsonl");
const ASSERTION: &str = include_str!("../../../tests/golden/google_assertion.json");
const KEY: &str = include_str!("../../../tests/golden/google_key.pem");

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    answers: BTreeMap<String, (u16, String)>,
    /// Token and quota project, or a word.
    found: Value,
    asked: Vec<Value>,
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sonde-google-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
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

/// Answers one question after the other, and notes each.
async fn serve(listener: &TcpListener, case: &Case, asked: &mut Vec<Value>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let headers: HashMap<String, &str> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let mut form: Vec<_> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| {
                let value = percent_decode_str(value).decode_utf8().unwrap();
                match name {
                    "assertion" => json!([name, said(&value)]),
                    _ => json!([name, value]),
                }
            })
            .collect();
        form.sort_by_key(|pair| pair[0].as_str().map(str::to_owned));
        let flavor = headers.get("metadata-flavor");
        let kept: Vec<_> = flavor
            .iter()
            .map(|value| ("metadata-flavor", *value))
            .collect();
        let (question, _) = lines[0].rsplit_once(' ').unwrap();
        let (method, target) = question.split_once(' ').unwrap();
        asked.push(json!([method, target, kept, form]));
        let nothing = (404, String::new());
        let (status, text) = case.answers.get(question).unwrap_or(&nothing);
        let length = text.len();
        let reply = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n{text}");
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}

/// What we find, in the words of the file, what we have asked, and what we say where there is nothing.
async fn found(case: &Case) -> (Value, Vec<Value>, String) {
    let folder = Folder::new("oracle");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let key = json!(KEY).to_string();
    let fill = |text: &str| {
        text.replace("{dir}", folder.0.to_str().unwrap())
            .replace("{url}", &format!("http://{host}"))
            .replace("{host}", &host)
            .replace("{key}", key.trim_matches('"'))
    };
    for (name, text) in &case.files {
        let path = folder.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, fill(text)).unwrap();
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
    let found = tokio::select! {
        found = chain::find(&settings) => found,
        () = serve(&listener, case, &mut asked) => unreachable!(),
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
    let folder = Folder::new("messages");
    let path = folder.0.join("key.json");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
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
