//! A server that answers every request with the same bytes, encoded beforehand: no JSON, and no delay but
//! the pace it is told. One thread, whatever the number of connections, so that it leaves the other core to the client.
//! Each event is a chunk of the transfer coding, as uvicorn writes it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2026 18:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// The server. It ends when dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bytes of every answer, head and transfer coding included.
    pub answer_bytes: usize,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves these events, so many per write, one write per `pace`; as fast as they are taken where
    /// there is none. The head and the first event, the role chunk, are written alone, and the end of the
    /// body with the last event.
    pub fn start(
        events: &[Vec<u8>],
        events_per_write: usize,
        pace: Option<Duration>,
    ) -> io::Result<Self> {
        let writes = writes(events, events_per_write);
        let answer_bytes = writes.iter().map(Vec::len).sum();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("canned".to_owned())
            .spawn(move || serve(&runtime, &listener, &writes.into(), pace, &stopped))?;
        Ok(Self {
            address,
            answer_bytes,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().map(JoinHandle::join);
    }
}

fn writes(events: &[Vec<u8>], events_per_write: usize) -> Vec<Vec<u8>> {
    let (role, rest) = events.split_at(1);
    let groups = rest.chunks(events_per_write);
    let mut writes = vec![HEAD.to_vec(), chunked(role)];
    writes.extend(groups.map(chunked));
    if let Some(last) = writes.last_mut() {
        last.extend_from_slice(b"0\r\n\r\n");
    }
    writes
}

fn chunked(events: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        bytes.extend_from_slice(event);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn serve(
    runtime: &Runtime,
    listener: &TcpListener,
    writes: &Arc<[Vec<u8>]>,
    pace: Option<Duration>,
    stop: &CancellationToken,
) {
    runtime.block_on(stop.run_until_cancelled(async {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away ends its connection and nothing else.
            runtime.spawn(answer(stream, writes.clone(), pace));
        }
    }));
}

async fn answer(
    mut stream: TcpStream,
    writes: Arc<[Vec<u8>]>,
    pace: Option<Duration>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut pace = pace.map(interval);
    let mut pending = Vec::with_capacity(4096);
    loop {
        while let Some(length) = request_length(&pending) {
            pending.drain(..length);
            for write in writes.iter() {
                // Either way the streams advance side by side, as those of a batch do.
                match &mut pace {
                    Some(pace) => drop(pace.tick().await),
                    None => tokio::task::yield_now().await,
                }
                stream.write_all(write).await?;
            }
        }
        if stream.read_buf(&mut pending).await? == 0 {
            return Ok(());
        }
    }
}

/// Bytes of the request, once it is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        _ => return None,
    };
    let mut fields = request.headers.iter();
    let length = fields.find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = std::str::from_utf8(length.value).ok()?.parse().ok()?;
    Some(head + length).filter(|end| *end <= bytes.len())
}
