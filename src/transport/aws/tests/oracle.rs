//! Golden files, written by `tests/oracle/aws_oracle.py`.

use super::super::{chain, region};
use super::*;
use crate::transport::tests::credentials::{Answers, Question};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const CREDENTIALS: &str = include_str!("../../../../tests/golden/aws_credentials.jsonl");
const HOSTS: &str = include_str!("../../../../tests/golden/aws_hosts.jsonl");
/// The headers that were kept of what botocore asked.
const KEPT: [&str; 3] = [
    "authorization",
    "x-aws-ec2-metadata-token",
    "x-aws-ec2-metadata-token-ttl-seconds",
];

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    answers: Answers,
    profile: Option<String>,
    /// Access key id, secret and token, or a word.
    found: Value,
    asked: Vec<Value>,
}

/// What we find, in the words of the file, and what we have asked.
async fn found(case: &Case) -> (Value, Vec<Value>, String) {
    let folder = Folder::new("aws-oracle");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fill = |text: &str| text.replace("{dir}", folder.path()).replace("{url}", &url);
    for (name, text) in &case.files {
        folder.write(name, &fill(text));
    }
    let filled = case.environment.iter();
    let filled: Vec<_> = filled.map(|(name, value)| (name, fill(value))).collect();
    let pairs = filled
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = AwsSettings {
        profile: case.profile.clone(),
        ..settings(pairs)
    };
    let mut asked = Vec::new();
    let note = |question: Question| {
        let kept = KEPT.map(|name| Some((name, question.headers.get(name)?)));
        let kept: Vec<_> = kept.into_iter().flatten().collect();
        asked.push(json!([
            question.method,
            question.target,
            kept,
            question.form
        ]));
    };
    let found = tokio::select! {
        found = chain::find(&settings) => found,
        () = serve(&listener, &case.answers, note) => unreachable!(),
    };
    let said = found.as_ref().err().map(ToString::to_string);
    let word = match found {
        Ok(lease) => {
            let AwsCredentials {
                access_key_id,
                secret_access_key,
                session_token,
            } = &lease.credentials;
            let token = session_token.as_ref().map(Secret::expose);
            json!([access_key_id, secret_access_key.expose(), token])
        }
        Err(AwsError::Nowhere(_)) => json!("nowhere"),
        Err(AwsError::Refused { .. }) => json!("refused"),
    };
    (word, asked, said.unwrap_or_default())
}

#[tokio::test]
async fn credentials_are_found_where_botocore_finds_them_and_by_the_same_questions() {
    let mut words = BTreeMap::new();
    for line in CREDENTIALS.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let (word, asked, said) = found(&case).await;
        assert_eq!(word, case.found, "{}: {said}", case.name);
        if word.is_array() {
            assert_eq!(asked, case.asked, "{}", case.name);
        }
        assert!(
            !said.contains("-secret") && !said.contains("signature_-"),
            "{said}"
        );
        let kind = word.as_str().unwrap_or("found").to_owned();
        *words.entry(kind).or_insert(0) += 1;
    }
    // Enough of each to mean something.
    for (word, least) in [("found", 60), ("nowhere", 8), ("refused", 20)] {
        assert!(words[word] >= least, "{words:?}");
    }
}

#[derive(Debug, Deserialize)]
struct Host {
    service: String,
    host: String,
    region: String,
    dual_stack: bool,
}

#[test]
fn regions_and_hosts_go_together_as_in_botocore() {
    let mut count = 0;
    for line in HOSTS.lines() {
        let line: Host = serde_json::from_str(line).unwrap();
        assert_eq!(
            region_of_host(&line.host),
            Some(line.region.as_str()),
            "{line:?}"
        );
        if line.service == "sts" && !line.dual_stack {
            assert_eq!(
                region::sts_url(&line.region),
                format!("https://{}", line.host)
            );
        }
        count += 1;
    }
    assert!(count > 200, "{count}");
}
