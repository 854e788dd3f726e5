//! Golden files, written by `tests/oracle/aws_oracle.py`.

use super::super::{chain, region};
use super::*;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
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
    answers: BTreeMap<String, (u16, String)>,
    profile: Option<String>,
    /// Access key id, secret and token, or a word.
    found: Value,
    asked: Vec<Value>,
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
        let headers: BTreeMap<String, &str> = lines[1..]
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
            .map(|(name, value)| (name, percent_decode_str(value).decode_utf8().unwrap()))
            .collect();
        form.sort();
        let kept = KEPT.map(|name| Some((name, *headers.get(name)?)));
        let kept: Vec<_> = kept.into_iter().flatten().collect();
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

/// What we find, in the words of the file, and what we have asked.
async fn found(case: &Case) -> (Value, Vec<Value>, String) {
    let folder = Folder::new("oracle");
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
    let found = tokio::select! {
        found = chain::find(&settings) => found,
        () = serve(&listener, case, &mut asked) => unreachable!(),
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
