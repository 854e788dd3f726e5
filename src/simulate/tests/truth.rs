//! What the log says is what happened, as far as a client can tell.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A simulator that speaks TLS, and a way to it that trusts its certificate and nothing else.
async fn start_tls(character: Character) -> (Running, TlsConnector) {
    let character = Character {
        tls: true,
        ..character
    };
    let simulator = Simulator::bind("127.0.0.1:0", character).await.unwrap();
    let pem = simulator.certificate_pem().unwrap();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let (running, connector) = (
        Running::serve(simulator),
        TlsConnector::from(Arc::new(config)),
    );
    (running, connector)
}

async fn connect_tls(
    running: &Running,
    connector: &TlsConnector,
    name: &'static str,
) -> TlsStream<TcpStream> {
    let name = ServerName::try_from(name).unwrap();
    let stream = connector.connect(name, running.connect().await).await;
    stream.unwrap()
}

/// Every write is an interval, after the one before, and over before the next begins; each byte
/// was read after its write began.
fn assert_true(log: &RequestLog, reply: &Reply) {
    let times = &log.token_times;
    assert!(times.iter().all(|time| time.at <= time.written));
    assert!(times.is_sorted_by(|one, next| one.written <= next.at));
    assert!(log.last_frame >= times.last().map(|time| time.at));
    assert!(log.last_frame <= log.last_frame_written);
    let ends = reply.reads.last().unwrap().0;
    assert!(log.last_frame.unwrap() <= ends);
    assert!(log.last_frame_written <= log.ended);
    let read_since = |at: Instant| reply.reads.iter().filter(|read| read.0 >= at).count();
    // A read for itself would be too much to ask of a busy machine; one at all is not.
    assert!(times.iter().all(|time| read_since(time.at) > 0));
}

#[tokio::test]
async fn every_write_is_an_interval_between_arrival_and_end() {
    let running = Running::start(quick()).await;
    for kind in Kind::ALL {
        let reply = running.ask_for(kind, "ok").await;
        let log = running.history.find("ok").unwrap();
        assert!(log.received <= log.token_times[0].at);
        assert_true(&log, &reply);
    }
}

#[tokio::test]
async fn under_tls_every_frame_is_a_write_with_true_instants() {
    let (running, connector) = start_tls(quick()).await;
    for name in ["localhost", "127.0.0.1"] {
        let mut stream = connect_tls(&running, &connector, name).await;
        let sent = Instant::now();
        let request = Kind::OpenAi.request("ok");
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = Reply::read(stream, PATIENCE).await;
        assert_eq!(
            (reply.status(), reply.tokens(), reply.end),
            (200, 8, End::Closed)
        );
        assert!(reply.is_terminated() && reply.body().1);
        let log = running.history.find("ok").unwrap();
        assert_eq!(log.token_times.len(), 8);
        assert!(sent <= log.received);
        assert_true(&log, &reply);
    }
}

#[tokio::test]
async fn a_client_of_plain_http_gets_nothing_from_a_tls_server() {
    let (running, _) = start_tls(quick()).await;
    let reply = running.ask(&get("/v1/models")).await;
    assert!(!reply.head().starts_with("http/1.1"));
    assert_ne!(reply.end, End::StillOpen);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_knows_when_a_request_came_that_the_server_was_late_to_read() {
    let running = Running::start(quick()).await;
    let stamped = async {
        // The kernel begins to stamp a while after it is asked to.
        loop {
            let mut stream = running.connect().await;
            let before = Instant::now();
            let request = Kind::OpenAi.request("ok");
            stream.write_all(request.as_bytes()).await.unwrap();
            let sent = Instant::now();
            // Nobody else runs on this thread: the server is starved.
            std::thread::sleep(50 * MS);
            Reply::read(stream, PATIENCE).await;
            let log = running.history.find("ok").unwrap();
            assert!(log.received >= sent + 50 * MS);
            if let Some(kernel) = log.received_kernel {
                return (before, kernel, sent);
            }
        }
    };
    let (before, kernel, sent) = tokio::time::timeout(PATIENCE, stamped).await.unwrap();
    // Clocks are converted to each other with an error far below this.
    assert!(before <= kernel + MS && kernel <= sent + MS);
}

#[tokio::test]
async fn frames_of_one_instant_go_out_together_when_asked_to() {
    let character = Character {
        models: quick().models,
        reasoning_tokens: 2,
        frames_per_write: 4,
        ..Character::instant()
    };
    let running = Running::start(character).await;
    let reply = running.ask_for(Kind::OpenAi, "ok").await;
    assert_eq!((reply.tokens(), reply.is_terminated()), (8, true));
    let log = running.history.find("ok").unwrap();
    let tokens = log
        .token_times
        .iter()
        .map(|time| (time.tokens, time.reasoning));
    // The role, hidden reasoning; then tokens, the last with usage and terminator.
    let expected = [(2, true), (4, false), (2, false)];
    assert_eq!(tokens.collect::<Vec<_>>(), expected);
    assert_eq!(reply.chunks().0.len(), 3);
}

#[tokio::test]
async fn the_log_is_told_and_forgotten_only_where_it_is_meant_to_be() {
    let path = "/simulate/requests";
    let running = Running::start(quick()).await;
    assert_eq!(running.ask(&get(path)).await.status(), 404);

    let running = Running::start(Character {
        serves_log: true,
        ..quick()
    })
    .await;
    running.ask_for(Kind::OpenAi, "ok").await;
    running.ask_for(Kind::OpenAi, "truncated").await;
    let told = async |query: &str| {
        let reply = running.ask(&get(&format!("{path}{query}"))).await;
        assert!(reply.head().contains("application/x-ndjson"));
        parse_requests(&reply.body().0).unwrap()
    };
    let all = told("").await;
    let faults: Vec<Option<Fault>> = all.iter().map(|log| log.fault).collect();
    assert_eq!(faults, [None, Some(Fault::Truncated)]);
    let one = told("?id=truncated").await;
    assert_eq!((one.len(), one[0].token_times.len()), (1, 3));
    assert!(told("?id=nobody").await.is_empty());
    let original = running.history.find("truncated").unwrap();
    let off = |at: Instant, other: Instant| at.max(other) - at.min(other);
    assert!(off(one[0].received, original.received) < MS);

    let delete = get(path).replace("GET", "DELETE");
    assert_eq!(running.ask(&delete).await.status(), 204);
    assert!(told("").await.is_empty() && running.history.snapshot().is_empty());
    assert_eq!(running.ask(&post(path, "", "")).await.status(), 405);
}
