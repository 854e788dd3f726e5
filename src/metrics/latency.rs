//! Families of times and speeds.

use super::family::{FamilySpec, Kind, Labels};

const PROBE: &[&str] = &super::family::PROBE;

/// The probe's labels and more.
macro_rules! probe_and {
    ($($more:literal),*) => { &["target", "runtime", "model", "scenario", $($more),*] };
}

/// A histogram of one stream figure, by its field.
macro_rules! of_stream {
    ($field:ident) => {
        |state, samples| {
            for probe in state.probes.values() {
                let stream = probe.stream.as_ref();
                samples.histogram(
                    Labels::probe(&probe.labels),
                    stream.map(|stream| &stream.$field),
                );
            }
        }
    };
}

/// A pair of histograms by result.
macro_rules! by_result {
    ($field:ident) => {
        |state, samples| {
            for probe in state.probes.values() {
                for (result, histogram) in ["success", "failure"].iter().zip(&probe.$field) {
                    let labels = Labels::probe(&probe.labels).with("result", result);
                    samples.histogram(labels, Some(histogram));
                }
            }
        }
    };
}

/// Histograms by phase, those that happened.
macro_rules! by_phase {
    ($field:ident) => {
        |state, samples| {
            for probe in state.probes.values() {
                for (phase, histogram) in &probe.$field {
                    let labels = Labels::probe(&probe.labels).with("phase", phase);
                    samples.histogram(labels, Some(histogram));
                }
            }
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_time_to_first_token_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("kind", "connection"),
        help: "TTFT: first token minus dispatch, successful untainted runs without an unexpected cache hit; kind any counts hidden reasoning, visible does not; a cold connection's DNS, TCP and TLS are inside",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let Some(stream) = &probe.stream else {
                    continue;
                };
                let connection = probe.shape.connection.as_str();
                for (kind, histogram) in [
                    ("any", &stream.first_token_any),
                    ("visible", &stream.first_token_visible),
                ] {
                    let labels = Labels::probe(&probe.labels)
                        .with("kind", kind)
                        .with("connection", connection);
                    samples.histogram(labels, Some(histogram));
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_time_to_first_byte_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("connection"),
        help: "First body byte minus dispatch, successful untainted runs without an unexpected cache hit",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let connection = probe.shape.connection.as_str();
                let labels = Labels::probe(&probe.labels).with("connection", connection);
                samples.histogram(labels, Some(&probe.first_byte));
            }
        },
    },
    FamilySpec {
        name: "llm_probe_inter_token_latency_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "ITL: one sample per gap between consecutive token arrivals; tokens that share a stamp are one arrival; never interpolated",
        collect: of_stream!(inter_token),
    },
    FamilySpec {
        name: "llm_probe_time_per_output_token_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "TPOT: (last token - first token) / (n - 1), n >= 2, one sample per run",
        collect: of_stream!(per_output_token),
    },
    FamilySpec {
        name: "llm_probe_max_stall_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "Longest gap between token arrivals of a run",
        collect: of_stream!(max_stall),
    },
    FamilySpec {
        name: "llm_probe_inference_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("result"),
        help: "Inference time (E2E): end of stream minus dispatch; for failures, until the verdict",
        collect: by_result!(inference),
    },
    FamilySpec {
        name: "llm_probe_duration_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("result"),
        help: "End of stream minus intended start: what a punctual user waited, our own lateness included",
        collect: by_result!(duration),
    },
    FamilySpec {
        name: "llm_probe_phase_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("phase"),
        help: "Where a run's time went: schedule, dns, connect, tls, send, wait, stream; a phase that did not happen has no sample",
        collect: by_phase!(phases),
    },
    FamilySpec {
        name: "llm_probe_output_tokens_per_second",
        kind: Kind::Histogram,
        labels: probe_and!("basis"),
        help: "TPS of one stream, tokens per second: basis decode is (n - 1) / (last token - first token), end_to_end is n / E2E",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let decode = probe.stream.as_ref().map(|stream| &stream.decode_tps);
                let labels = Labels::probe(&probe.labels);
                samples.histogram(labels.clone().with("basis", "decode"), decode);
                let whole = Some(&probe.end_to_end_tps).filter(|_| probe.shape.writes_text);
                samples.histogram(labels.with("basis", "end_to_end"), whole);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_input_tokens_per_second",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "Throughput of one request for embeddings or ranks: tokens read / E2E; only of such scenarios, and where the runtime counts",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let tps = Some(&probe.end_to_end_tps).filter(|_| !probe.shape.writes_text);
                samples.histogram(Labels::probe(&probe.labels), tps);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_tokens_per_arrival",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "How many tokens came together: in one segment by the clock wire, else in one read",
        collect: of_stream!(tokens_per_arrival),
    },
    FamilySpec {
        name: "llm_probe_server_seconds",
        kind: Kind::Histogram,
        labels: probe_and!("phase"),
        help: "What the runtime itself reported of a run: load, queue, prefill, decode, total; where it names no total but prefill and decode, total is the sum of what it names",
        collect: by_phase!(server),
    },
    FamilySpec {
        name: "llm_probe_unattributed_seconds",
        kind: Kind::Histogram,
        labels: PROBE,
        help: "Request written to end of stream, minus the runtime's own total of the same run, at least 0: network, proxies and queues in front of it; absent when the runtime tells no total",
        collect: |state, samples| {
            for probe in state.probes.values() {
                samples.histogram(Labels::probe(&probe.labels), probe.unattributed.as_ref());
            }
        },
    },
];
