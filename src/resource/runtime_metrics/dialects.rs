//! Which of each runtime's own names means what. A new version's name is put before the old one:
//! of several sources the first that is there counts.
//!
//! Names are those of the runtimes' sources: vLLM `vllm/v1/metrics/loggers.py` and, before 0.8,
//! `vllm/engine/metrics.py`; SGLang `srt/metrics/collector.py`; TGI's metrics reference; llama.cpp
//! `tools/server/server-task.cpp`; Triton's `custom_metrics_reporter.cc` of the TensorRT-LLM backend;
//! TensorRT-LLM `metrics/collector.py`. The tests hold them against pages of each.

use super::Quantity;

/// How one runtime tells of itself.
#[derive(Debug)]
pub(super) struct Dialect {
    /// The runtime's name.
    pub(super) runtime: &'static str,
    /// Where its page is, behind the target's URL.
    pub(super) path: &'static str,
    /// The port of the page, where it is not the API's.
    pub(super) port: Option<u16>,
    /// What the page is.
    pub(super) page: Page,
}

/// What a page is.
#[derive(Debug)]
pub(super) enum Page {
    /// Prometheus text.
    Exposition(NameMap),
    /// Ollama's list of the models in memory.
    Residents,
}

/// What a runtime's metrics mean.
#[derive(Debug)]
pub(super) struct NameMap {
    /// The label that tells models apart.
    pub(super) model_label: Option<&'static str>,
    /// Labels of processes that work on the same requests: all of them tell the same.
    pub(super) rank_labels: &'static [&'static str],
    /// Where each quantity is, best source first.
    pub(super) sources: &'static [(Quantity, &'static [Source])],
}

/// Metrics that are added up, all of which must be there.
pub(super) type Source = &'static [Metric];

/// One metric, or those of its series that have certain labels.
#[derive(Debug)]
pub(super) struct Metric {
    /// The name of its samples: of a histogram, with `_sum`.
    pub(super) name: &'static str,
    /// Labels that a series must have. As in Prometheus, one that is not there is empty.
    pub(super) only: &'static [(&'static str, &'static str)],
}

const fn metric(name: &'static str) -> Metric {
    Metric { name, only: &[] }
}

const fn part(name: &'static str, only: &'static [(&'static str, &'static str)]) -> Metric {
    Metric { name, only }
}

/// Every dialect by its runtime's name, those included whose API has no adapter yet.
pub(super) const DIALECTS: &[Dialect] = &[
    Dialect {
        runtime: "vllm",
        path: "/metrics",
        port: None,
        page: Page::Exposition(VLLM),
    },
    Dialect {
        runtime: "sglang",
        path: "/metrics",
        port: None,
        page: Page::Exposition(SGLANG),
    },
    Dialect {
        runtime: "tgi",
        path: "/metrics",
        port: None,
        page: Page::Exposition(TGI),
    },
    Dialect {
        runtime: "llamacpp",
        path: "/metrics",
        port: None,
        page: Page::Exposition(LLAMACPP),
    },
    Dialect {
        runtime: "triton",
        path: "/metrics",
        port: Some(8002),
        page: Page::Exposition(TRITON),
    },
    Dialect {
        runtime: "trtllm",
        // `/metrics` there is JSON, of single iterations.
        path: "/prometheus/metrics",
        port: None,
        page: Page::Exposition(TRTLLM),
    },
    Dialect {
        runtime: "ollama",
        path: "/api/ps",
        port: None,
        page: Page::Residents,
    },
];

/// The dialect of a runtime. Absent: none is known, or the runtime has none.
pub(super) fn of(runtime: &str) -> Option<&'static Dialect> {
    let server = match runtime {
        // Its metrics' names have the short one.
        "tensorrt-llm" => "trtllm",
        // `tgi-generate` is TGI's server by another of its routes.
        other => other.split('-').next().unwrap_or(other),
    };
    DIALECTS.iter().find(|dialect| dialect.runtime == server)
}

const VLLM: NameMap = NameMap {
    model_label: Some("model_name"),
    rank_labels: &[],
    sources: &[
        (
            Quantity::RequestsRunning,
            &[&[metric("vllm:num_requests_running")]],
        ),
        (
            Quantity::RequestsWaiting,
            &[&[metric("vllm:num_requests_waiting")]],
        ),
        (
            Quantity::KvCacheUsage,
            &[
                &[metric("vllm:kv_cache_usage_perc")],
                &[metric("vllm:gpu_cache_usage_perc")],
            ],
        ),
        (
            Quantity::PrefixCacheHits,
            &[
                &[metric("vllm:prefix_cache_hits_total")],
                &[metric("vllm:gpu_prefix_cache_hits_total")],
            ],
        ),
        (
            Quantity::PrefixCacheQueries,
            &[
                &[metric("vllm:prefix_cache_queries_total")],
                &[metric("vllm:gpu_prefix_cache_queries_total")],
            ],
        ),
        (
            Quantity::Preemptions,
            &[&[metric("vllm:num_preemptions_total")]],
        ),
        (
            Quantity::GenerationTokens,
            &[&[metric("vllm:generation_tokens_total")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("vllm:prompt_tokens_total")]],
        ),
    ],
};

