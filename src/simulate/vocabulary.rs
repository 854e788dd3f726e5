//! Token text and the pseudo-tokeniser: no real model, but countable and repeatable.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use rand::Rng;
use rand::seq::IndexedRandom as _;

/// Prompt tokens per block of the prefix cache, as in vLLM.
pub(super) const BLOCK_TOKENS: u32 = 16;

/// A longer word is several tokens of at most this many characters.
const TOKEN_CHARACTERS: usize = 4;

/// Answer tokens. Some have more than one byte per character, some need escapes in JSON.
const WORDS: &[&str] = &[
    " the",
    " probe",
    " waits",
    " for",
    " a",
    " first",
    " token",
    " and",
    " then",
    " counts",
    " each",
    " gap",
    ",",
    ".",
    " a",
    " café",
    " →",
    " latency",
    " is",
    " what",
    " users",
    " feel",
    " naïve",
    " clocks",
    " drift",
    "\n",
    " queue",
    " depth",
    " über",
    " \"quoted\"",
    " zero",
    " never",
    " means",
    " absent",
    " 42",
    " 東京",
    " stall",
    " ends",
    " here",
    "ing",
    "é",
];

/// Draws the text of one answer token.
pub(super) fn word(random: &mut impl Rng) -> &'static str {
    WORDS.choose(random).copied().unwrap_or(" the")
}

/// A prompt as the simulated model sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    /// Pseudo-tokens: each word counts one token per four characters begun, white space none.
    pub(super) tokens: u32,
    /// Hash of the prompt up to the end of each full block of tokens.
    pub(super) blocks: Vec<u64>,
    hasher: DefaultHasher,
}

impl Prompt {
    /// What a chat template of so many tokens puts before the messages.
    pub(super) fn template(tokens: u32) -> Self {
        let mut prompt = Self::default();
        for token in 0..tokens {
            prompt.push_token(("template", token));
        }
        prompt
    }

    /// Appends text, always as new words.
    pub(super) fn push(&mut self, text: &str) {
        for word in text.split_whitespace() {
            let mut rest = word;
            while !rest.is_empty() {
                let end = rest
                    .char_indices()
                    .nth(TOKEN_CHARACTERS)
                    .map_or(rest.len(), |(at, _)| at);
                let (piece, after) = rest.split_at(end);
                self.push_token(piece);
                rest = after;
            }
        }
    }

    /// Appends one token, whatever identifies it.
    pub(super) fn push_token(&mut self, token: impl Hash) {
        token.hash(&mut self.hasher);
        self.tokens = self.tokens.saturating_add(1);
        if self.tokens.is_multiple_of(BLOCK_TOKENS) {
            self.blocks.push(self.hasher.finish());
        }
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
    fn a_token_is_up_to_four_characters_of_a_word() {
        for (text, tokens) in [
            ("", 0),
            ("four", 1),
            ("fives", 2),
            ("Say hello.", 3),
            ("東京東京東", 2),
        ] {
            assert_eq!(prompt(text).tokens, tokens, "{text}");
        }
    }

    #[test]
    fn equal_beginnings_share_blocks_and_a_nonce_in_front_shares_none() {
        let words = "word ".repeat(40);
        let (one, two) = (
            prompt(&format!("{words} one")),
            prompt(&format!("{words} two")),
        );
        assert_eq!(one.blocks, two.blocks);
        assert_eq!(one.blocks.len(), 2);
        assert_ne!(
            prompt(&format!("x {words}")).blocks.first(),
            one.blocks.first()
        );
    }

    #[test]
    fn some_words_have_bytes_beyond_ascii() {
        assert!(WORDS.iter().any(|word| !word.is_ascii()));
    }
}
