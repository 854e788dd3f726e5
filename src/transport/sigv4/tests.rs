//! Two oracles, each a golden file: what Amazon has published, and what its own Python client answers.

use super::*;
use serde::Deserialize;

/// From Amazon's signing test suite (github.com/awslabs/aws-c-auth, tests/aws-signing-test-suite, Apache-2.0): those
/// cases that sign headers and normalise the path. Left out: a header of several lines and a path with a bare blank,
/// which HTTP does not allow. Added: `double-url-encode`, which only Amazon's client for Rust (aws-sigv4) has kept.
const PUBLISHED: &str = include_str!("../../../tests/golden/sigv4_published.jsonl");
/// Written by `tests/oracle/sigv4_oracle.py`.
const BOTOCORE: &str = include_str!("../../../tests/golden/sigv4.jsonl");

#[derive(Debug, Deserialize)]
struct Case {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    token: Option<String>,
    region: String,
    service: String,
    time: i64,
    authorization: String,
}

impl Case {
    fn request(&self) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Bytes::from(self.body.clone())).unwrap()
    }

    fn credentials(&self) -> AwsCredentials {
        AwsCredentials {
            session_token: self.token.clone().map(Secret::new),
            ..credentials()
        }
    }

    fn sign(&self, request: &Request<Bytes>) -> Vec<(HeaderName, HeaderValue)> {
        let scope = SigningScope {
            region: &self.region,
            service: &self.service,
            time: Timestamp::from_second(self.time).unwrap(),
        };
        sign(request, &self.credentials(), scope).unwrap()
    }
}

fn credentials() -> AwsCredentials {
    AwsCredentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: None,
    }
}

fn scope() -> SigningScope<'static> {
    SigningScope {
        region: "us-east-1",
        service: "service",
        time: Timestamp::from_second(1_440_938_160).unwrap(),
    }
}

fn authorization(added: &[(HeaderName, HeaderValue)]) -> &str {
    let value = added.iter().find(|(name, _)| name == AUTHORIZATION);
    value.unwrap().1.to_str().unwrap()
}

fn check(golden: &str, least: usize) {
    let cases: Vec<Case> = golden
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(cases.len() >= least, "{}", cases.len());
    for case in cases {
        let added = case.sign(&case.request());
        assert_eq!(authorization(&added), case.authorization, "{case:#?}");
        let token = added.iter().find(|(name, _)| name == AMZ_SECURITY_TOKEN);
        let token = token.map(|(_, value)| value.to_str().unwrap());
        assert_eq!(token, case.token.as_deref());
    }
}

#[test]
fn signatures_are_as_amazon_has_published_them() {
    check(PUBLISHED, 29);
}

#[test]
fn signatures_are_as_botocore_makes_them() {
    check(BOTOCORE, 110);
}

#[test]
fn the_time_is_sent_as_it_is_signed() {
    let request = Request::builder().header(HOST, "h");
    let request = request.body(Bytes::new()).unwrap();
    let added = sign(&request, &credentials(), scope()).unwrap();
    let date = added.iter().find(|(name, _)| name == AMZ_DATE).unwrap();
    assert_eq!(date.1, "20150830T123600Z");
}

#[test]
fn a_request_is_signed_again_as_if_for_the_first_time() {
    for line in BOTOCORE.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let mut request = case.request();
        let stale = "stale".parse::<HeaderValue>().unwrap();
        for name in [AUTHORIZATION, AMZ_DATE] {
            request.headers_mut().insert(name, stale.clone());
        }
        if case.token.is_some() {
            request.headers_mut().insert(AMZ_SECURITY_TOKEN, stale);
        }
        assert_eq!(authorization(&case.sign(&request)), case.authorization);
    }
}

#[test]
fn the_host_comes_from_the_uri_where_no_header_has_it() {
    let with_header = Request::builder().uri("/a").header(HOST, "h:8080");
    let with_uri = Request::builder().uri("http://h:8080/a");
    let [header, uri] = [with_header, with_uri].map(|request| {
        let request = request.body(Bytes::new()).unwrap();
        sign(&request, &credentials(), scope()).unwrap()
    });
    assert_eq!(header, uri);
}

/// Where botocore would sign what was sent, which no service accepts.
#[test]
fn a_query_that_is_not_fully_encoded_is_signed_as_services_read_it() {
    assert_eq!(
        canonical_query("b=1/2&&a:c=%7e%2F&a"),
        "a=&a%3Ac=~%2F&b=1%2F2"
    );
}

#[test]
fn what_cannot_be_signed_says_why() {
    let signed = |request: http::request::Builder, credentials: &AwsCredentials| {
        let request = request.body(Bytes::new()).unwrap();
        sign(&request, credentials, scope()).unwrap_err()
    };
    let request = || Request::builder().header(HOST, "h");
    assert_eq!(
        signed(Request::builder(), &credentials()).to_string(),
        "the request names no host, which must be signed; hint: set its `host` header"
    );
    assert_eq!(
        signed(request().header("x-a", &b"\xff"[..]), &credentials()).to_string(),
        "the value of the header `x-a`, which must be signed, is not UTF-8"
    );
    let broken = AwsCredentials {
        access_key_id: "a\nb".to_owned(),
        ..credentials()
    };
    assert_eq!(
        signed(request(), &broken).to_string(),
        "the access key id, the session token, the region or the service holds characters that an HTTP header cannot"
    );
}

#[test]
fn neither_token_nor_signature_prints_itself() {
    let credentials = AwsCredentials {
        session_token: Some(Secret::new("hunter2")),
        ..credentials()
    };
    let request = Request::builder().header(HOST, "h");
    let request = request.body(Bytes::new()).unwrap();
    let added = sign(&request, &credentials, scope()).unwrap();
    let printed = format!("{credentials:?} {added:?}");
    for secret in ["hunter2", "wJalr", "Signature="] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
