use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sonde-web-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `server.crt` and `server.key` for `localhost`, signed by `authority`.
    pub(crate) fn certify(&self, authority: &Authority) {
        let (cert, key) = authority.issue("localhost");
        self.write("server.crt", &cert);
        self.write("server.key", &key);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key in PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

pub(crate) fn basic(user: &str, password: &str) -> HeaderMap {
    let text = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    );
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(text).unwrap())])
}

/// The messages that a file gives, without its path.
fn problems(text: &str) -> String {
    let folder = Folder::new();
    folder.certify(&Authority::new());
    let path = folder.write("web.yml", text);
    match WebConfig::load(&path) {
        Ok(_) => String::new(),
        Err(error) => error
            .to_string()
            .replace(&path.display().to_string(), "web.yml"),
    }
}

#[test]
fn files_of_exporter_toolkit_are_taken() {
    for good in [
        "",
        "# nothing yet\n",
        "tls_server_config:\nbasic_auth_users:\n",
        "tls_server_config: {}\n",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAnyClientCert, min_version: TLS13, max_version: TLS13, prefer_server_cipher_suites: true}\n",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.crt}\n",
        "http_server_config: {http2: false, headers: {X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\", X-XSS-Protection: \"\"}}\n",
        "basic_auth_users:\n  alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\n  a.b: $2b$12$hLqFl9jSjoAAy95Z/zw8Ye8wkdMBM8c5Bn1ptYqP/AXyV0.oy0S8m\n",
    ] {
        assert_eq!(problems(good), "", "{good}");
    }
}

#[test]
fn what_is_set_is_in_force() {
    let folder = Folder::new();
    folder.certify(&Authority::new());
    let path = folder.write(
        "web.yml",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n\
         http_server_config: {headers: {X-Frame-Options: deny, X-XSS-Protection: \"\"}}\n\
         basic_auth_users: {alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}\n",
    );
    let config = WebConfig::load(&path).unwrap();
    assert!(config.tls().is_some() && config.asks_for_users());
    assert_eq!(config.headers().get("x-frame-options").unwrap(), "deny");
    assert_eq!(config.headers().len(), 1);
    assert!(
        !format!("{config:?}").contains("mDwo"),
        "a hash was printed"
    );
}

#[test]
fn a_certificate_may_stand_in_the_file_itself() {
    let (cert, key) = Authority::new().issue("localhost");
    let indent = |text: String| text.replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
        indent(cert),
        indent(key)
    );
    assert_eq!(problems(&text), "");
}

#[test]
fn every_rule_names_key_value_and_remedy() {
    for (bad, message) in [
        (
            "basic_auth_user: {}\n",
            "web.yml: 1 problem\n  basic_auth_user: unknown field `basic_auth_user`, expected one of `tls_server_config`, `http_server_config`, `basic_auth_users`, `rate_limit`\n    hint: see https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md",
        ),
        (
            "basic_auth_users: {alice: secret, \"b:c\": 7}\n",
            "web.yml: 1 problem\n  basic_auth_users.b:c: has the wrong type\n    hint: see https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md",
        ),
        (
            "basic_auth_users: {alice: hunter2, bob: $2y$31$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}\n",
            "web.yml: 2 problems\n  basic_auth_users.alice: is not a bcrypt hash\n    hint: make one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`\n  basic_auth_users.bob: has a hash of cost 31, which is not from 4 to 16\n    hint: make one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`",
        ),
        (
            "tls_server_config: {cert_file: server.crt}\n",
            "web.yml: 1 problem\n  tls_server_config.key_file: is missing\n    hint: set `key_file`, or remove the section for plain HTTP",
        ),
        (
            "tls_server_config: {cert_file: no.crt, key_file: server.crt, min_version: TLS11}\n",
            "web.yml: 3 problems\n  tls_server_config.min_version: `TLS11` is broken and not spoken here\n    hint: `TLS12` or `TLS13`\n  tls_server_config.cert_file: `no.crt` cannot be read: No such file or directory (os error 2)\n    hint: name a readable PEM file; relative paths start at this file's folder\n  tls_server_config.key_file: holds no private key: no items found\n    hint: an unencrypted PKCS#8, SEC1 or PKCS#1 key in PEM",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13, max_version: TLS12}\n",
            "web.yml: 1 problem\n  tls_server_config.min_version: is above `max_version`\n    hint: swap them",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: Sometimes}\n",
            "web.yml: 1 problem\n  tls_server_config.client_auth_type: `Sometimes` is no policy for client certificates\n    hint: one of `NoClientCert`, `RequestClientCert`, `RequireAnyClientCert`, `RequireClientCert`, `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: server.crt}\n",
            "web.yml: 1 problem\n  tls_server_config.client_ca_file: is given, but client certificates are not asked for\n    hint: set `client_auth_type: RequireAndVerifyClientCert`",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert}\n",
            "web.yml: 1 problem\n  tls_server_config.client_auth_type: `RequireAndVerifyClientCert` needs an authority to verify with\n    hint: set `client_ca_file`",
        ),
        (
            "tls_server_config: {cert_file: server.crt, key_file: server.key, client_allowed_sans: [a]}\nrate_limit: {interval: 1s, burst: 3}\n",
            "web.yml: 2 problems\n  rate_limit: is not supported here\n    hint: remove it; limit the rate in a proxy in front\n  tls_server_config.client_allowed_sans: is not supported here\n    hint: remove it; issue client certificates from an authority of their own",
        ),
        (
            "http_server_config: {headers: {Server: x, X-Frame-Options: no}}\n",
            "web.yml: 2 problems\n  http_server_config.headers.Server: is no header that can be set\n    hint: one of `Content-Security-Policy`, `Strict-Transport-Security`, `X-Content-Type-Options`, `X-Frame-Options`, `X-XSS-Protection`\n  http_server_config.headers.X-Frame-Options: `no` is not allowed\n    hint: one of deny, sameorigin",
        ),
    ] {
        assert_eq!(problems(bad), message);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = Folder::new();
    let authority = Authority::new();
    folder.certify(&authority);
    folder.write("server.key", &authority.issue("localhost").1);
    let path = folder.write(
        "web.yml",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
    );
    let error = WebConfig::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("certificate and key cannot be used together"),
        "{error}"
    );
}

