//! Generated prose of a wanted length, with a request to go on at length.

use super::{
    CachePolicy, Calibration, Prompt, Tokenizer, Workload, WorkloadError, WorkloadSettings,
    WorkloadSpec, corpus, nonce,
};
use std::sync::Arc;

/// See [`SyntheticWorkload`].
pub(super) const SPEC: WorkloadSpec = WorkloadSpec {
    name: "synthetic",
    summary: "generated prose of a wanted number of tokens, and a request to continue it at length",
    keys: &["input_tokens", "tokenizer_file"],
    build: |settings| Ok(Arc::new(SyntheticWorkload::new(settings)?)),
};

/// The longest prompt that can be asked for: the context of the largest models.
const MAX_INPUT_TOKENS: u32 = 1_000_000;

/// The seed of every warm prompt.
const WARM_SEED: u64 = 0;

/// Stands at the end, where models heed it best. An answer must last until the scenario's limit
/// of output tokens cuts it off, or the runs would differ in length.
const INSTRUCTION: &str = "Continue this story in the same style. Write at least forty long paragraphs, \
    describe every scene in detail, ask no questions and do not stop early.";

/// The same where the long one would be most of the prompt.
const SHORT_INSTRUCTION: &str = "Continue this story at great length.";

/// The long instruction is used where the user's message has at least so many times its words.
const ROOM_FOR_INSTRUCTION: usize = 2;

/// Words of a query: what people type into a search.
const QUERY_WORDS: usize = 12;

/// Words from which a tokenizer's tokens per word are taken.
const SAMPLE_WORDS: usize = 2000;

/// How often a length is corrected before the nearest one is taken. Three suffice in practice.
const MAX_CORRECTIONS: usize = 8;

/// Fills up a prompt that is a token or two short: one token in most vocabularies.
const FILLER: &str = " a";

/// Sends generated prose of a wanted length.
///
/// Cold, text and nonce come from the seed; warm, every run sends the text and nonce of one constant
/// seed. The length is that of all text sent, system message and nonce included. With a
/// `tokenizer_file` it is met within 1 %, and the runtime's chat template comes on top; without, it is
/// the calibration's estimate and includes the template. It cannot go below what nonce, system
/// message, instruction and one word take.
#[derive(Debug)]
pub struct SyntheticWorkload {
    cache: CachePolicy,
    system: Option<Arc<str>>,
    input_tokens: u32,
    exact: Option<ExactLength>,
}

/// What stands around the generated prose.
#[derive(Clone, Copy, Debug)]
enum Wording {
    /// System message and instruction.
    Prompt,
    /// Nothing but a nonce.
    Bare,
}

/// A tokenizer and how many tokens it makes of a word of the corpus.
#[derive(Debug)]
struct ExactLength {
    tokenizer: Tokenizer,
    tokens_per_word: f64,
}

impl SyntheticWorkload {
    /// Takes `input_tokens`, `tokenizer_file`, `system` and `cache`, and loads the tokenizer.
    ///
    /// # Errors
    /// Without a length, with one out of range, or when the tokenizer cannot be loaded.
    pub fn new(settings: &WorkloadSettings) -> Result<Self, WorkloadError> {
        let input_tokens = settings.input_tokens.ok_or(WorkloadError::Missing {
            key: "input_tokens",
        })?;
        if !(1..=MAX_INPUT_TOKENS).contains(&input_tokens) {
            return Err(WorkloadError::Range {
                key: "input_tokens",
                rule: "from 1 to 1000000",
            });
        }
        let tokenizer = settings
            .tokenizer_file
            .as_deref()
            .map(Tokenizer::load)
            .transpose()?;
        Ok(Self {
            cache: settings.cache,
            system: settings.system.as_deref().map(Arc::from),
            input_tokens,
            exact: tokenizer.map(ExactLength::new),
        })
    }

    fn seed_of(&self, seed: u64) -> u64 {
        match self.cache {
            CachePolicy::Cold => seed,
            CachePolicy::Warm => WARM_SEED,
        }
    }

    fn system_words(&self) -> usize {
        self.system.as_deref().map_or(0, count_words)
    }

    /// A text of that many words and some filler, with the wording around it.
    fn worded(&self, wording: Wording, seed: u64, words: usize, filler: usize) -> Prompt {
        match wording {
            Wording::Prompt => self.prompt(seed, words, filler),
            Wording::Bare => bare(seed, words, filler),
        }
    }

    /// A prompt of that many words, the system message's included, and some filler.
    fn prompt(&self, seed: u64, words: usize, filler: usize) -> Prompt {
        let system_words = self.system_words();
        let user_words = words.saturating_sub(system_words);
        let instruction = if user_words >= count_words(INSTRUCTION) * ROOM_FOR_INSTRUCTION {
            INSTRUCTION
        } else {
            SHORT_INSTRUCTION
        };
        let body_words = user_words.saturating_sub(count_words(instruction)).max(1);
        let body = corpus::text(seed, body_words);
        let filler_text = FILLER.repeat(filler);
        let prompt = Prompt {
            system: self.system.clone(),
            user: format!("{body}{filler_text}\n\n{instruction}"),
            generated_words: Some(system_words + body_words + filler + count_words(instruction)),
        };
        nonce::put_in_front(prompt, seed)
    }

