//! Families of token counts.

use super::family::{FamilySpec, Kind, Labels};

pub(super) const FAMILIES: &[FamilySpec] = &[FamilySpec {
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
}];
