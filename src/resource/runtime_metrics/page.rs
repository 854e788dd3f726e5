//! Reads a runtime's page by its dialect.

use super::super::exposition::{Exposition, Sample};
use super::dialects::{DIALECTS, Dialect, Metric, NameMap, Page, Source};
use super::{Look, Quantity};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Who reads a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    /// One dialect.
    Of(&'static Dialect),
    /// Whichever has a name on it: somebody gave the address of a page, and of its runtime no more than
    /// that it speaks OpenAI's API.
    Any,
}

impl Reader {
    /// What the page tells of the model.
    ///
    /// # Errors
    /// When it is not what the dialect has, with the reason.
    pub(super) fn read(self, body: &[u8], model: &str) -> Result<Look, String> {
        match self {
            Self::Of(Dialect {
                page: Page::Residents,
                ..
            }) => residents(body, model),
            Self::Of(Dialect {
                page: Page::Exposition(map),
                ..
            }) => Ok(exposition(&parse(text(body)?)?, map, model)),
            Self::Any => {
                let page = parse(text(body)?)?;
                let maps = DIALECTS.iter().filter_map(|dialect| match &dialect.page {
                    Page::Exposition(map) => Some(map),
                    Page::Residents => None,
                });
                let mut looks = maps.map(|map| exposition(&page, map, model));
                let found = looks.find(|look| !look.values.is_empty());
                Ok(found.unwrap_or_default())
            }
        }
    }
}

fn text(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Exposition<'_>, String> {
    Exposition::parse(text).map_err(|error| error.to_string())
}

fn exposition(page: &Exposition<'_>, map: &NameMap, model: &str) -> Look {
    let mut look = Look::default();
    for (quantity, sources) in map.sources {
        let told = |source: &Source| -> Option<f64> {
            let terms = source.iter().map(|metric| {
                let samples = of_model(series(page, metric), map.model_label, model);
                combined(&samples, map.rank_labels, *quantity)
            });
            terms.sum()
        };
        if let Some(value) = sources.iter().find_map(told) {
            look.values.insert(*quantity, value);
        }
    }
    look
}

/// The metric's series that hold a number.
fn series<'p, 't>(page: &'p Exposition<'t>, metric: &Metric) -> Vec<&'p Sample<'t>> {
    page.named(metric.name)
        .filter(|sample| sample.value.is_finite() && sample.value >= 0.0)
        .filter(|sample| {
            let wanted =
                |(label, value): &(&str, &str)| sample.label(label).unwrap_or_default() == *value;
            metric.only.iter().all(wanted)
        })
        .collect()
}

/// Those of the model. A page of one model alone is taken to speak of it: aliases, adapters and
/// ensembles have other names than the label.
fn of_model<'p, 't>(
    samples: Vec<&'p Sample<'t>>,
    label: Option<&str>,
    model: &str,
) -> Vec<&'p Sample<'t>> {
    let Some(label) = label else {
        return samples;
    };
    let names: BTreeSet<_> = samples.iter().map(|sample| sample.label(label)).collect();
    match names.contains(&Some(model)) {
        true => {
            let own = samples.into_iter();
            own.filter(|sample| sample.label(label) == Some(model))
                .collect()
        }
        false if names.len() == 1 => samples,
        false => Vec::new(),
    }
}

/// One number of many series: of ranks that work on the same the largest, of engines the sum, or of
/// shares the mean.
fn combined(samples: &[&Sample<'_>], ranks: &[&str], quantity: Quantity) -> Option<f64> {
    let mut engines: BTreeMap<Vec<(&str, &str)>, f64> = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.iter();
        let mut engine: Vec<_> = labels
            .map(|(name, value)| (*name, value.as_ref()))
            .filter(|(name, _)| !ranks.contains(name))
            .collect();
        engine.sort_unstable();
        let most = engines.entry(engine).or_default();
        *most = most.max(sample.value);
    }
    let sum: f64 = engines.values().sum();
    match (engines.len(), quantity) {
        (0, _) => None,
        (count, Quantity::KvCacheUsage) => Some(sum / count as f64),
        _ => Some(sum),
    }
}

