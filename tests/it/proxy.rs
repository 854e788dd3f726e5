//! A proxy on the way: what it is asked, what it refuses, and that no byte loses its place behind it.

use crate::support::{Runtime, probe, quick, run, scenario, simulate, target};
use parking_lot::Mutex;
use sonde::probe::{Observation, Outcome, TargetSettings};
use sonde::simulate::{Character, Distribution};
use sonde::transport::{Proxy, TlsSettings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longer than the answers of the runtime, so that a byte out of its place shows.
const PADDING: usize = 8 * 1024;

/// An HTTP proxy that ends with the test.
struct TestProxy {
    address: SocketAddr,
    /// The heads of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TestProxy {
    /// `refusal`: the status line with which everybody is turned away.
    async fn start(refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, told.clone(), refusal));
            }
        });
        Self {
            address,
            asked,
            serving,
        }
    }

    /// A target that is asked through it, with a name and a password for it.
    fn leads_to(&self, runtime: &Runtime, tls: bool) -> TargetSettings {
        let mut target = target("openai", &runtime.url());
        target.endpoint.tls = tls.then(|| TlsSettings {
            insecure_skip_verify: true,
            ..TlsSettings::default()
        });
        let url = format!("http://me:hunter2@{}", self.address);
        target.endpoint.proxy = Some(Proxy::parse(&url).unwrap());
        target
    }
}

async fn head_of(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return (String::from_utf8(read).unwrap(), rest);
        }
        let mut more = [0; 4096];
        let length = client.read(&mut more).await.unwrap();
        assert!(length > 0, "a whole head");
        read.extend_from_slice(more.get(..length).unwrap());
    }
}

async fn serve(
    mut client: TcpStream,
    asked: Arc<Mutex<Vec<String>>>,
    refusal: Option<&'static str>,
) {
    let (head, body) = head_of(&mut client).await;
    asked.lock().push(head.clone());
    if let Some(status) = refusal {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        client.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    let mut words = head.split(' ');
    let (method, place) = (words.next().unwrap(), words.next().unwrap());
    let origin = place
        .strip_prefix("http://")
        .map(|place| place.split_once('/').unwrap());
    let authority = origin.map_or(place, |(authority, _)| authority);
    let mut server = TcpStream::connect(authority).await.unwrap();
    match origin {
        None => {
            assert_eq!(method, "CONNECT");
            let padding = "x".repeat(PADDING);
            let answer =
                format!("HTTP/1.1 200 Connection established\r\nx-padding: {padding}\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
        }
        Some((_, path)) => {
            let head = head.replace(place, &format!("/{path}"));
            server.write_all(head.as_bytes()).await.unwrap();
            server.write_all(&body).await.unwrap();
        }
    }
    copy_bidirectional(&mut client, &mut server).await.ok();
}

/// Slow enough that a token that is taken for an earlier one shows.
async fn slow(tls: bool) -> Runtime {
    simulate(Character {
        itl: Distribution::Constant(Duration::from_millis(20)),
        tls,
        ..quick()
    })
    .await
}

/// No token can have come before the runtime wrote it.
fn assert_every_byte_in_its_place(observation: &Observation, runtime: &Runtime) {
    let log = runtime
        .requests
        .find(&observation.run_id.to_string())
        .unwrap();
    let last = log.token_times.last().unwrap().at;
    let truth = last - log.received;
    let found = observation.latency.last_token.unwrap();
    let kernel_clocks = Duration::from_millis(1);
    assert!(
        found + kernel_clocks >= truth,
        "{found:?} told, {truth:?} true"
    );
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_every_byte_keeps_its_place() {
    let (runtime, proxy) = (slow(true).await, TestProxy::start(None).await);
    let mut settings = proxy.leads_to(&runtime, true);
    let observation = run(&probe(settings.clone(), scenario())).await;
    assert_eq!(observation.outcome, Outcome::Success, "{observation:?}");
    assert_every_byte_in_its_place(&observation, &runtime);
    assert!(observation.resources.received_bytes.unwrap() > PADDING as u64);
    let asked = proxy.asked.lock().clone();
    let [head] = &asked[..] else {
        panic!("one tunnel: {asked:?}");
    };
    let place = runtime.address;
    assert!(
        head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n")),
        "{head}"
    );
    assert!(
        head.contains("\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n"),
        "{head}"
    );
    settings.endpoint.proxy = None;
    let straight = run(&probe(settings, scenario())).await;
    assert_eq!(observation.instrument.clock, straight.instrument.clock);
}

#[tokio::test]
async fn plain_http_is_asked_for_in_absolute_form() {
    let (runtime, proxy) = (slow(false).await, TestProxy::start(None).await);
    let settings = proxy.leads_to(&runtime, false);
    let observation = run(&probe(settings, scenario())).await;
    assert_eq!(observation.outcome, Outcome::Success, "{observation:?}");
    assert_every_byte_in_its_place(&observation, &runtime);
    let asked = proxy.asked.lock().clone();
    let line = format!("POST {}/v1/chat/completions HTTP/1.1\r\n", runtime.url());
    assert!(asked[0].starts_with(&line), "{asked:?}");
    assert!(asked[0].contains("\r\nproxy-authorization: Basic bWU6aHVudGVyMg==\r\n"));
    assert!(asked[0].contains(&format!("\r\nhost: {}\r\n", runtime.address)));
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_with_its_name_and_without_its_password() {
    let runtime = slow(false).await;
    for (status, tls, outcome) in [
        ("407 Proxy Authentication Required", true, Outcome::Auth),
        ("401 Unauthorized", true, Outcome::Auth),
        ("502 Bad Gateway", true, Outcome::Refused),
        ("403 Forbidden", true, Outcome::Refused),
        ("407 Proxy Authentication Required", false, Outcome::Auth),
        ("502 Bad Gateway", false, Outcome::Http5xx),
    ] {
        let proxy = TestProxy::start(Some(status)).await;
        let observation = run(&probe(proxy.leads_to(&runtime, tls), scenario())).await;
        assert_eq!(observation.outcome, outcome, "{status} {observation:?}");
        let message = observation.failure.unwrap().message;
        assert!(
            message.contains(&format!("the proxy http://{}", proxy.address)),
            "{message}"
        );
        assert!(
            message.contains(status) && !message.contains("hunter"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_refused_and_named() {
    let runtime = slow(false).await;
    let proxy = TestProxy::start(None).await;
    let settings = proxy.leads_to(&runtime, true);
    let address = proxy.address;
    drop(proxy);
    // The port may only be free once the task that listens there is gone.
    crate::support::eventually("the proxy's end", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    let observation = run(&probe(settings.clone(), scenario())).await;
    assert_eq!(observation.outcome, Outcome::Refused);
    let message = observation.failure.unwrap().message;
    let expected = format!("cannot connect to the proxy http://{address} at {address}: ");
    assert!(message.starts_with(&expected), "{message}");

    let mut settings = settings;
    settings.endpoint.proxy = Some(Proxy::parse("http://me:hunter2@no.such.invalid:3128").unwrap());
    let observation = run(&probe(settings, scenario())).await;
    assert_eq!(observation.outcome, Outcome::Dns);
    let message = observation.failure.unwrap().message;
    let expected = "cannot resolve `no.such.invalid` of the proxy `http://no.such.invalid:3128`";
    assert!(message.starts_with(expected), "{message}");
}
