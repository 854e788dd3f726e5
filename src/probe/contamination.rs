//! Whether the runtime's prefix cache did what the scenario means.

use crate::measure::tokens::Usage;
use crate::workload::CachePolicy;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cached tokens that say nothing: what the chat template puts before the nonce is the same in every
/// prompt. Also the length up to which a prompt is not judged, since caches hold whole blocks (16 to 128
/// tokens) and may have no place for it.
pub const CACHE_ALLOWANCE_TOKENS: u64 = 64;

/// Of long prompts, the share that says nothing, 0 to 1: templates with tools grow with them.
pub const CACHE_ALLOWANCE_RATIO: f64 = 0.1;

/// Against what the scenario means, the prompt was or was not in the runtime's prefix cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contamination {
    /// The scenario is cold, and more than the allowance came from the cache: TTFT flatters.
    UnexpectedCacheHit,
    /// The scenario is warm, has run before, and nothing came from the cache.
    UnexpectedCacheMiss,
}

impl Contamination {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::UnexpectedCacheHit, Self::UnexpectedCacheMiss];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnexpectedCacheHit => "unexpected_cache_hit",
            Self::UnexpectedCacheMiss => "unexpected_cache_miss",
        }
    }
}

/// What a probe's earlier runs tell of the cache.
#[derive(Debug, Default)]
pub(super) struct CacheMemory {
    /// A run has succeeded: its prompt went through the cache.
    served: AtomicBool,
    /// The runtime has counted cached tokens. From then on a count that is missing is none: vLLM leaves
    /// the field out when it is 0.
    counts: AtomicBool,
}

impl CacheMemory {
    /// Judges a successful run. `None` also where the runtime does not say.
    pub(super) fn judge(&self, policy: CachePolicy, usage: &Usage) -> Option<Contamination> {
        match policy {
            CachePolicy::Cold => {
                let allowed = allowance(usage.input.unwrap_or(0));
                (usage.cached? > allowed).then_some(Contamination::UnexpectedCacheHit)
            }
            CachePolicy::Warm => {
                let none = self.counts.load(Ordering::Relaxed).then_some(0);
                let missed = self.served.load(Ordering::Relaxed)
                    && usage.input? > CACHE_ALLOWANCE_TOKENS
                    && usage.cached.or(none)? == 0;
                missed.then_some(Contamination::UnexpectedCacheMiss)
            }
        }
    }

    /// Remembers a successful run.
    pub(super) fn note(&self, usage: &Usage) {
        self.served.store(true, Ordering::Relaxed);
        if usage.cached.is_some() {
            self.counts.store(true, Ordering::Relaxed);
        }
    }
}

/// Tokens of a prompt of this length that may come from the cache of a cold scenario.
fn allowance(input: u64) -> u64 {
    let share = (input as f64 * CACHE_ALLOWANCE_RATIO) as u64;
    share.max(CACHE_ALLOWANCE_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached: Option<u64>) -> Usage {
        Usage {
            input: Some(input),
            cached,
            ..Usage::default()
        }
    }

    #[test]
    fn a_cold_prompt_may_share_its_template_and_no_more() {
        let memory = CacheMemory::default();
        let judge = |input, cached| memory.judge(CachePolicy::Cold, &usage(input, cached));
        let hit = Some(Contamination::UnexpectedCacheHit);
        assert_eq!(judge(256, Some(64)), None);
        assert_eq!(judge(256, Some(65)), hit);
        assert_eq!(judge(4000, Some(400)), None);
        assert_eq!(judge(4000, Some(401)), hit);
        assert_eq!(judge(4000, None), None);
    }

    #[test]
    fn a_warm_prompt_must_be_cached_from_its_second_run_on() {
        let memory = CacheMemory::default();
        let judge = |input, cached| memory.judge(CachePolicy::Warm, &usage(input, cached));
        let miss = Some(Contamination::UnexpectedCacheMiss);
        assert_eq!(
            judge(256, Some(0)),
            None,
            "nobody can have cached the first"
        );
        memory.note(&usage(256, Some(0)));
        assert_eq!(judge(256, Some(0)), miss);
        assert_eq!(judge(256, Some(240)), None);
        assert_eq!(judge(64, Some(0)), None, "too short for a block");
    }

    #[test]
    fn a_runtime_that_never_counts_is_never_blamed_and_one_that_did_may_leave_out_its_zeros() {
        let memory = CacheMemory::default();
        let judge = |cached| memory.judge(CachePolicy::Warm, &usage(256, cached));
        memory.note(&usage(256, None));
        assert_eq!(judge(None), None);
        memory.note(&usage(256, Some(240)));
        assert_eq!(judge(None), Some(Contamination::UnexpectedCacheMiss));
    }
}