/// Ollama's `/api/ps`.
#[derive(Deserialize)]
struct Residents {
    /// Go writes an empty list as `null` at times.
    models: Option<Vec<Resident>>,
}

#[derive(Deserialize)]
struct Resident {
    name: String,
    model: Option<String>,
    size: Option<f64>,
    size_vram: Option<f64>,
    expires_at: Option<String>,
}

fn residents(body: &[u8], model: &str) -> Result<Look, String> {
    let residents: Residents = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let wanted = tagged(model);
    let resident = residents.models.into_iter().flatten().find(|resident| {
        let names = [Some(&resident.name), resident.model.as_ref()];
        names
            .into_iter()
            .flatten()
            .any(|name| tagged(name) == wanted)
    });
    let mut look = Look::default();
    let loaded = f64::from(u8::from(resident.is_some()));
    look.values.insert(Quantity::ModelLoaded, loaded);
    if let Some(resident) = resident {
        let sizes = [
            (Quantity::ModelMemory, resident.size),
            (Quantity::ModelGpuMemory, resident.size_vram),
        ];
        for (quantity, size) in sizes {
            look.values.extend(size.map(|size| (quantity, size)));
        }
        // While a request runs, it may be Go's zero time: nobody knows.
        let expiry = resident.expires_at.and_then(|text| text.parse().ok());
        look.unloads_at = expiry.filter(|at| *at > Timestamp::UNIX_EPOCH);
    }
    Ok(look)
}

