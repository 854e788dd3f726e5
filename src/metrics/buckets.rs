//! Bucket edges, in seconds unless said otherwise.

/// TTFT and first byte: a superset of OpenTelemetry's and vLLM's, so that panels overlay.
pub const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0,
    1.5, 2.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
];
/// ITL, TPOT and stall.
pub const TOKEN_GAP: &[f64] = &[
    0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1,
    0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
/// Inference, duration, server: 0.01 × 2^k.
pub const INFERENCE: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36,
];
/// Phases of a run.
pub const PHASE: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// The instrument's own error: 1e-6 to 1 in steps of √10.
pub const INSTRUMENT: &[f64] = &[
    1e-6, 3.16e-6, 1e-5, 3.16e-5, 1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1, 3.16e-1, 1.0,
];
/// Tokens per second.
pub const TOKENS_PER_SECOND: &[f64] = &[
    1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0,
    2000.0,
];
/// Tokens per second that are read: encoders on a GPU take a hundred thousand.
pub const INPUT_TOKENS_PER_SECOND: &[f64] = &[
    10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6,
];
/// Tokens that came together.
pub const TOKENS_PER_ARRIVAL: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0];

/// The edges with the thresholds of the probe's objectives among them, in order, each once.
pub fn with_edges(edges: &[f64], thresholds: &[f64]) -> Vec<f64> {
    let mut all: Vec<f64> = edges.iter().chain(thresholds).copied().collect();
    all.retain(|edge| edge.is_finite() && *edge > 0.0);
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_rise_and_a_threshold_becomes_one() {
        for edges in [
            FIRST_TOKEN,
            TOKEN_GAP,
            INFERENCE,
            PHASE,
            INSTRUMENT,
            TOKENS_PER_SECOND,
            TOKENS_PER_ARRIVAL,
        ] {
            assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
        }
        let edges = with_edges(&[0.1, 0.5], &[0.35, 0.5, f64::NAN]);
        assert_eq!(edges, [0.1, 0.35, 0.5]);
    }
}
