use super::*;
use crate::http::web_config::authorize;
use crate::http::web_config::tests::{Authority, Folder, basic};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
const MUTUAL_TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key, \
     client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}\n";

/// A running server.
struct Server {
    address: SocketAddr,
    web: Arc<WebConfigState>,
    shutdown: Shutdown,
}

impl Server {
    async fn start(web_config: Option<&Path>) -> Self {
        let web = WebConfigState::open(web_config).unwrap();
        let shutdown = Shutdown::new();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener::new(tcp, web.clone(), &shutdown);
        let gate = web.clone();
        let router = Router::new()
            .route("/", get(async || "hello"))
            .layer(from_fn(move |request: Request, next: Next| {
                let web = gate.clone();
                async move {
                    authorize(&web, request.headers()).await?;
                    Ok::<_, axum::response::Response>(next.run(request).await)
                }
            }));
        let stop = shutdown.token().clone().cancelled_owned();
        shutdown.tracker().spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stop)
                .await
                .unwrap();
        });
        Self {
            address,
            web,
            shutdown,
        }
    }

    async fn stop(self) {
        self.shutdown.begin();
        let drained = tokio::time::timeout(Duration::from_secs(5), self.shutdown.drained());
        drained.await.expect("the server should end in time");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// What a client trusts and who it says it is.
fn client(trusted: &Authority, identity: Option<(String, String)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn get_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    more: &str,
) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn get_tls(server: &Server, client: &TlsConnector, more: &str) -> io::Result<String> {
    let name = ServerName::try_from("localhost").unwrap();
    get_over(client.connect(name, server.connect().await).await?, more).await
}

#[tokio::test]
async fn plain_http_is_served_without_a_file() {
    let server = Server::start(None).await;
    let answer = get_over(server.connect().await, "").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn tls_and_users_go_together() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.certify(&authority);
    let hash = bcrypt::hash("sesame", 4).unwrap();
    let path = folder.write(
        "web.yml",
        &format!("{TLS}basic_auth_users: {{alice: {hash}}}\n"),
    );
    let server = Server::start(Some(&path)).await;
    let client = client(&authority, None);
    let answer = get_tls(&server, &client, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let known = basic("alice", "sesame");
    let known = format!(
        "authorization: {}\r\n",
        known["authorization"].to_str().unwrap()
    );
    let answer = get_tls(&server, &client, &known).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_silent_client_holds_nobody_up_and_does_not_delay_shutdown() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.certify(&authority);
    let server = Server::start(Some(&folder.write("web.yml", TLS))).await;
    let _silent = [server.connect().await, server.connect().await];
    let answer = get_tls(&server, &client(&authority, None), "")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let plain = get_over(server.connect().await, "").await;
    assert!(
        !plain.is_ok_and(|answer| answer.contains("200 OK")),
        "plain HTTP was served"
    );
    server.stop().await;
}

#[tokio::test]
async fn client_certificates_are_verified_when_the_policy_says_so() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.certify(&authority);
    folder.write("ca.crt", &authority.pem());
    let server = Server::start(Some(&folder.write("web.yml", MUTUAL_TLS))).await;
    let known = client(&authority, Some(authority.issue("prometheus")));
    let answer = get_tls(&server, &known, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let nobody = client(&authority, None);
    assert!(get_tls(&server, &nobody, "").await.is_err());
    let stranger = client(&authority, Some(Authority::new().issue("prometheus")));
    assert!(get_tls(&server, &stranger, "").await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn any_certificate_will_do_when_none_is_verified_but_one_is_required() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.certify(&authority);
    let policy = MUTUAL_TLS
        .replace("RequireAndVerifyClientCert", "RequireAnyClientCert")
        .replace(", client_ca_file: ca.crt", "");
    let server = Server::start(Some(&folder.write("web.yml", &policy))).await;
    let stranger = client(&authority, Some(Authority::new().issue("prometheus")));
    let answer = get_tls(&server, &stranger, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        get_tls(&server, &client(&authority, None), "")
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_rotated_certificate_is_served_without_a_restart() {
    let (folder, old, new) = (Folder::new(), Authority::new(), Authority::new());
    folder.certify(&old);
    let server = Server::start(Some(&folder.write("web.yml", TLS))).await;
    assert!(get_tls(&server, &client(&old, None), "").await.is_ok());
    folder.certify(&new);
    server.web.look_now().await;
    assert!(get_tls(&server, &client(&new, None), "").await.is_ok());
    assert!(get_tls(&server, &client(&old, None), "").await.is_err());
    server.stop().await;
}