    /// A text of the wanted length.
    fn measured(&self, wording: Wording, seed: u64, calibration: &Calibration) -> Prompt {
        match &self.exact {
            Some(exact) => self.exact_text(wording, seed, exact),
            None => self.worded(wording, seed, calibration.words_for(self.input_tokens), 0),
        }
    }

    /// Searches the text that is `input_tokens` long.
    fn exact_text(&self, wording: Wording, seed: u64, exact: &ExactLength) -> Prompt {
        let wanted = self.input_tokens as usize;
        let tolerance = wanted / 100;
        let mut words = (wanted as f64 / exact.tokens_per_word) as usize;
        let mut best = self.worded(wording, seed, words, 0);
        let mut tokens = exact.count(&best);
        for _ in 0..MAX_CORRECTIONS {
            if tokens.abs_diff(wanted) <= tolerance {
                return best;
            }
            let step = (tokens.abs_diff(wanted) as f64 / exact.tokens_per_word).ceil() as usize;
            words = if tokens < wanted {
                words + step
            } else {
                words.saturating_sub(step)
            };
            best = self.worded(wording, seed, words, 0);
            tokens = exact.count(&best);
        }
        self.filled_text(wording, seed, words, exact)
    }

    /// Short prompts allow no error: takes whole words as far as they go, and fills up the rest.
    fn filled_text(
        &self,
        wording: Wording,
        seed: u64,
        around: usize,
        exact: &ExactLength,
    ) -> Prompt {
        let wanted = self.input_tokens as usize;
        let mut words = around;
        let mut best = self.worded(wording, seed, words, 0);
        let fewest = match wording {
            Wording::Prompt => self.system_words() + count_words(SHORT_INSTRUCTION) + 1,
            Wording::Bare => 1,
        };
        while exact.count(&best) > wanted && words > fewest {
            words -= 1;
            best = self.worded(wording, seed, words, 0);
        }
        for filler in 1..=wanted {
            let candidate = self.worded(wording, seed, words, filler);
            if exact.count(&candidate) > wanted {
                break;
            }
            best = candidate;
        }
        best
    }
}

impl ExactLength {
    fn new(tokenizer: Tokenizer) -> Self {
        let sample = tokenizer.count(&corpus::text(WARM_SEED, SAMPLE_WORDS));
        Self {
            tokenizer,
            tokens_per_word: (sample as f64 / SAMPLE_WORDS as f64).max(1.0),
        }
    }

    fn count(&self, prompt: &Prompt) -> usize {
        let system = prompt
            .system
            .as_deref()
            .map_or(0, |system| self.tokenizer.count(system));
        system + self.tokenizer.count(&prompt.user)
    }
}

impl Workload for SyntheticWorkload {
    fn next(&self, seed: u64, calibration: &Calibration) -> Prompt {
        let seed = self.seed_of(seed);
        self.measured(Wording::Prompt, seed, calibration)
    }

    fn text(&self, seed: u64, index: u32, calibration: &Calibration) -> Prompt {
        let seed = nonce::of_text(self.seed_of(seed), index);
        self.measured(Wording::Bare, seed, calibration)
    }

    fn query(&self, seed: u64) -> Prompt {
        let seed = nonce::of_text(self.seed_of(seed), u32::MAX);
        bare(seed, QUERY_WORDS, 0)
    }
}

/// Nothing but prose, its nonce in front.
fn bare(seed: u64, words: usize, filler: usize) -> Prompt {
    let words = words.max(1);
    let body = corpus::text(seed, words);
    let prompt = Prompt {
        system: None,
        user: format!("{body}{}", FILLER.repeat(filler)),
        generated_words: Some(words + filler),
    };
    nonce::put_in_front(prompt, seed)
}

fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn workload(cache: CachePolicy, system: Option<&str>, input_tokens: u32) -> SyntheticWorkload {
        SyntheticWorkload::new(&WorkloadSettings {
            kind: "synthetic".to_owned(),
            cache,
            system: system.map(str::to_owned),
            prompt: None,
            input_tokens: Some(input_tokens),
            tokenizer_file: None,
        })
        .unwrap()
    }

    fn first_bytes(prompt: &Prompt) -> &[u8] {
        let first = prompt.system.as_deref().unwrap_or(&prompt.user);
        &first.as_bytes()[..16]
    }

    #[test]
    fn the_request_to_go_on_stands_at_the_end() {
        let prompt = workload(CachePolicy::Cold, None, 256).next(1, &Calibration::default());
        assert!(prompt.user.ends_with(INSTRUCTION));
        let prompt = workload(CachePolicy::Cold, None, 32).next(1, &Calibration::default());
        assert!(prompt.user.ends_with(SHORT_INSTRUCTION));
    }

    #[test]
    fn a_warm_prompt_is_the_same_in_every_run() {
        let workload = workload(CachePolicy::Warm, Some("Be brief."), 256);
        let calibration = Calibration::default();
        assert_eq!(
            workload.next(1, &calibration),
            workload.next(2, &calibration)
        );
    }

    #[test]
    fn texts_have_no_instruction_and_differ_within_a_request() {
        let calibration = Calibration::default();
        for cache in [CachePolicy::Cold, CachePolicy::Warm] {
            let workload = workload(cache, Some("Be brief."), 64);
            let texts = workload.texts(7, 4, true, &calibration);
            let mut all = texts.inputs.clone();
            all.extend(texts.query.clone());
            for text in &all {
                assert!(
                    !text.contains("Continue") && !text.contains("Be brief"),
                    "{text}"
                );
            }
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 5);
            let words = texts.inputs.iter().map(|text| count_words(text) - 1);
            let each = words.sum::<usize>() / 4;
            assert_eq!(texts.generated_words, Some(each + QUERY_WORDS));
            let again = workload.texts(8, 4, true, &calibration);
            assert_eq!(texts == again, cache == CachePolicy::Warm);
        }
    }

    #[test]
    fn a_length_is_needed_and_has_its_bounds() {
        let mut settings = WorkloadSettings {
            kind: "synthetic".to_owned(),
            cache: CachePolicy::Cold,
            system: None,
            prompt: None,
            input_tokens: None,
            tokenizer_file: None,
        };
        let message =
            |settings: &WorkloadSettings| SyntheticWorkload::new(settings).unwrap_err().to_string();
        assert_eq!(message(&settings), "`input_tokens` is required");
        for tokens in [0, MAX_INPUT_TOKENS + 1] {
            settings.input_tokens = Some(tokens);
            assert_eq!(
                message(&settings),
                "`input_tokens` must be from 1 to 1000000"
            );
        }
    }

    #[test]
    fn the_words_counted_are_the_words_sent() {
        for (system, tokens) in [
            (None, 1),
            (None, 40),
            (None, 300),
            (Some("Be kind and brief."), 300),
        ] {
            let prompt =
                workload(CachePolicy::Cold, system, tokens).next(9, &Calibration::default());
            let system_words = prompt.system.as_deref().map_or(0, count_words);
            let all = system_words + count_words(&prompt.user);
            assert_eq!(
                prompt.generated_words,
                Some(all - 1),
                "all but the nonce, {system:?} {tokens}"
            );
        }
    }

    #[cfg(feature = "tokenizer")]
    #[test]
    fn with_a_tokenizer_lengths_are_met_within_one_percent() {
        use crate::workload::tokenizer::fixtures;
        for file in [fixtures::words(), fixtures::letters()] {
            for (system, tokens) in [
                (None, 64),
                (None, 100),
                (None, 257),
                (Some("Be kind."), 1000),
                (None, 20_000),
            ] {
                let tokenizer = Tokenizer::load(file.path()).unwrap();
                let mut workload = workload(CachePolicy::Cold, system, tokens);
                workload.exact = Some(ExactLength::new(tokenizer.clone()));
                for seed in 0..5 {
                    let prompt = workload.next(seed, &Calibration::default());
                    let system_tokens = prompt
                        .system
                        .as_deref()
                        .map_or(0, |text| tokenizer.count(text));
                    let counted = system_tokens + tokenizer.count(&prompt.user);
                    let off = counted.abs_diff(tokens as usize);
                    assert!(
                        off <= tokens as usize / 100,
                        "{counted} instead of {tokens}, seed {seed}"
                    );
                    assert_eq!(prompt, workload.next(seed, &Calibration::default()));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_same_seed_and_calibration_give_the_same_prompt(
            seed: u64,
            tokens in 1_u32..2000,
            words in 1_usize..1000,
            reported in 0_u64..5000,
        ) {
            let (one, other) = (Calibration::default(), Calibration::default());
            one.observe(words, reported);
            other.observe(words, reported);
            let workload = workload(CachePolicy::Cold, None, tokens);
            prop_assert_eq!(workload.next(seed, &one), workload.next(seed, &other));
        }

        #[test]
        fn cold_prompts_differ_in_their_first_sixteen_bytes(one: u64, other: u64, with_system: bool) {
            prop_assume!(one != other);
            let workload = workload(CachePolicy::Cold, with_system.then_some("Be kind."), 64);
            let calibration = Calibration::default();
            let (one, other) = (workload.next(one, &calibration), workload.next(other, &calibration));
            prop_assert_ne!(first_bytes(&one), first_bytes(&other));
            prop_assert_ne!(one.user.rsplit('\n').nth(2), other.user.rsplit('\n').nth(2));
        }
    }
}
