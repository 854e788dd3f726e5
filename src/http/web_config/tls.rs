//! `tls_server_config`: rustls' server side.

use super::file::Loader;
use super::problem::WebConfigProblem;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// The section as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    cert: Option<String>,
    cert_file: Option<PathBuf>,
    key: Option<String>,
    key_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_ca: Option<String>,
    client_ca_file: Option<PathBuf>,
    min_version: Option<String>,
    max_version: Option<String>,
    /// Without effect in Go too.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
    client_allowed_sans: Option<Vec<String>>,
    cipher_suites: Option<Vec<String>>,
    curve_preferences: Option<Vec<String>>,
}

/// Go's policies for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    const NAMES: [(&str, Self); 6] = [
        ("NoClientCert", Self::None),
        ("RequestClientCert", Self::Request),
        ("RequireAnyClientCert", Self::RequireAny),
        // The old name of the one above, which exporter-toolkit still takes.
        ("RequireClientCert", Self::RequireAny),
        ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerify),
    ];

    fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// A PEM text and the key that it came from.
struct Pem {
    key: String,
    text: Vec<u8>,
}

/// What rustls needs; `None` when the section is empty or refused.
pub(super) fn server_config(loader: &mut Loader, raw: RawTls) -> Option<Arc<ServerConfig>> {
    refuse_unsupported(loader, &raw);
    let has_cert = raw.cert.is_some() || raw.cert_file.is_some();
    let has_key = raw.key.is_some() || raw.key_file.is_some();
    let has_ca = raw.client_ca.is_some() || raw.client_ca_file.is_some();
    if !has_cert && !has_key && !has_ca && raw.client_auth_type.is_none() {
        return None;
    }
    for (given, name) in [(has_cert, "cert_file"), (has_key, "key_file")] {
        if !given {
            let remedy = format!("set `{name}`, or remove the section for plain HTTP");
            loader.refuse(problem(name, "is missing", remedy));
        }
    }
    let versions = versions(
        loader,
        raw.min_version.as_deref(),
        raw.max_version.as_deref(),
    );
    let client_auth = client_auth(loader, raw.client_auth_type.as_deref(), has_ca);
    let authorities = pem(loader, "client_ca", raw.client_ca, raw.client_ca_file);
    let authorities = authorities.and_then(|pem| authority_store(loader, &pem));
    let cert = pem(loader, "cert", raw.cert, raw.cert_file);
    let chain = cert.and_then(|pem| certificates(loader, &pem));
    let key = pem(loader, "key", raw.key, raw.key_file);
    let key = key.and_then(|pem| private_key(loader, &pem));
    let verifier = verifier(loader, client_auth?, authorities)?;
    let (versions, chain, key) = (versions?, chain?, key?);
    let built = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions)
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    match built {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(config))
        }
        Err(error) => {
            let rule = format!("certificate and key cannot be used together: {error}");
            loader.refuse(WebConfigProblem::new(
                "tls_server_config",
                rule,
                "give the key that the certificate was issued for, the server's certificate first",
            ));
            None
        }
    }
}

fn problem(
    name: &str,
    rule: impl std::fmt::Display,
    remedy: impl Into<String>,
) -> WebConfigProblem {
    WebConfigProblem::new(format!("tls_server_config.{name}"), rule, remedy)
}

/// Settings that would be unsafe to pass over in silence.
fn refuse_unsupported(loader: &mut Loader, raw: &RawTls) {
    let defaults = "remove it; every suite and curve offered here is a safe one";
    let sans = "remove it; issue client certificates from an authority of their own";
    for (name, given, remedy) in [
        (
            "client_allowed_sans",
            raw.client_allowed_sans.is_some(),
            sans,
        ),
        ("cipher_suites", raw.cipher_suites.is_some(), defaults),
        (
            "curve_preferences",
            raw.curve_preferences.is_some(),
            defaults,
        ),
    ] {
        if given {
            loader.refuse(problem(name, "is not supported here", remedy));
        }
    }
}

/// The versions from the lowest to the highest allowed.
fn versions(
    loader: &mut Loader,
    min: Option<&str>,
    max: Option<&str>,
) -> Option<Vec<&'static SupportedProtocolVersion>> {
    const KNOWN: [(&str, &SupportedProtocolVersion); 2] =
        [("TLS12", &version::TLS12), ("TLS13", &version::TLS13)];
    let mut place = |name, value: Option<&str>, default| {
        let Some(value) = value else {
            return Some(default);
        };
        let place = KNOWN.iter().position(|(known, _)| *known == value);
        if place.is_none() {
            let rule = match value {
                "TLS10" | "TLS11" => "is broken and not spoken here",
                _ => "is no TLS version",
            };
            loader.refuse(problem(name, rule, "`TLS12` or `TLS13`").found(value));
        }
        place
    };
    let (min, max) = (place("min_version", min, 0), place("max_version", max, 1));
    let (min, max) = (min?, max?);
    if min > max {
        loader.refuse(problem(
            "min_version",
            "is above `max_version`",
            "swap them",
        ));
        return None;
    }
    Some(
        KNOWN
            .into_iter()
            .skip(min)
            .take(max + 1 - min)
            .map(|(_, version)| version)
            .collect(),
    )
}

