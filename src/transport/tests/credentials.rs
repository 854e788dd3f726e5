//! Where credentials come from, in tests: files of a folder, and a server that answers by a script.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// A folder that is gone with the test.
pub(in crate::transport) struct Folder(PathBuf);

impl Folder {
    pub(in crate::transport) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sonde-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(in crate::transport) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(in crate::transport) fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// What was asked.
pub(in crate::transport) struct Question {
    pub(in crate::transport) method: String,
    pub(in crate::transport) target: String,
    /// By names in lower case.
    pub(in crate::transport) headers: BTreeMap<String, String>,
    /// Decoded, by name.
    pub(in crate::transport) form: Vec<(String, String)>,
}

/// Status and body by method and target; 404 where there is none.
pub(in crate::transport) type Answers = BTreeMap<String, (u16, String)>;

/// Answers one question after the other, and hands each on.
pub(in crate::transport) async fn serve(
    listener: &TcpListener,
    answers: &Answers,
    mut note: impl FnMut(Question),
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers: BTreeMap<String, String> = headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length");
        let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let mut form: Vec<(String, String)> = pairs
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        form.sort();
        let (asked, _) = lines[0].rsplit_once(' ').unwrap();
        let (method, target) = asked.split_once(' ').unwrap();
        note(Question {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            form,
        });
        let nothing = (404, String::new());
        let (status, text) = answers.get(asked).unwrap_or(&nothing);
        let length = text.len();
        let reply = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n{text}");
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
}
