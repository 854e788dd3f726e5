//! The fake runtime of a self-test: a process of its own, so that neither its work nor its memory is
//! counted as the prober's, and so that it can stand outside a CPU quota that starves the prober.

use super::{SelftestError, Settings};
use crate::simulate::{RequestLog, parse_requests};
use crate::transport::{
    Clocks, DialPhases, Dialer, Endpoint, RequestParts, TlsSettings, build_request,
};
use http::Method;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Where the fake keeps its log.
const LOG: &str = "/simulate/requests";
/// How long the fake may take to finish its last entries.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the fake runtime comes from.
#[derive(Clone, Debug)]
pub enum FakeSource {
    /// This program, with its command `simulate`, is started and ended with the test.
    Spawn(PathBuf),
    /// It runs already, on this machine, started with `sonde simulate --log-requests N --model NAME`
    /// and the timing of the test.
    At(Box<Endpoint>),
}

/// A fake runtime that ends when dropped, if we have started it.
pub(super) struct Fake {
    pub(super) endpoint: Endpoint,
    dialer: Dialer,
    _child: Option<Running>,
}

/// The process. It ends with its standard input, also when we are killed.
struct Running {
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Fake {
    pub(super) async fn start(settings: &Settings, model: &str) -> Result<Self, SelftestError> {
        let (mut endpoint, child) = match &settings.fake {
            FakeSource::At(endpoint) => ((**endpoint).clone(), None),
            FakeSource::Spawn(program) => {
                let command = command(program, settings, model);
                let spawned = tokio::task::spawn_blocking(move || spawn(command)).await??;
                (Endpoint::parse(&spawned.1)?, Some(spawned.0))
            }
        };
        if let Some(tls) = &mut endpoint.tls {
            // Its certificate is signed by itself, and it is on this machine.
            *tls = TlsSettings {
                insecure_skip_verify: true,
                ..TlsSettings::default()
            };
        }
        Ok(Self {
            dialer: Dialer::new(&endpoint)?,
            endpoint,
            _child: child,
        })
    }

    pub(super) fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// Forgets what was logged so far.
    pub(super) async fn forget(&self) -> Result<(), SelftestError> {
        self.ask(Method::DELETE).await.map(|_| ())
    }

    /// The log, once it has so many entries or will not have them.
    pub(super) async fn requests(&self, wanted: usize) -> Result<Vec<RequestLog>, SelftestError> {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = parse_requests(&self.ask(Method::GET).await?)?;
            if found.len() >= wanted || tokio::time::Instant::now() >= give_up {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn ask(&self, method: Method) -> Result<Vec<u8>, SelftestError> {
        let request = build_request(&self.endpoint, RequestParts::bare(method, LOG)).await?;
        let (clocks, mut phases) = (Clocks::plain(), DialPhases::default());
        let dial = self.dialer.dial(&self.endpoint, &clocks, &mut phases);
        let mut connection = dial.await?;
        let head = connection.send(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = connection.chunk().await? {
            body.extend_from_slice(chunk.data);
        }
        match head.status.is_success() {
            true => Ok(body),
            false => Err(SelftestError::NoLog(head.status)),
        }
    }
}

fn command(program: &Path, settings: &Settings, model: &str) -> Command {
    let most = settings.concurrency.iter().max().copied().unwrap_or(1);
    let runs = settings
        .concurrency
        .iter()
        .map(|n| n * settings.runs_per_stream(*n));
    let ns = |duration: Duration| format!("{}ns", duration.as_nanos());
    let mut command = Command::new(program);
    command
        .args(["simulate", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
        .args(["--flavor", "vllm", "--model", model])
        .args(["--ttft", &ns(settings.ttft), "--itl", &ns(settings.itl)])
        .args(["--output-tokens", &settings.tokens.to_string()])
        .args(["--slots", &most.to_string()])
        .args(["--log-requests", &runs.max().unwrap_or(1).to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if settings.tls {
        command.arg("--tls");
    }
    command
}

/// Starts it and reads its address off its first line.
fn spawn(mut command: Command) -> Result<(Running, String), SelftestError> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let running = Running {
        child,
        _stdin: stdin,
    };
    let mut line = String::new();
    let stdout = stdout.ok_or(io::Error::from(io::ErrorKind::BrokenPipe))?;
    BufReader::new(stdout).read_line(&mut line)?;
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http"));
    let url = url.map(|url| url.trim_end_matches(';').to_owned());
    url.map(|url| (running, url))
        .ok_or(SelftestError::NoAddress(line))
}