#[test]
fn text_that_is_not_yaml_is_refused_where_it_breaks() {
    for bad in ["a: [", "- a\n- b\n", "hello", "a: 1\na: 2\n"] {
        let message = problems(bad);
        assert!(
            message.starts_with("web.yml: 1 problem\n  "),
            "{bad}: {message}"
        );
    }
    let missing = WebConfig::load(Path::new("/nowhere/web.yml")).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
}

#[tokio::test]
async fn without_a_file_everybody_may_read() {
    let state = WebConfigState::open(None).unwrap();
    assert!(!state.uses_tls());
    assert!(authorize(&state, &HeaderMap::new()).await.is_ok());
}

#[tokio::test]
async fn a_stranger_is_asked_who_he_is() {
    let folder = Folder::new();
    let hash = bcrypt::hash("sesame", 4).unwrap();
    let path = folder.write("web.yml", &format!(
        "basic_auth_users: {{alice: {hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    ));
    let state = WebConfigState::open(Some(&path)).unwrap();
    assert!(authorize(&state, &basic("alice", "sesame")).await.is_ok());
    for headers in [
        HeaderMap::new(),
        basic("alice", "wrong"),
        basic("mallory", "sesame"),
    ] {
        let answer = authorize(&state, &headers).await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers().get(WWW_AUTHENTICATE).unwrap(), REALM);
        assert_eq!(answer.headers().get("x-frame-options").unwrap(), "deny");
    }
}

#[tokio::test]
async fn changed_users_count_without_a_restart_and_a_broken_file_changes_nothing() {
    let folder = Folder::new();
    let users = |user: &str| {
        format!(
            "basic_auth_users: {{{user}: {}}}\n",
            bcrypt::hash("x", 4).unwrap()
        )
    };
    let path = folder.write("web.yml", &users("alice"));
    let state = WebConfigState::open(Some(&path)).unwrap();
    let passes = async |user: &str| {
        state.look_now().await;
        authorize(&state, &basic(user, "x")).await.is_ok()
    };
    assert!(passes("alice").await);

    folder.write("web.yml", &users("robert"));
    assert!(passes("robert").await && !passes("alice").await);

    folder.write("web.yml", "basic_auth_users: {alice: oops}\n");
    assert!(passes("robert").await && !passes("alice").await);
    assert!(state.error().unwrap().contains("is not a bcrypt hash"));

    folder.write("web.yml", "");
    assert!(passes("anybody").await);
    assert_eq!(state.error(), None);
}

#[tokio::test]
async fn tls_neither_begins_nor_ends_while_running() {
    let folder = Folder::new();
    folder.certify(&Authority::new());
    let path = folder.write("web.yml", "");
    let state = WebConfigState::open(Some(&path)).unwrap();
    folder.write(
        "web.yml",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n",
    );
    state.look_now().await;
    assert!(state.current().await.tls().is_none());
    assert!(
        state
            .error()
            .unwrap()
            .contains("plain HTTP until it is restarted")
    );
}
