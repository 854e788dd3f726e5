//! TLS as users have it: their own authority, client certificates, warm and cold connections.

use crate::support::{probe, quick, run, scenario, simulate, target};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sonde::probe::{
    ConnectionPolicy, ConnectionState, InstrumentSettings, Outcome, Prober, RunContext,
};
use sonde::transport::{Auth, ClockChoice, ClockKind, Endpoint, SecretSource, TlsSettings};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// An authority, and a leaf that it has signed, as PEM files in a folder of the test's own.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sonde-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            folder,
            issuer,
            certificate,
        }
    }

    fn sign(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join("leaf.pem"), certificate.pem()).unwrap();
        std::fs::write(self.folder.join("leaf.key"), key.serialize_pem()).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), der)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Takes TLS off and passes the bytes on: the simulator behind it speaks plain HTTP.
async fn tls_in_front_of(backend: SocketAddr, authority: &Authority, mutual: bool) -> SocketAddr {
    let (certificate, key) = authority.sign("localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::task::spawn(async move {
                let Ok(mut front) = acceptor.accept(socket).await else {
                    return;
                };
                let mut back = TcpStream::connect(backend).await.unwrap();
                tokio::io::copy_bidirectional(&mut front, &mut back)
                    .await
                    .ok();
            });
        }
    });
    address
}

fn https(address: SocketAddr, tls: TlsSettings) -> sonde::probe::TargetSettings {
    let mut settings = target("openai", &format!("https://localhost:{}", address.port()));
    settings.endpoint.tls = Some(tls);
    settings
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let server = simulate(quick()).await;
    let authority = Authority::new("private");
    let front = tls_in_front_of(server.address, &authority, false).await;
    let trusting = TlsSettings {
        ca_file: authority.file("ca.pem"),
        ..TlsSettings::default()
    };
    let observation = run(&probe(https(front, trusting), scenario())).await;
    assert_eq!(
        observation.outcome,
        Outcome::Success,
        "{:?}",
        observation.failure
    );
    assert!(observation.phases.tls.unwrap() > Duration::ZERO);
    assert!(observation.phases.dns.is_some(), "localhost is a name");

    let stranger = Authority::new("stranger");
    let doubting = TlsSettings {
        ca_file: stranger.file("ca.pem"),
        ..TlsSettings::default()
    };
    let observation = run(&probe(https(front, doubting), scenario())).await;
    assert_eq!(
        observation.outcome,
        Outcome::Tls,
        "{:?}",
        observation.failure
    );

    let careless = TlsSettings {
        insecure_skip_verify: true,
        ..TlsSettings::default()
    };
    let observation = run(&probe(https(front, careless), scenario())).await;
    assert_eq!(
        observation.outcome,
        Outcome::Success,
        "{:?}",
        observation.failure
    );
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let server = simulate(quick()).await;
    let authority = Authority::new("mutual");
    let front = tls_in_front_of(server.address, &authority, true).await;
    authority.sign("probe");
    let bare = TlsSettings {
        ca_file: authority.file("ca.pem"),
        ..TlsSettings::default()
    };
    let with_certificate = TlsSettings {
        cert_file: authority.file("leaf.pem"),
        key_file: authority.file("leaf.key"),
        ..bare.clone()
    };
    let observation = run(&probe(https(front, with_certificate), scenario())).await;
    assert_eq!(
        observation.outcome,
        Outcome::Success,
        "{:?}",
        observation.failure
    );
    let observation = run(&probe(https(front, bare), scenario())).await;
    assert!(!observation.outcome.is_success());
}