const SGLANG: NameMap = NameMap {
    model_label: Some("model_name"),
    rank_labels: &["tp_rank", "pp_rank", "moe_ep_rank", "pid"],
    sources: &[
        // With priorities, the series without one is the whole and the others are its parts.
        (
            Quantity::RequestsRunning,
            &[&[part("sglang:num_running_reqs", &[("priority", "")])]],
        ),
        (
            Quantity::RequestsWaiting,
            &[&[part("sglang:num_queue_reqs", &[("priority", "")])]],
        ),
        (Quantity::KvCacheUsage, &[&[metric("sglang:token_usage")]]),
        (
            Quantity::PrefixCacheHits,
            &[&[metric("sglang:cached_tokens_total")]],
        ),
        // Every prompt token is looked for, and counted whether or not it is found.
        (
            Quantity::PrefixCacheQueries,
            &[&[metric("sglang:prompt_tokens_total")]],
        ),
        (
            Quantity::Preemptions,
            &[&[metric("sglang:num_retracted_requests_total")]],
        ),
        (
            Quantity::GenerationTokens,
            &[&[metric("sglang:generation_tokens_total")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("sglang:prompt_tokens_total")]],
        ),
    ],
};

const TGI: NameMap = NameMap {
    model_label: None,
    rank_labels: &[],
    sources: &[
        (
            Quantity::RequestsRunning,
            &[&[metric("tgi_batch_current_size")]],
        ),
        (Quantity::RequestsWaiting, &[&[metric("tgi_queue_size")]]),
        // Histograms of requests, so they move when a request ends.
        (
            Quantity::GenerationTokens,
            &[&[metric("tgi_request_generated_tokens_sum")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("tgi_request_input_length_sum")]],
        ),
    ],
};

const LLAMACPP: NameMap = NameMap {
    model_label: None,
    rank_labels: &[],
    sources: &[
        (
            Quantity::RequestsRunning,
            &[&[metric("llamacpp:requests_processing")]],
        ),
        (
            Quantity::RequestsWaiting,
            &[&[metric("llamacpp:requests_deferred")]],
        ),
        // Until the middle of 2025.
        (
            Quantity::KvCacheUsage,
            &[&[metric("llamacpp:kv_cache_usage_ratio")]],
        ),
        (
            Quantity::PrefixCacheHits,
            &[&[metric("llamacpp:prompt_tokens_cached_total")]],
        ),
        (
            Quantity::PrefixCacheQueries,
            &[&[
                metric("llamacpp:prompt_tokens_total"),
                metric("llamacpp:prompt_tokens_cached_total"),
            ]],
        ),
        (
            Quantity::GenerationTokens,
            &[&[metric("llamacpp:tokens_predicted_total")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("llamacpp:prompt_tokens_total")]],
        ),
    ],
};

const TRITON: NameMap = NameMap {
    model_label: Some("model"),
    rank_labels: &[],
    sources: &[
        (
            Quantity::RequestsRunning,
            &[&[part(
                "nv_trt_llm_request_metrics",
                &[("request_type", "scheduled")],
            )]],
        ),
        (
            Quantity::RequestsWaiting,
            &[&[part(
                "nv_trt_llm_request_metrics",
                &[("request_type", "waiting")],
            )]],
        ),
        (
            Quantity::KvCacheUsage,
            &[&[part(
                "nv_trt_llm_kv_cache_block_metrics",
                &[("kv_cache_block_type", "fraction")],
            )]],
        ),
        (
            Quantity::GenerationTokens,
            &[&[metric("nv_llm_output_token_len_sum")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("nv_llm_input_token_len_sum")]],
        ),
    ],
};

const TRTLLM: NameMap = NameMap {
    model_label: Some("model_name"),
    rank_labels: &[],
    sources: &[
        (
            Quantity::RequestsRunning,
            &[&[metric("trtllm_num_requests_running")]],
        ),
        (
            Quantity::RequestsWaiting,
            &[&[metric("trtllm_num_requests_waiting")]],
        ),
        (
            Quantity::KvCacheUsage,
            &[&[metric("trtllm_kv_cache_utilization")]],
        ),
        (
            Quantity::PrefixCacheHits,
            &[&[metric("trtllm_prompt_cached_tokens_total")]],
        ),
        (
            Quantity::PrefixCacheQueries,
            &[&[metric("trtllm_prompt_tokens_total")]],
        ),
        (
            Quantity::GenerationTokens,
            &[&[metric("trtllm_generation_tokens_total")]],
        ),
        (
            Quantity::PromptTokens,
            &[&[metric("trtllm_prompt_tokens_total")]],
        ),
    ],
};
