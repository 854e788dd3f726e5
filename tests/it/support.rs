//! A simulated runtime, a probe at it, and patience.

use bytes::Bytes;
use http::Method;
use sonde::probe::{
    Assertion, ConnectionPolicy, Limits, Observation, Probe, Prober, RunContext, Scenario,
    ScenarioSettings, Target, TargetSettings, Timeouts,
};
use sonde::runtime::{Generation, Operation, find};
use sonde::simulate::{Character, Distribution, RequestHistory, RuntimeFlavor, Simulator};
use sonde::transport::{Dialer, Endpoint, ask};
use sonde::workload::{CachePolicy, WorkloadSettings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A simulated runtime that ends with the test.
pub struct Runtime {
    pub address: SocketAddr,
    pub requests: RequestHistory,
    stop: CancellationToken,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Runtime {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers to somebody else than a probe.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> String {
        let endpoint = Endpoint::parse(&self.url()).unwrap();
        let dialer = Dialer::new(&endpoint).unwrap();
        let body = Bytes::from(body.to_owned());
        let limit = Duration::from_secs(120);
        let asked = ask(&endpoint, &dialer, method, path, body, limit);
        String::from_utf8(asked.await.unwrap().1).unwrap()
    }
}

/// A quick character that answers in every dialect.
pub fn quick() -> Character {
    Character {
        models: vec!["sim".to_owned()],
        flavor: RuntimeFlavor::All,
        ttft: Distribution::Constant(Duration::from_millis(20)),
        itl: Distribution::Constant(Duration::from_millis(4)),
        output_tokens: Distribution::Constant(12),
        ..Character::default()
    }
}

pub async fn simulate(character: Character) -> Runtime {
    let simulator = Simulator::bind("127.0.0.1:0", character).await.unwrap();
    let (address, requests) = (simulator.local_addr(), simulator.requests());
    let stop = CancellationToken::new();
    simulator.serve(stop.clone(), &TaskTracker::new());
    Runtime {
        address,
        requests,
        stop,
    }
}

/// A scenario whose deadlines suit a test.
pub fn scenario() -> ScenarioSettings {
    ScenarioSettings {
        name: Arc::from("chat"),
        workload: WorkloadSettings {
            kind: "fixed".to_owned(),
            cache: CachePolicy::Warm,
            system: None,
            prompt: Some("Count to ten.".to_owned()),
            input_tokens: None,
            tokenizer_file: None,
        },
        connection: ConnectionPolicy::Cold,
        operation: Operation::Chat,
        retrieval: None,
        stream: true,
        generation: Generation {
            output_tokens: Some(12),
            ..Generation::default()
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_token: Duration::from_secs(2),
            stall: Duration::from_millis(500),
            total: Duration::from_secs(10),
        },
        limits: Limits::default(),
        assertion: Assertion::default(),
    }
}

pub fn target(runtime: &str, url: &str) -> TargetSettings {
    TargetSettings {
        name: Arc::from("test"),
        runtime: find(runtime),
        endpoint: Endpoint::parse(url).unwrap(),
        model: Some(Arc::from("sim")),
        labels: Default::default(),
        max_in_flight: 1,
        price: None,
    }
}

pub fn probe(target: TargetSettings, scenario: ScenarioSettings) -> Probe {
    let target = Target {
        runtime: target.runtime.unwrap(),
        model: target.model.clone().unwrap(),
        dialer: Dialer::new(&target.endpoint).unwrap(),
        settings: target,
    };
    Probe::new(
        Arc::new(target),
        Arc::new(Scenario::build(scenario).unwrap()),
    )
}

pub async fn run(probe: &Probe) -> Observation {
    let context = RunContext::on_demand(CancellationToken::new());
    Prober::default().run(probe, context).await
}

/// Waits until `check` gives something; the one patient helper of all tests.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < patience,
            "{what}: not within 20 s"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