#[tokio::test]
async fn tls_where_none_is_spoken_fails_as_tls_and_silence_as_a_connect_timeout() {
    let server = simulate(quick()).await;
    let careless = TlsSettings {
        insecure_skip_verify: true,
        ..TlsSettings::default()
    };
    let observation = run(&probe(https(server.address, careless.clone()), scenario())).await;
    assert_eq!(
        observation.outcome,
        Outcome::Tls,
        "{:?}",
        observation.failure
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut scenario = scenario();
    scenario.timeouts.connect = Duration::from_millis(200);
    let address = silent.local_addr().unwrap();
    let observation = run(&probe(https(address, careless), scenario)).await;
    assert_eq!(observation.outcome, Outcome::TimeoutConnect);
}

#[tokio::test]
async fn a_warm_run_reuses_its_connection_and_a_cold_one_never_does() {
    let server = simulate(quick()).await;
    let mut warm = scenario();
    warm.connection = ConnectionPolicy::Warm;
    let warm = probe(target("openai", &server.url()), warm);
    let first = run(&warm).await;
    assert_eq!(
        (first.connection, first.reused),
        (ConnectionState::Warm, false)
    );
    assert!(
        first.phases.connect.is_some(),
        "it was set up, before dispatch"
    );
    let second = run(&warm).await;
    assert_eq!(second.outcome, Outcome::Success, "{:?}", second.failure);
    assert!(second.reused);
    assert_eq!(second.phases.connect, None);

    let cold = probe(target("openai", &server.url()), scenario());
    for _ in 0..2 {
        let observation = run(&cold).await;
        assert_eq!(
            (observation.connection, observation.reused),
            (ConnectionState::Cold, false)
        );
        assert!(observation.phases.connect.is_some());
    }
}

#[tokio::test]
async fn a_connection_that_the_peer_has_closed_is_not_used_again() {
    let server = simulate(quick()).await;
    let mut warm = scenario();
    warm.connection = ConnectionPolicy::Warm;
    let probe = probe(target("openai", &server.url()), warm);
    run(&probe).await;
    let address = server.address;
    drop(server);
    // The port is free again as soon as the old server has noticed.
    let again = crate::support::eventually("the port is free", async || {
        let character = sonde::simulate::Character {
            models: vec!["sim".into()],
            ..quick()
        };
        sonde::simulate::Simulator::bind(address, character)
            .await
            .ok()
    });
    let stop = tokio_util::sync::CancellationToken::new();
    again
        .await
        .serve(stop.clone(), &tokio_util::task::TaskTracker::new());
    let observation = run(&probe).await;
    assert_eq!(
        observation.outcome,
        Outcome::Success,
        "{:?}",
        observation.failure
    );
    assert!(!observation.reused);
    stop.cancel();
}

#[tokio::test]
async fn a_bearer_file_is_read_anew_for_every_run() {
    let guarded = sonde::simulate::Character {
        api_key: Some("second".into()),
        ..quick()
    };
    let server = simulate(guarded).await;
    // The fake takes each of them from the header of its API only.
    for runtime in ["openai", "anthropic", "gemini", "azure-openai"] {
        let path = std::env::temp_dir().join(format!("sonde-{}-{runtime}", std::process::id()));
        let mut settings = target(runtime, &server.url());
        settings.endpoint.auth = Auth::Bearer(SecretSource::File(path.clone()));
        let probe = probe(settings, scenario());
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(run(&probe).await.outcome, Outcome::Auth, "{runtime}");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(run(&probe).await.outcome, Outcome::Success, "{runtime}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run(&probe).await.outcome, Outcome::Auth, "{runtime}");
    }
}

#[tokio::test]
async fn a_runtime_is_found_by_asking() {
    use sonde::simulate::{Character, RuntimeFlavor};
    for (flavor, name) in [
        (RuntimeFlavor::Vllm, "vllm"),
        (RuntimeFlavor::LlamaCpp, "llamacpp"),
        (RuntimeFlavor::Ollama, "ollama"),
        (RuntimeFlavor::Tgi, "tgi"),
        (RuntimeFlavor::Sglang, "sglang"),
        (RuntimeFlavor::TensorRtLlm, "tensorrt-llm"),
        (RuntimeFlavor::LlamaEdge, "llamaedge"),
    ] {
        let server = simulate(Character { flavor, ..quick() }).await;
        let endpoint = Endpoint::parse(&server.url()).unwrap();
        let dialer = sonde::transport::Dialer::new(&endpoint).unwrap();
        let found = sonde::runtime::detect::detect(&endpoint, &dialer)
            .await
            .unwrap();
        assert_eq!(
            (found.runtime.name, found.models.len()),
            (name, 1),
            "{found:?}"
        );
    }
}

/// Answers one path with JSON, and some with other statuses than 404.
async fn stub(known: &'static str, json: &'static str, others: &'static [(&str, u16)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap();
            let other = others.iter().find(|(at, _)| *at == path);
            let (status, body) = match other {
                Some((_, status)) => (*status, "{}"),
                None if path == known => (200, json),
                None => (404, "{}"),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn a_runtime_without_the_openai_api_is_spoken_to_in_its_own() {
    const TGI: &str = r#"{"model_id":"org/m","version":"1.0.3"}"#;
    const SGLANG: &str = r#"{"model_path":"/m","served_model_name":"org/m","version":"0.4.1"}"#;
    const LLAMACPP: &str = r#"{"default_generation_settings":{},"model_path":"org/m"}"#;
    let chat: &[_] = &[("/v1/chat/completions", 405)];
    for (path, json, others, name) in [
        ("/info", TGI, &[][..], "tgi-generate"),
        // TGI 1.4 had a chat, but no list of models yet.
        ("/info", TGI, chat, "tgi"),
        ("/info", TGI, &[("/v1/models", 401)], "tgi"),
        ("/get_server_info", SGLANG, &[], "sglang-generate"),
        ("/props", LLAMACPP, &[], "llamacpp-completion"),
    ] {
        let url = stub(path, json, others).await;
        let endpoint = Endpoint::parse(&url).unwrap();
        let dialer = sonde::transport::Dialer::new(&endpoint).unwrap();
        let found = sonde::runtime::detect::detect(&endpoint, &dialer)
            .await
            .unwrap();
        assert_eq!(found.runtime.name, name, "{found:?}");
        if name.contains('-') {
            assert_eq!(found.default_model(), Some("org/m"));
        }
    }
}

#[tokio::test]
async fn a_run_is_stamped_by_the_clock_that_is_asked_for_and_says_so() {
    let io = sonde::app::IoThread::start().unwrap();
    let server = simulate(quick()).await;
    let probe = Arc::new(probe(target("openai", &server.url()), scenario()));
    for wanted in ClockKind::ALL {
        let settings = InstrumentSettings {
            clock: ClockChoice::Best(wanted),
            ..InstrumentSettings::default()
        };
        let prober = Prober::new(settings, io.wakeups());
        let best = prober.clocks.status().best();
        let probe = probe.clone();
        // The kernel begins to stamp somewhat after it is asked to.
        let stamped = crate::support::eventually("a run by the best clock", async || {
            let (prober, probe) = (prober.clone(), probe.clone());
            let context = RunContext::on_demand(CancellationToken::new());
            let run = io
                .handle()
                .spawn(async move { prober.run(&probe, context).await });
            let run = run.await.unwrap();
            assert_eq!(run.outcome, Outcome::Success, "{:?}", run.failure);
            (run.instrument.clock == best).then_some(run)
        });
        let run = stamped.await;
        assert!(best >= wanted, "never a better clock than wanted");
        assert!(run.instrument.error_bound.unwrap() > Duration::ZERO);
        assert!(run.instrument.error_limit.unwrap() >= settings.max_error);
        assert_eq!(run.tokens_per_arrival.iter().sum::<u32>(), 12);
        let seen: Duration = run.gaps.iter().sum();
        let last = run.latency.last_token.unwrap();
        assert_eq!(run.latency.first_token.unwrap() + seen, last);
        assert!(last <= run.latency.inference);
    }
    io.stop();
}
