//! What an exchange costs without Sonde: a client that reads and throws away.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nhost: canned\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
/// As the prober's own first read.
const READ_BYTES: usize = 16 * 1024;

/// A connection whose answers are counted and not looked at.
pub struct BareClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl BareClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Asks once and reads so many bytes.
    pub async fn exchange(&mut self, answer_bytes: usize) -> io::Result<()> {
        self.stream.write_all(REQUEST).await?;
        let mut left = answer_bytes;
        while left > 0 {
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    }
}
