//! The simulated runtime's own `/metrics`: text format 0.0.4 with the names of vLLM or llama.cpp.

use std::fmt::Write as _;
use std::time::Duration;

use super::generation::Finish;

/// `Content-Type` of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

// Upper bounds in seconds, as vLLM has them.
const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const ITL_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_BOUNDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// A classic histogram of seconds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    /// Adds one duration.
    pub(super) fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// What one model has done so far.
#[derive(Debug)]
pub(super) struct Stats {
    pub(super) running: u64,
    pub(super) waiting: u64,
    /// Tokens that the requests under way hold in the cache.
    pub(super) cache_tokens: u64,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) prefix_queries: u64,
    pub(super) prefix_hits: u64,
    pub(super) prompt_seconds: f64,
    pub(super) generation_seconds: f64,
    pub(super) ttft: Histogram,
    pub(super) itl: Histogram,
    pub(super) e2e: Histogram,
    pub(super) queue: Histogram,
    stopped: u64,
    cut: u64,
    aborted: u64,
}

impl Stats {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            running: 0,
            waiting: 0,
            cache_tokens: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            prefix_queries: 0,
            prefix_hits: 0,
            prompt_seconds: 0.0,
            generation_seconds: 0.0,
            ttft: Histogram::new(TTFT_BOUNDS),
            itl: Histogram::new(ITL_BOUNDS),
            e2e: Histogram::new(REQUEST_BOUNDS),
            queue: Histogram::new(REQUEST_BOUNDS),
            stopped: 0,
            cut: 0,
            aborted: 0,
        }
    }

    /// Counts an ended request; `None` is one that did not get to its end.
    pub(super) fn ended(&mut self, finish: Option<Finish>) {
        match finish {
            Some(Finish::Length) => self.cut += 1,
            Some(_) => self.stopped += 1,
            None => self.aborted += 1,
        }
    }

    fn cache_usage(&self, capacity: u64) -> f64 {
        (self.cache_tokens as f64 / capacity.max(1) as f64).min(1.0)
    }
}

/// One family in the making.
struct Family<'a> {
    page: &'a mut String,
    name: &'a str,
}

impl<'a> Family<'a> {
    fn new(page: &'a mut String, name: &'a str, kind: &str, help: &str) -> Self {
        // Writing to a string cannot fail; the same holds below.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Self { page, name }
    }

    fn sample(&mut self, suffix: &str, labels: &str, value: impl std::fmt::Display) {
        let name = self.name;
        let _ = if labels.is_empty() {
            writeln!(self.page, "{name}{suffix} {value}")
        } else {
            writeln!(self.page, "{name}{suffix}{{{labels}}} {value}")
        };
    }

    fn histogram(&mut self, labels: &str, histogram: &Histogram) {
        let mut cumulative = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            cumulative += count;
            self.sample("_bucket", &format!("{labels},le=\"{bound:?}\""), cumulative);
        }
        self.sample("_bucket", &format!("{labels},le=\"+Inf\""), histogram.count);
        self.sample("_sum", labels, histogram.sum);
        self.sample("_count", labels, histogram.count);
    }
}

/// A model's name and a consistent view of its numbers.
pub(super) type ModelStats<'a> = (&'a str, &'a Stats);

type Number = fn(&Stats) -> f64;
type Distribution = fn(&Stats) -> &Histogram;

const VLLM_GAUGES: &[(&str, &str, Number)] = &[
    (
        "vllm:num_requests_running",
        "Number of requests in model execution batches.",
        |stats| stats.running as f64,
    ),
    (
        "vllm:num_requests_waiting",
        "Number of requests waiting to be processed.",
        |stats| stats.waiting as f64,
    ),
];

const VLLM_COUNTERS: &[(&str, &str, Number)] = &[
    (
        "vllm:prompt_tokens_total",
        "Number of prefill tokens processed.",
        |stats| stats.prompt_tokens as f64,
    ),
    (
        "vllm:generation_tokens_total",
        "Number of generation tokens processed.",
        |stats| stats.generation_tokens as f64,
    ),
    (
        "vllm:prefix_cache_queries_total",
        "Prefix cache queries, in terms of number of queried tokens.",
        |stats| stats.prefix_queries as f64,
    ),
    (
        "vllm:prefix_cache_hits_total",
        "Prefix cache hits, in terms of number of cached tokens.",
        |stats| stats.prefix_hits as f64,
    ),
    // The cache never runs out: usage is only shown.
    (
        "vllm:num_preemptions_total",
        "Cumulative number of preemption from the engine.",
        |_| 0.0,
    ),
];

const VLLM_HISTOGRAMS: &[(&str, &str, Distribution)] = &[
    (
        "vllm:time_to_first_token_seconds",
        "Histogram of time to first token in seconds.",
        |stats| &stats.ttft,
    ),
    (
        "vllm:inter_token_latency_seconds",
        "Histogram of inter-token latency in seconds.",
        |stats| &stats.itl,
    ),
    (
        "vllm:e2e_request_latency_seconds",
        "Histogram of e2e request latency in seconds.",
        |stats| &stats.e2e,
    ),
    (
        "vllm:request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        |stats| &stats.queue,
    ),
];

