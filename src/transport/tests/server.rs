//! A peer that writes known bytes in known writes, on a thread of its own.

use super::PATIENCE;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A certificate of its own making.
pub(in crate::transport) fn tls_config(
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap()
}

/// A write: between which instants it was made, and where it ends in the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) before: Instant,
    pub(super) after: Instant,
    pub(super) end: u64,
}

/// How a peer and a client wait for each other.
pub(super) struct Signals {
    there: mpsc::Sender<()>,
    here: mpsc::Receiver<()>,
}

impl Signals {
    pub(super) fn pair() -> (Self, Self) {
        let ((to_one, one), (to_other, other)) = (mpsc::channel(), mpsc::channel());
        let first = Self {
            there: to_other,
            here: one,
        };
        let second = Self {
            there: to_one,
            here: other,
        };
        (first, second)
    }

    pub(super) fn tell(&self) {
        self.there.send(()).ok();
    }

    /// Blocks the thread: a client neither reads nor turns its runtime meanwhile.
    pub(super) fn wait(&self) {
        self.here.recv_timeout(PATIENCE).unwrap();
    }
}

/// Its version, where it is spoken.
pub(super) type Tls = Option<&'static SupportedProtocolVersion>;

/// One accepted connection.
pub(super) struct Peer {
    tcp: TcpStream,
    tls: Option<ServerConnection>,
    sent: u64,
    /// What was heard and not asked for yet.
    heard: Vec<u8>,
}

pub(super) fn listener(ip: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Peer {
    pub(super) fn accept(listener: &TcpListener, tls: Tls) -> Self {
        Self::accept_with(listener, tls, &[])
    }

    /// `alpn`: the protocols that it knows.
    pub(super) fn accept_with(listener: &TcpListener, tls: Tls, alpn: &[&[u8]]) -> Self {
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let tls = tls.map(|version| {
            let mut config = tls_config(&[version]);
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            ServerConnection::new(Arc::new(config))
        });
        let mut peer = Self {
            tcp,
            tls: tls.map(Result::unwrap),
            sent: 0,
            heard: Vec::new(),
        };
        while peer.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            peer.flush();
            peer.hear().unwrap();
        }
        // The end of the handshake, and tickets.
        peer.flush();
        peer
    }

    /// Writes it at once; under TLS as one record where it fits into one.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Written {
        let sealed = match &mut self.tls {
            None => bytes.to_vec(),
            Some(tls) => {
                tls.writer().write_all(bytes).unwrap();
                Vec::new()
            }
        };
        let before = Instant::now();
        self.send(&sealed);
        self.flush();
        Written {
            before,
            after: Instant::now(),
            end: self.sent,
        }
    }

    /// Reads a request without a body.
    pub(super) fn take_request(&mut self) {
        self.take_until(b"\r\n\r\n");
    }

    /// Reads a request of HTTP/2 without a body, whose last field is `host: x`.
    pub(super) fn take_frames(&mut self) {
        self.take_until(b":authority\x01x");
    }

    /// Reads until these bytes have come.
    pub(super) fn take_until(&mut self, end: &[u8]) {
        loop {
            if let Some(at) = memchr::memmem::find(&self.heard, end) {
                self.heard.drain(..at + end.len());
                return;
            }
            self.hear().unwrap();
        }
    }

    /// Waits until the client is gone.
    pub(super) fn wait_for_close(&mut self) {
        while self.hear().is_ok() {}
    }

    /// Says that it sends no more, by TLS and by TCP, or by TCP only.
    pub(super) fn finish(&mut self, close_notify: bool) {
        if let Some(tls) = self.tls.as_mut().filter(|_| close_notify) {
            tls.send_close_notify();
        }
        self.flush();
        self.tcp.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Closes TLS and goes on in clear, in one write.
    pub(super) fn close_and_go_on(&mut self, bytes: &[u8]) {
        let mut sealed = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut sealed).unwrap();
        }
        sealed.extend_from_slice(bytes);
        self.send(&sealed);
    }

    /// Whatever was sent before still arrives.
    pub(super) fn reset_when_dropped(&mut self) {
        reset_when_dropped(&self.tcp);
    }

    fn flush(&mut self) {
        let mut sealed = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut sealed).unwrap();
            }
        }
        self.send(&sealed);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 64 * 1024];
        let length = self.tcp.read(&mut bytes)?;
        bytes.truncate(length);
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(tls) = &mut self.tls else {
            self.heard.extend_from_slice(&bytes);
            return Ok(());
        };
        let mut sealed = bytes.as_slice();
        while !sealed.is_empty() {
            tls.read_tls(&mut sealed)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            tls.reader().read_to_end(&mut self.heard).ok();
        }
        Ok(())
    }
}

/// Its close will be a reset.
pub(super) fn reset_when_dropped(tcp: &TcpStream) {
    let socket = socket2::SockRef::from(tcp);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}
