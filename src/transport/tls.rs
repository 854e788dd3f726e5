//! Trust: rustls with `ring`, the system's or the user's authorities, client certificates.

use super::settings::{HttpChoice, TlsSettings};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is unreadable or holds nothing of use.
    #[error("cannot read {what} from `{}`: {reason}", path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("`cert_file` and `key_file` go together")]
    HalfPair,
    /// Not a host name.
    #[error("`{0}` is no server name")]
    ServerName(String),
    /// The certificate and key do not suit each other.
    #[error("the client certificate cannot be used: {0}")]
    Certificate(rustls::Error),
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities\nhint: set `tls.ca_file`")]
    NoRoots,
}

/// The system's certificate authorities, read once and only when needed.
#[derive(Debug, Default)]
pub(super) struct SystemRoots(OnceLock<Arc<RootCertStore>>);

impl SystemRoots {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn load(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let roots = self.0.get_or_init(|| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        });
        match roots.is_empty() {
            true => Err(TlsError::NoRoots),
            false => Ok(roots.clone()),
        }
    }
}

/// An immutable cache, shared by all targets: a megabyte that nobody needs twice.
static SYSTEM_ROOTS: SystemRoots = SystemRoots::new();

fn pem_error(what: &'static str, path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Pem {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Reads every certificate of a PEM file.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_error(what, path, error))?;
    match found.is_empty() {
        true => Err(pem_error(what, path, "no certificate in it")),
        false => Ok(found),
    }
}

/// Builds rustls' client configuration.
pub(super) fn client_config(
    settings: &TlsSettings,
    http: HttpChoice,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?;
    let builder = if settings.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnything(provider)))
    } else {
        let roots = match &settings.ca_file {
            None => SYSTEM_ROOTS.load()?,
            Some(path) => {
                let mut store = RootCertStore::empty();
                for certificate in certificates("certificate authorities", path)? {
                    store
                        .add(certificate)
                        .map_err(|error| pem_error("certificate authorities", path, error))?;
                }
                Arc::new(store)
            }
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| TlsError::Certificate(rustls::Error::General(error.to_string())))?;
        builder.with_webpki_verifier(verifier)
    };
    let mut config = match (&settings.cert_file, &settings.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("the client certificate", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| pem_error("the client key", key, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Certificate)?
        }
        _ => return Err(TlsError::HalfPair),
    };
    // A resumed session would make a cold connection warmer than it says, and trust a certificate
    // that has expired meanwhile.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = http.offers().iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Of the content of every file that the settings name. Only ever compared within this process.
pub(super) fn digest(settings: &TlsSettings) -> u64 {
    let mut hasher = DefaultHasher::new();
    let files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
    for path in files.into_iter().flatten() {
        std::fs::read(path).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

/// `insecure_skip_verify`: encrypts, and trusts whoever answers.
#[derive(Debug)]
struct TrustAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