/// vLLM's page; `cache_capacity` is in tokens.
pub(super) fn vllm_page(models: &[ModelStats<'_>], cache_capacity: u64) -> String {
    let mut page = String::with_capacity(8 << 10);
    for (kind, families) in [("gauge", VLLM_GAUGES), ("counter", VLLM_COUNTERS)] {
        for (name, help, number) in families {
            let mut family = Family::new(&mut page, name, kind, help);
            for (model, stats) in models {
                family.sample("", &vllm_labels(model), number(stats));
            }
        }
    }
    // Both names of the same gauge, as vLLM 0.9 has them.
    for name in ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"] {
        let help = "KV-cache usage. 1 means 100 percent usage.";
        let mut family = Family::new(&mut page, name, "gauge", help);
        for (model, stats) in models {
            family.sample("", &vllm_labels(model), stats.cache_usage(cache_capacity));
        }
    }
    let help = "Count of successfully processed requests.";
    let mut family = Family::new(&mut page, "vllm:request_success_total", "counter", help);
    for (model, stats) in models {
        let reasons = [
            ("stop", stats.stopped),
            ("length", stats.cut),
            ("abort", stats.aborted),
        ];
        for (reason, count) in reasons {
            let labels = format!("{},finished_reason=\"{reason}\"", vllm_labels(model));
            family.sample("", &labels, count);
        }
    }
    for (name, help, histogram) in VLLM_HISTOGRAMS {
        let mut family = Family::new(&mut page, name, "histogram", help);
        for (model, stats) in models {
            family.histogram(&vllm_labels(model), histogram(stats));
        }
    }
    page
}

fn vllm_labels(model: &str) -> String {
    let escaped = model
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("engine=\"0\",model_name=\"{escaped}\"")
}

const LLAMACPP_FAMILIES: &[(&str, &str, &str, Number)] = &[
    (
        "llamacpp:prompt_tokens_total",
        "counter",
        "Number of prompt tokens processed, excluding cached tokens",
        |stats| stats.prompt_tokens.saturating_sub(stats.prefix_hits) as f64,
    ),
    (
        "llamacpp:prompt_tokens_cached_total",
        "counter",
        "Number of prompt tokens reused from the cache",
        |stats| stats.prefix_hits as f64,
    ),
    (
        "llamacpp:prompt_seconds_total",
        "counter",
        "Prompt process time",
        |stats| stats.prompt_seconds,
    ),
    (
        "llamacpp:tokens_predicted_total",
        "counter",
        "Number of generation tokens processed.",
        |stats| stats.generation_tokens as f64,
    ),
    (
        "llamacpp:tokens_predicted_seconds_total",
        "counter",
        "Predict process time",
        |stats| stats.generation_seconds,
    ),
    (
        "llamacpp:requests_processing",
        "gauge",
        "Number of requests processing.",
        |stats| stats.running as f64,
    ),
    (
        "llamacpp:requests_deferred",
        "gauge",
        "Number of requests deferred.",
        |stats| stats.waiting as f64,
    ),
];

/// llama.cpp's page: no labels, one server is one model; further models are added up.
pub(super) fn llamacpp_page(models: &[ModelStats<'_>], cache_capacity: u64) -> String {
    let mut page = String::with_capacity(2 << 10);
    for (name, kind, help, number) in LLAMACPP_FAMILIES {
        let sum: f64 = models.iter().map(|(_, stats)| number(stats)).sum();
        Family::new(&mut page, name, kind, help).sample("", "", sum);
    }
    let usage: f64 = models
        .iter()
        .map(|(_, stats)| stats.cache_usage(cache_capacity))
        .sum();
    let help = "KV-cache usage. 1 means 100 percent usage.";
    Family::new(&mut page, "llamacpp:kv_cache_usage_ratio", "gauge", help).sample("", "", usage);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let mut stats = Stats::new();
        for millis in [1, 2, 20, 5_000_000] {
            stats.ttft.observe(Duration::from_millis(millis));
        }
        let page = vllm_page(&[("m\"1", &stats)], 100);
        let labels = "engine=\"0\",model_name=\"m\\\"1\"";
        for (bound, count) in [
            ("0.001", 1),
            ("0.005", 2),
            ("0.02", 3),
            ("2560.0", 3),
            ("+Inf", 4),
        ] {
            let line = format!(
                "vllm:time_to_first_token_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n"
            );
            assert!(page.contains(&line), "{line}");
        }
        assert!(page.contains(&format!(
            "vllm:time_to_first_token_seconds_count{{{labels}}} 4\n"
        )));
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_and_names_are_announced_once() {
        let stats = Stats::new();
        let models = [("a", &stats), ("b", &stats)];
        for page in [vllm_page(&models, 10), llamacpp_page(&models, 10)] {
            assert!(page.ends_with('\n'));
            let mut announced = Vec::new();
            for line in page.lines() {
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    announced.push(rest.split(' ').next().unwrap().to_owned());
                } else if !line.starts_with("# HELP ") {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    value.parse::<f64>().unwrap();
                    assert!(
                        series.starts_with(announced.last().unwrap().as_str()),
                        "{line}"
                    );
                }
            }
            let total = announced.len();
            announced.sort();
            announced.dedup();
            assert_eq!(announced.len(), total);
        }
    }
}