fn client_auth(loader: &mut Loader, name: Option<&str>, has_ca: bool) -> Option<ClientAuth> {
    let name = name.unwrap_or("NoClientCert");
    let Some((_, policy)) = ClientAuth::NAMES.iter().find(|(known, _)| *known == name) else {
        let known = ClientAuth::NAMES
            .map(|(name, _)| format!("`{name}`"))
            .join(", ");
        let rule = "is no policy for client certificates";
        loader.refuse(problem("client_auth_type", rule, format!("one of {known}")).found(name));
        return None;
    };
    if *policy == ClientAuth::None && has_ca {
        let rule = "is given, but client certificates are not asked for";
        let remedy = "set `client_auth_type: RequireAndVerifyClientCert`";
        loader.refuse(problem("client_ca_file", rule, remedy));
        return None;
    }
    if policy.verifies() && !has_ca {
        let rule = "needs an authority to verify with";
        loader.refuse(problem("client_auth_type", rule, "set `client_ca_file`").found(name));
        return None;
    }
    Some(*policy)
}

/// The text of `name` or of the file that `name_file` names.
fn pem(
    loader: &mut Loader,
    name: &str,
    inline: Option<String>,
    file: Option<PathBuf>,
) -> Option<Pem> {
    match (inline, file) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            let rule = format!("is given and `{name}_file` too");
            loader.refuse(problem(name, rule, "keep one of them"));
            None
        }
        (Some(text), None) => Some(Pem {
            key: name.to_owned(),
            text: text.into_bytes(),
        }),
        (None, Some(path)) => {
            let key = format!("{name}_file");
            match loader.read(&path) {
                Ok(text) => Some(Pem { key, text }),
                Err(error) => {
                    let remedy =
                        "name a readable PEM file; relative paths start at this file's folder";
                    let rule = format!("cannot be read: {error}");
                    loader.refuse(problem(&key, rule, remedy).found(path.display()));
                    None
                }
            }
        }
    }
}

fn certificates(loader: &mut Loader, pem: &Pem) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let rule = match found {
        Ok(found) if !found.is_empty() => return Some(found),
        Ok(_) => "holds no certificate".to_owned(),
        Err(error) => format!("is not PEM: {error}"),
    };
    loader.refuse(problem(
        &pem.key,
        rule,
        "`-----BEGIN CERTIFICATE-----` and so on",
    ));
    None
}

fn private_key(loader: &mut Loader, pem: &Pem) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&pem.text)
        .map_err(|error| {
            let rule = format!("holds no private key: {error}");
            let remedy = "an unencrypted PKCS#8, SEC1 or PKCS#1 key in PEM";
            loader.refuse(problem(&pem.key, rule, remedy));
        })
        .ok()
}

fn authority_store(loader: &mut Loader, pem: &Pem) -> Option<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(loader, pem)? {
        if let Err(error) = store.add(certificate) {
            let rule = format!("holds a certificate that is no authority: {error}");
            loader.refuse(problem(
                &pem.key,
                rule,
                "give certificates of authorities only",
            ));
            return None;
        }
    }
    Some(Arc::new(store))
}

fn verifier(
    loader: &mut Loader,
    policy: ClientAuth,
    authorities: Option<Arc<RootCertStore>>,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let provider = Arc::new(ring::default_provider());
    let trusting = |mandatory| {
        let provider = provider.clone();
        Some(Arc::new(AnyCertificate {
            provider,
            mandatory,
        }) as Arc<dyn ClientCertVerifier>)
    };
    match policy {
        ClientAuth::None => return Some(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Request => return trusting(false),
        ClientAuth::RequireAny => return trusting(true),
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {}
    }
    let builder = WebPkiClientVerifier::builder_with_provider(authorities?, provider);
    let builder = match policy {
        ClientAuth::VerifyIfGiven => builder.allow_unauthenticated(),
        _ => builder,
    };
    builder
        .build()
        .map_err(|error| {
            loader.refuse(problem(
                "client_ca_file",
                error,
                "give at least one authority",
            ))
        })
        .ok()
}

/// Asks for a certificate and believes it: the client proves that it has the key, not who it is.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
