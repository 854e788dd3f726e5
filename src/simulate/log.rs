//! When the server itself wrote what: the truth that a client's observation is compared with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::fault::Fault;

/// One write that carried tokens. The kernel took its last byte, and a local client could have it,
/// between the two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTime {
    /// Taken right before the system call that handed the last byte of the frame to the kernel;
    /// under TLS, the last byte of the record around it.
    pub at: Instant,
    /// Taken right after that call.
    pub written: Instant,
    /// Tokens in the frame; in an answer that is not a stream, all of them.
    pub tokens: u32,
    /// Whether the tokens are hidden reasoning.
    pub reasoning: bool,
}

/// What the simulator did for one generation request. Writes are entered once they are made, so to
/// another thread than the simulator's an entry is complete when it has an end, and not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLog {
    /// Position among all generation requests, counted from zero.
    pub number: u64,
    /// Value of the `x-llm-probe` request header.
    pub request_id: Option<String>,
    /// Model asked for.
    pub model: String,
    /// When the read returned that brought the end of the request.
    pub received: Instant,
    /// When the kernel received the last segment that this read brought: how late the read was is
    /// not in it. Absent where the kernel does not say.
    pub received_kernel: Option<Instant>,
    /// Write of the first token, reasoning included.
    pub first_token: Option<Instant>,
    /// Every write that carried tokens, in order.
    pub token_times: Vec<TokenTime>,
    /// Latest write of the body, with tokens or without: in a stream that ended well, the
    /// terminator's. Taken as [`TokenTime::at`] is.
    pub last_frame: Option<Instant>,
    /// The other end of that write, taken as [`TokenTime::written`] is.
    pub last_frame_written: Option<Instant>,
    /// End of the answer, for whatever reason; absent while it is under way.
    pub ended: Option<Instant>,
    /// The fault that the request suffered.
    pub fault: Option<Fault>,
}

/// A log entry that can still change.
type Recording = Arc<Mutex<RequestLog>>;

/// The most recent requests, oldest first. Clones share the same entries.
#[derive(Clone, Debug)]
pub struct RequestHistory {
    entries: Arc<Mutex<VecDeque<Recording>>>,
    capacity: usize,
}

impl RequestHistory {
    /// An empty history that forgets the oldest of more than `capacity` requests.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Arc::default(),
            capacity,
        }
    }

    /// Copies of all entries, those still under way included.
    pub fn snapshot(&self) -> Vec<RequestLog> {
        let entries = self.entries.lock();
        entries.iter().map(|entry| entry.lock().clone()).collect()
    }

    /// A copy of the latest entry whose `x-llm-probe` header had this value.
    pub fn find(&self, request_id: &str) -> Option<RequestLog> {
        let entries = self.entries.lock();
        entries
            .iter()
            .rev()
            .map(|entry| entry.lock())
            .find(|log| log.request_id.as_deref() == Some(request_id))
            .map(|log| log.clone())
    }

    /// Drops all entries. Requests under way go on, but will not be found.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }

    /// Adds an entry that ends when the last of the returned guard's clones is dropped.
    pub(super) fn open(&self, log: RequestLog) -> Arc<OpenEntry> {
        let recording = Arc::new(Mutex::new(log));
        let mut entries = self.entries.lock();
        entries.push_back(Arc::clone(&recording));
        while entries.len() > self.capacity {
            entries.pop_front();
        }
        Arc::new(OpenEntry(recording))
    }
}

/// Stamps the end of a request when dropped.
#[derive(Debug)]
pub(super) struct OpenEntry(Recording);

impl OpenEntry {
    /// Notes a write of the body.
    pub(super) fn wrote(&self, token_time: TokenTime) {
        self.0.lock().wrote(token_time);
    }

    /// Makes room for so many writes with tokens.
    pub(super) fn expect(&self, writes: usize) {
        self.0.lock().token_times.reserve_exact(writes);
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.0.lock().ended = Some(Instant::now());
    }
}

impl RequestLog {
    pub(super) fn wrote(&mut self, token_time: TokenTime) {
        self.last_frame = Some(token_time.at);
        self.last_frame_written = Some(token_time.written);
        if token_time.tokens > 0 {
            self.first_token.get_or_insert(token_time.at);
            self.token_times.push(token_time);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::simulate) fn log(number: u64) -> RequestLog {
        RequestLog {
            number,
            request_id: Some(format!("run-{number}")),
            model: "m".to_owned(),
            received: Instant::now(),
            received_kernel: None,
            first_token: None,
            token_times: Vec::new(),
            last_frame: None,
            last_frame_written: None,
            ended: None,
            fault: None,
        }
    }

    #[test]
    fn the_history_is_bounded_and_entries_end_when_their_guard_drops() {
        let history = RequestHistory::new(2);
        drop(history.open(log(0)));
        drop(history.open(log(1)));
        let running = history.open(log(2));
        let numbers: Vec<u64> = history.snapshot().iter().map(|log| log.number).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(history.find("run-0").is_none());
        assert!(history.find("run-1").unwrap().ended.is_some());
        assert!(history.find("run-2").unwrap().ended.is_none());
        drop(running);
        assert!(history.find("run-2").unwrap().ended.is_some());
        history.clear();
        assert_eq!(history.snapshot(), []);
    }
}
