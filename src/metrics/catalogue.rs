//! Every family, once. Exposition, documentation, estimates and tests walk this list.

use super::family::{FamilySpec, Kind};
use super::{
    accounting, buckets, daemon, instrument, latency, progress, regression, resource, runtime, slo,
    state, tokens,
};
use crate::probe::{Contamination, Outcome, Taint};
use crate::record::{MissReason, SkipReason};
use crate::slo::regression::Quantity;
use crate::transport::ClockKind;
use std::sync::OnceLock;

/// Every family, in the order of the exposition.
pub fn catalogue() -> &'static [FamilySpec] {
    static ALL: OnceLock<Vec<FamilySpec>> = OnceLock::new();
    ALL.get_or_init(|| {
        let fixed = [
            latency::FAMILIES,
            accounting::FAMILIES,
            slo::FAMILIES,
            tokens::FAMILIES,
            state::FAMILIES,
            daemon::FAMILIES,
            instrument::FAMILIES,
            progress::FAMILIES,
            regression::FAMILIES,
            runtime::FAMILIES,
            resource::FAMILIES,
        ];
        let copy = |spec: &FamilySpec| FamilySpec { ..*spec };
        let mut all: Vec<FamilySpec> = fixed.into_iter().flatten().map(copy).collect();
        all.extend(resource::families());
        all
    })
}

/// The metric reference of the README: one row per family.
pub fn reference_markdown() -> String {
    let mut out = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for spec in catalogue() {
        let labels: Vec<String> = match spec.labels.strip_prefix(&super::family::PROBE[..]) {
            Some(more) => std::iter::once("*probe*".to_owned())
                .chain(more.iter().map(|name| format!("`{name}`")))
                .collect(),
            None => spec.labels.iter().map(|name| format!("`{name}`")).collect(),
        };
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        let help = spec.help.replace('|', "\\|").replace('<', "&lt;");
        out.push_str(&format!(
            "| `{}` | {} | {labels} | {help} |\n",
            spec.name,
            spec.kind.as_str()
        ));
    }
    out
}

/// About how many series one streaming probe makes in a text scrape.
pub fn series_per_probe(classic: bool, objectives: usize) -> usize {
    let lines = |edges: &[f64]| if classic { edges.len() + 3 } else { 3 };
    let histograms = 3 * lines(buckets::FIRST_TOKEN)
        + 3 * lines(buckets::TOKEN_GAP)
        + 4 * lines(buckets::INFERENCE)
        + 6 * lines(buckets::PHASE)
        + 2 * lines(buckets::TOKENS_PER_SECOND)
        + lines(buckets::TOKENS_PER_ARRIVAL)
        + 3 * lines(buckets::INSTRUMENT);
    let gauges = catalogue()
        .iter()
        .filter(|spec| spec.kind == Kind::Gauge && spec.labels == super::family::PROBE)
        .count();
    let counters = 5
        + Outcome::ALL.len()
        + Taint::ALL.len()
        + Contamination::ALL.len()
        + ClockKind::ALL.len()
        + MissReason::ALL.len()
        + SkipReason::ALL.len()
        + 4
        + objectives * slo::SERIES;
    let regressions = regression::FAMILIES.len() * Quantity::ALL.len();
    histograms + gauges + counters + regressions
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_families_share_a_name_and_all_follow_the_conventions() {
        let mut names = HashSet::new();
        for spec in catalogue() {
            assert!(names.insert(spec.name), "{} is there twice", spec.name);
            let prefixed = [
                "llm_probe_",
                "llm_resource_",
                "llm_gpu_",
                "llm_runtime_",
                "sonde_",
            ];
            assert!(
                prefixed.iter().any(|p| spec.name.starts_with(p)),
                "{}",
                spec.name
            );
            let total = spec.name.ends_with("_total");
            assert_eq!(total, spec.kind == Kind::Counter, "{}", spec.name);
            assert!(
                !spec.help.is_empty() && !spec.help.ends_with('.'),
                "{}",
                spec.name
            );
            assert!(!spec.help.contains('\n'), "{}", spec.name);
        }
    }
}
