//! A probe as a configuration would make it, and its runs.

use sonde::probe::{
    Assertion, ConnectionPolicy, Limits, Observation, Probe, Prober, RunContext, Scenario,
    ScenarioSettings, Target, TargetSettings, Timeouts,
};
use sonde::runtime::{Generation, Operation, find};
use sonde::transport::{Dialer, Endpoint};
use sonde::workload::{CachePolicy, WorkloadSettings};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A probe of vLLM's dialect, on a warm connection.
pub fn probe(name: &str, address: SocketAddr, tokens: u32) -> Probe {
    let runtime = find("vllm").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let model: Arc<str> = Arc::from("Qwen/Qwen3-8B");
    let target = Target {
        runtime,
        model: model.clone(),
        dialer: Dialer::new(&endpoint).unwrap(),
        settings: TargetSettings {
            name: Arc::from(name),
            runtime: Some(runtime),
            endpoint,
            model: Some(model),
            labels: Default::default(),
            max_in_flight: 1,
            price: None,
        },
    };
    let scenario = ScenarioSettings {
        name: Arc::from("chat"),
        workload: WorkloadSettings {
            kind: "fixed".to_owned(),
            cache: CachePolicy::Cold,
            system: None,
            prompt: Some("Say something.".to_owned()),
            input_tokens: None,
            tokenizer_file: None,
        },
        connection: ConnectionPolicy::Warm,
        operation: Operation::Chat,
        retrieval: None,
        stream: true,
        generation: Generation {
            output_tokens: Some(tokens),
            ..Generation::default()
        },
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        assertion: Assertion {
            contains: None,
            min_output_tokens: Some(u64::from(tokens)),
        },
    };
    Probe::new(
        Arc::new(target),
        Arc::new(Scenario::build(scenario).unwrap()),
    )
}

/// A run, which must succeed: the figures of failed ones mean nothing.
pub async fn run(prober: &Prober, probe: &Probe) -> Observation {
    let context = RunContext::on_demand(CancellationToken::new());
    let observation = prober.run(probe, context).await;
    assert!(
        observation.outcome.is_success(),
        "{:?}: {:?}",
        observation.outcome,
        observation.failure
    );
    observation
}