/// The name with its tag, in the case that Ollama compares them.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = if last.contains(':') { "" } else { ":latest" };
    format!("{name}{tag}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::dialects;
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Name (`runtime-version`) and text of every page.
    fn pages() -> Vec<(String, String)> {
        let folder = Path::new("tests/golden/runtime_metrics");
        let mut pages: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        pages.sort();
        pages
    }

    fn page(name: &str) -> String {
        let found = pages().into_iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no page {name}")).1
    }

    fn read(runtime: &str, text: &str, model: &str) -> Look {
        let dialect = dialects::of(runtime).unwrap();
        Reader::Of(dialect).read(text.as_bytes(), model).unwrap()
    }

    fn told(look: &Look) -> Vec<(Quantity, f64)> {
        look.values
            .iter()
            .map(|(of, value)| (*of, *value))
            .collect()
    }

    #[test]
    fn every_mapped_name_is_on_a_page_of_its_runtime() {
        let pages = pages();
        for dialect in dialects::DIALECTS {
            let Page::Exposition(map) = &dialect.page else {
                continue;
            };
            let own: Vec<_> = pages
                .iter()
                .filter(|(name, _)| name.split('-').next() == Some(dialect.runtime))
                .map(|(_, text)| Exposition::parse(text).unwrap())
                .collect();
            assert!(own.len() >= 2, "too few versions of {}", dialect.runtime);
            let metrics = map.sources.iter().flat_map(|(_, sources)| *sources);
            for metric in metrics.flat_map(|source| source.iter()) {
                let there = own.iter().any(|page| !series(page, metric).is_empty());
                assert!(there, "{metric:?} is on no page of {}", dialect.runtime);
            }
            for label in map.model_label.iter().chain(map.rank_labels) {
                let there = own.iter().flat_map(|page| &page.samples);
                let there = there.filter(|sample| sample.label(label).is_some());
                assert!(there.count() > 0, "`{label}` of {}", dialect.runtime);
            }
        }
    }

    #[test]
    fn every_page_is_of_a_dialect_and_tells_something() {
        for (name, text) in pages() {
            let runtime = name.split('-').next().unwrap();
            let look = read(runtime, &text, "nobody's");
            assert!(!look.values.is_empty(), "{name}: {look:?}");
            let any = Reader::Any.read(text.as_bytes(), "nobody's").unwrap();
            assert_eq!(any, look, "{name} is taken for another runtime's");
        }
    }

    #[test]
    fn vllms_first_engine_tells_no_prefix_cache_tokens() {
        let look = read("vllm", &page("vllm-0.4"), "facebook/opt-125m");
        let expected = [
            (Quantity::RequestsRunning, 3.0),
            (Quantity::RequestsWaiting, 2.0),
            (Quantity::KvCacheUsage, 0.25),
            (Quantity::Preemptions, 1.0),
            (Quantity::GenerationTokens, 4500.0),
            (Quantity::PromptTokens, 12000.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn of_two_names_of_the_same_the_newer_counts_and_nothing_is_counted_twice() {
        let look = read("vllm", &page("vllm-0.9"), "Qwen/Qwen2.5-7B-Instruct");
        assert_eq!(look.values[&Quantity::KvCacheUsage], 0.5);
        assert_eq!(look.values[&Quantity::PrefixCacheHits], 640.0);
        assert_eq!(look.values[&Quantity::PrefixCacheQueries], 2560.0);
        let older: String = page("vllm-0.9")
            .lines()
            .filter(|line| !line.contains("vllm:prefix_cache") && !line.contains("vllm:kv_cache"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(read("vllm", &older, "Qwen/Qwen2.5-7B-Instruct"), look);
    }

    #[test]
    fn engines_of_one_model_are_added_up_and_shares_averaged() {
        let look = read("vllm", &page("vllm-2026"), "Qwen/Qwen3-8B");
        let expected = [
            (Quantity::RequestsRunning, 7.0),
            (Quantity::RequestsWaiting, 3.0),
            (Quantity::KvCacheUsage, 0.5),
            (Quantity::PrefixCacheHits, 4000.0),
            (Quantity::PrefixCacheQueries, 10000.0),
            (Quantity::Preemptions, 5.0),
            (Quantity::GenerationTokens, 3000.0),
            (Quantity::PromptTokens, 10000.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn series_of_other_models_are_left_out_unless_there_is_but_one_model() {
        let page = "vllm:num_requests_running{model_name=\"a\"} 1\n\
                    vllm:num_requests_running{model_name=\"b\"} 2\n";
        let running = |text: &str, model: &str| {
            let look = read("vllm", text, model);
            look.values.get(&Quantity::RequestsRunning).copied()
        };
        assert_eq!(running(page, "b"), Some(2.0));
        assert_eq!(running(page, "c"), None, "whose would it be?");
        let (alone, _) = page.split_at(page.find('\n').unwrap());
        assert_eq!(running(alone, "alias"), Some(1.0));
    }

    #[test]
    fn sglangs_ranks_tell_the_same_and_its_priorities_are_parts() {
        let look = read("sglang", &page("sglang-2026"), "Qwen/Qwen3-8B");
        let expected = [
            (Quantity::RequestsRunning, 4.0),
            (Quantity::RequestsWaiting, 3.0),
            (Quantity::KvCacheUsage, 0.25),
            (Quantity::PrefixCacheHits, 900.0),
            (Quantity::PrefixCacheQueries, 6000.0),
            (Quantity::Preemptions, 2.0),
            (Quantity::GenerationTokens, 1500.0),
            (Quantity::PromptTokens, 6000.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn a_sum_of_which_a_part_is_missing_is_absent() {
        let older = read("llamacpp", &page("llamacpp-2024"), "m");
        assert_eq!(older.values.get(&Quantity::PrefixCacheQueries), None);
        assert_eq!(older.values[&Quantity::KvCacheUsage], 0.125);
        let newer = read("llamacpp", &page("llamacpp-b11151"), "m");
        assert_eq!(newer.values[&Quantity::PrefixCacheHits], 30.0);
        assert_eq!(newer.values[&Quantity::PrefixCacheQueries], 150.0);
        assert_eq!(newer.values[&Quantity::PromptTokens], 120.0);
        assert_eq!(newer.values.get(&Quantity::KvCacheUsage), None);
    }

    #[test]
    fn tokens_of_tgi_are_sums_of_its_histograms() {
        let look = read("tgi", &page("tgi-3"), "m");
        let expected = [
            (Quantity::RequestsRunning, 5.0),
            (Quantity::RequestsWaiting, 3.0),
            (Quantity::GenerationTokens, 8123.0),
            (Quantity::PromptTokens, 19000.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn tritons_values_are_told_apart_by_labels() {
        let look = read("triton", &page("triton-2025"), "ensemble");
        let expected = [
            (Quantity::RequestsRunning, 4.0),
            (Quantity::RequestsWaiting, 3.0),
            (Quantity::KvCacheUsage, 0.25),
            (Quantity::GenerationTokens, 900.0),
            (Quantity::PromptTokens, 2400.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn tensorrt_llm_tells_what_its_version_knows() {
        let look = read("trtllm", &page("trtllm-2026-first"), "m");
        let expected = [
            (Quantity::RequestsRunning, 2.0),
            (Quantity::RequestsWaiting, 0.0),
            (Quantity::KvCacheUsage, 0.125),
        ];
        assert_eq!(told(&look), expected);
        let look = read("trtllm", &page("trtllm-2026"), "m");
        let expected = [
            (Quantity::RequestsRunning, 3.0),
            (Quantity::RequestsWaiting, 1.0),
            (Quantity::KvCacheUsage, 0.25),
            (Quantity::PrefixCacheHits, 450.0),
            (Quantity::PrefixCacheQueries, 1800.0),
            (Quantity::GenerationTokens, 300.0),
            (Quantity::PromptTokens, 1800.0),
        ];
        assert_eq!(told(&look), expected);
    }

    #[test]
    fn values_that_are_no_numbers_are_not_told() {
        let text = "vllm:num_requests_running{engine=\"0\"} NaN\n\
                    vllm:kv_cache_usage_perc -1\n\
                    vllm:num_requests_waiting +Inf\n";
        assert_eq!(read("vllm", text, "m"), Look::default());
    }

    #[test]
    fn what_is_no_page_is_refused_with_the_reason() {
        let of = |runtime| Reader::Of(dialects::of(runtime).unwrap());
        let html = of("vllm").read(b"<html></html>", "m").unwrap_err();
        assert!(html.starts_with("line 1: "), "{html}");
        assert!(of("vllm").read(&[0xff], "m").is_err());
        assert!(of("ollama").read(b"[]", "m").is_err());
        assert!(of("ollama").read(b"", "m").is_err());
    }

    #[test]
    fn ollama_tells_whether_the_model_is_loaded_and_until_when() {
        let recorded = include_str!("../../../tests/golden/transcripts/ollama-ps.json");
        let look = read("ollama", recorded, "sonde-tiny-gemma");
        let expected = [
            (Quantity::ModelLoaded, 1.0),
            (Quantity::ModelMemory, 34_337_024.0),
            (Quantity::ModelGpuMemory, 0.0),
        ];
        assert_eq!(told(&look), expected);
        let until = "2026-11-23T16:10:06.526093825Z".parse().unwrap();
        assert_eq!(look.unloads_at, Some(until));
        let other = read("ollama", recorded, "sonde-tiny-gemma:4b");
        assert_eq!(told(&other), [(Quantity::ModelLoaded, 0.0)]);
        assert_eq!(other.unloads_at, None);
        let empty = include_str!("../../../tests/golden/transcripts/ollama-ps-nothing-loaded.json");
        for nothing in [empty, "{\"models\":null}"] {
            let look = read("ollama", nothing, "sonde-tiny-gemma");
            assert_eq!(told(&look), [(Quantity::ModelLoaded, 0.0)]);
        }
    }

    #[test]
    fn an_unload_time_that_is_none_is_absent() {
        let text = r#"{"models":[{"name":"M:4b","expires_at":"0001-01-01T00:00:00Z"}]}"#;
        let look = read("ollama", text, "m:4b");
        assert_eq!(told(&look), [(Quantity::ModelLoaded, 1.0)]);
        assert_eq!(look.unloads_at, None);
    }
}
