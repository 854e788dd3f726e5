//! Families of token counts and what they cost.

use super::family::{FamilySpec, Kind, Labels};
use super::series::{ProbeSeries, TokenType};

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_tokens_total",
        kind: Kind::Counter,
        labels: &[
            "target",
            "runtime",
            "model",
            "scenario",
            "token_type",
            "source",
        ],
        help: "Tokens of all runs, and who counted them: usage block, runtime's own counters, tokenizer, or frames with text (chunks, a guess); output contains reasoning, input contains cached",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for ((kind, source), count) in &probe.tokens {
                    let labels = Labels::probe(&probe.labels)
                        .with("token_type", kind.as_str())
                        .with("source", source.as_str());
                    samples.counter(labels, *count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_inputs_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "scenario"],
        help: "Texts embedded or documents ranked by successful untainted runs; only of scenarios that ask for such",
        collect: |state, samples| {
            let reading = |probe: &&ProbeSeries| !probe.shape.writes_text;
            for probe in state.probes.values().filter(reading) {
                let labels = Labels::probe(&probe.labels);
                samples.counter(labels, probe.inputs as f64, probe.created);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_cost_usd_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "scenario", "token_type"],
        help: "What all runs have cost, in US dollars, by the target's price; each token counts once: input is without cached, output contains reasoning; only where there is a price",
        collect: |state, samples| {
            for probe in state.probes.values().filter(|probe| probe.shape.priced) {
                for kind in [TokenType::Input, TokenType::Output, TokenType::Cached] {
                    let labels = Labels::probe(&probe.labels).with("token_type", kind.as_str());
                    let usd = probe.cost.get(&kind).copied().unwrap_or(0.0);
                    samples.counter(labels, usd, probe.created);
                }
            }
        },
    },
];
