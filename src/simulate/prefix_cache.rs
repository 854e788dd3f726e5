//! Which leading blocks of prompts have been seen, as vLLM's automatic prefix cache does it.

use std::collections::{HashSet, VecDeque};

use super::vocabulary::{BLOCK_TOKENS, Prompt};

/// Blocks kept; the oldest go first. 64 k blocks are a million tokens.
const CAPACITY: usize = 1 << 16;

/// The hashes of prompt prefixes, each ending at a block boundary.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
}

impl PrefixCache {
    /// How many leading tokens of the prompt were cached; then caches all of its full blocks.
    /// At least one token is always computed, as in vLLM.
    pub(super) fn look_up(&mut self, prompt: &Prompt) -> u32 {
        let usable = prompt.tokens.saturating_sub(1) / BLOCK_TOKENS;
        let hits = prompt
            .blocks
            .iter()
            .zip(0..usable)
            .take_while(|(block, _)| self.seen.contains(*block))
            .count();
        for block in &prompt.blocks {
            if self.seen.insert(*block) {
                self.order.push_back(*block);
            }
        }
        while self.order.len() > CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        u32::try_from(hits)
            .unwrap_or(u32::MAX)
            .saturating_mul(BLOCK_TOKENS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str) -> Prompt {
        let mut prompt = Prompt::default();
        prompt.push(text);
        prompt
    }

    #[test]
    fn a_repeated_prompt_is_cached_up_to_its_last_full_block() {
        let mut cache = PrefixCache::default();
        let forty = prompt(&"word ".repeat(40));
        assert_eq!(cache.look_up(&forty), 0);
        assert_eq!(cache.look_up(&forty), 32);
        let exact = prompt(&"word ".repeat(32));
        assert_eq!(cache.look_up(&exact), 16, "the last token must be computed");
    }

    #[test]
    fn a_nonce_in_front_defeats_it_and_one_at_the_end_does_not() {
        let mut cache = PrefixCache::default();
        let words = "word ".repeat(64);
        cache.look_up(&prompt(&words));
        assert_eq!(cache.look_up(&prompt(&format!("n0 {words}"))), 0);
        assert_eq!(cache.look_up(&prompt(&format!("{words} n0"))), 64);
    }
}
