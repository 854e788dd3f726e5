//! The way through a proxy: `CONNECT` (RFC 9110, section 9.3.6). The peer's stream begins with the proxy's
//! answer, which counts in every position behind it.

use super::{Connection, ExchangeError, Step};
use crate::base::build::USER_AGENT;
use crate::transport::http1::{Response, ResponseHead};
use http::Method;
use http::header::HeaderValue;

impl Connection {
    /// Asks the proxy at the other end for a tunnel to `authority`. After a 2xx the next byte is from
    /// whoever is there.
    pub(in crate::transport) async fn tunnel(
        &mut self,
        authority: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<ResponseHead, ExchangeError> {
        let head = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\n"
        );
        let mut head = head.into_bytes();
        if let Some(value) = authorization {
            head.extend_from_slice(b"proxy-authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        self.response = Response::to(&Method::CONNECT);
        self.socket.write_all(&head).await?;
        loop {
            match self.step()? {
                Some(Step::Head(head)) => return Ok(head),
                Some(_) => return Err(ExchangeError::Protocol("a body without a head".to_owned())),
                None => self.more().await?,
            }
        }
    }
}
