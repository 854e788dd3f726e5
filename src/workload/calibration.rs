//! How many tokens a model makes of our words, learnt from what the runtime reports.
//!
//! A prompt of `w` words is reported as `overhead + ratio × w` tokens: the chat template and the nonce
//! make the overhead, the model's tokenizer the ratio. Both are estimated together by a Kalman
//! filter whose state is that pair: recursive least squares with a prior, so the first report is
//! already used to the full and a second one of another length tells the two apart.

use parking_lot::Mutex;

/// Tokens that BPE vocabularies of 32 k to 200 k entries make of an English word, its share of
/// punctuation included.
const FIRST_RATIO: f64 = 1.3;
/// Tokens of a plain chat template and a nonce.
const FIRST_OVERHEAD: f64 = 16.0;
/// Standard deviations of the two guesses above. Byte-level models make six tokens of a word;
/// templates with a built-in system message cost a hundred tokens.
const FIRST_RATIO_DEVIATION: f64 = 1.0;
const FIRST_OVERHEAD_DEVIATION: f64 = 40.0;

/// Relative scatter between texts of the same number of words.
const TEXT_DEVIATION: f64 = 0.01;
/// What the two numbers may move from one lesson to the next: enough to follow a model that is
/// replaced under its name, too little to follow the scatter of the texts.
const RATIO_DRIFT: f64 = 0.01;
const OVERHEAD_DRIFT: f64 = 1.0;

/// A report this close to what was expected teaches nothing, so lengths settle and a
/// warm prompt stays the same to the byte.
const SETTLED: f64 = 0.02;
const SETTLED_TOKENS: f64 = 2.0;

/// No tokenizer makes fewer tokens than this of a common English word. A runtime that
/// reports less has counted only what its prefix cache did not hold (Ollama before 0.5 and others).
const FEWEST_TOKENS_PER_WORD: f64 = 0.9;
/// Bytes of a word and some; a report beyond it, plus [`MOST_OVERHEAD`], is not of this prompt.
const MOST_TOKENS_PER_WORD: f64 = 12.0;
/// The longest built-in system message that a chat template may add.
const MOST_OVERHEAD: f64 = 4096.0;
/// One report cannot tell a large overhead from a large ratio, so what is expected of the second may
/// be far too high.
const LESSONS_BEFORE_DOUBT: u32 = 2;
/// Below this share of what was expected, a report is taken for a partly cached prompt.
const CACHED_BELOW: f64 = 0.75;
/// So many such reports in a row that agree are no cache but another model.
const AGREEING_REPORTS: u32 = 3;
/// They agree when their tokens per word lie this close together.
const AGREEMENT: f64 = 0.05;

/// Learns how many prompt tokens a model makes of our words.
///
/// A report is ignored when it cannot be the length of the whole prompt:
/// - fewer than 0.9 tokens a word, 0 included: cached, or not counted at all;
/// - more than 12 tokens a word and 4096 on top: another prompt's number;
/// - after the second lesson, less than three quarters of what was expected, unless three such
///   reports in a row agree within 5 %: then the model has changed and learning starts afresh.
///
/// A report within 2 % (or two tokens) of what was expected changes nothing.
#[derive(Debug, Default)]
pub struct Calibration {
    state: Mutex<State>,
}

impl Calibration {
    /// Learns from one run: that many words were sent, so many prompt tokens were reported.
    pub fn observe(&self, words: usize, reported_tokens: u64) {
        if words == 0 {
            return;
        }
        let words = words as f64;
        let tokens = reported_tokens as f64;
        let most = words * MOST_TOKENS_PER_WORD + MOST_OVERHEAD;
        if tokens < words * FEWEST_TOKENS_PER_WORD || tokens > most {
            return;
        }
        self.state.lock().observe(words, tokens);
    }

    /// How many words make a prompt of about that many tokens. At least one.
    pub fn words_for(&self, tokens: u32) -> usize {
        let state = self.state.lock();
        let words = (f64::from(tokens) - state.line.overhead) / state.line.ratio;
        // `as` saturates, and NaN cannot come up: the ratio is at least `FEWEST_TOKENS_PER_WORD / 2`.
        (words.round() as usize).max(1)
    }
}

#[derive(Debug, Default)]
struct State {
    line: Line,
    /// Reports that were believed.
    lessons: u32,
    doubted: Option<Doubted>,
}

/// Reports that looked cached.
#[derive(Clone, Copy, Debug)]
struct Doubted {
    tokens_per_word: f64,
    in_a_row: u32,
}

impl State {
    fn observe(&mut self, words: f64, tokens: f64) {
        let expected = self.line.tokens(words);
        if self.lessons >= LESSONS_BEFORE_DOUBT && tokens < expected * CACHED_BELOW {
            if !self.doubt(tokens / words) {
                return;
            }
            self.line = Line::default();
        }
        self.doubted = None;
        let error = (tokens - self.line.tokens(words)).abs();
        if self.lessons == 0 || error > (tokens * SETTLED).max(SETTLED_TOKENS) {
            self.line.learn(words, tokens);
        }
        self.lessons = self.lessons.saturating_add(1);
    }

    /// Notes a report that looks cached. True when enough of them agree to be believed.
    fn doubt(&mut self, tokens_per_word: f64) -> bool {
        let in_a_row = match self.doubted {
            Some(last) if (tokens_per_word / last.tokens_per_word - 1.0).abs() <= AGREEMENT => {
                last.in_a_row + 1
            }
            _ => 1,
        };
        self.doubted = Some(Doubted {
            tokens_per_word,
            in_a_row,
        });
        in_a_row >= AGREEING_REPORTS
    }
}

/// `tokens = overhead + ratio × words`, and how sure we are of it.
#[derive(Clone, Copy, Debug)]
struct Line {
    overhead: f64,
    ratio: f64,
    overhead_variance: f64,
    ratio_variance: f64,
    covariance: f64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            overhead: FIRST_OVERHEAD,
            ratio: FIRST_RATIO,
            overhead_variance: FIRST_OVERHEAD_DEVIATION * FIRST_OVERHEAD_DEVIATION,
            ratio_variance: FIRST_RATIO_DEVIATION * FIRST_RATIO_DEVIATION,
            covariance: 0.0,
        }
    }
}

impl Line {
    fn tokens(&self, words: f64) -> f64 {
        self.overhead + self.ratio * words
    }

    /// One step of the Kalman filter with the observation row `[1, words]`.
    fn learn(&mut self, words: f64, tokens: f64) {
        self.overhead_variance += OVERHEAD_DRIFT * OVERHEAD_DRIFT;
        self.ratio_variance += RATIO_DRIFT * RATIO_DRIFT;
        let noise = 1.0 + (tokens * TEXT_DEVIATION).powi(2);

        let of_overhead = self.overhead_variance + self.covariance * words;
        let of_ratio = self.covariance + self.ratio_variance * words;
        let spread = of_overhead + of_ratio * words + noise;
        let error = tokens - self.tokens(words);
        self.overhead += of_overhead / spread * error;
        self.ratio += of_ratio / spread * error;

        self.overhead_variance -= of_overhead * of_overhead / spread;
        self.ratio_variance -= of_ratio * of_ratio / spread;
        self.covariance -= of_overhead * of_ratio / spread;

        // Scatter may tilt the line beyond what can be; the length stays what it was.
        let length = self.tokens(words);
        self.overhead = self.overhead.clamp(0.0, MOST_OVERHEAD);
        self.ratio = ((length - self.overhead) / words)
            .clamp(FEWEST_TOKENS_PER_WORD / 2.0, MOST_TOKENS_PER_WORD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A model whose tokenizer follows the rule, with some scatter from text to text.
    struct Model {
        overhead: f64,
        ratio: f64,
        scatter: f64,
    }

    impl Model {
        fn report(&self, words: usize, run: u32) -> u64 {
            // ±scatter, of no particular order.
            let wave = (f64::from(run) * 2.399).sin() * self.scatter;
            (self.overhead + self.ratio * words as f64 * (1.0 + wave)).round() as u64
        }

        fn run(&self, calibration: &Calibration, wanted: u32, run: u32) -> f64 {
            let words = calibration.words_for(wanted);
            let reported = self.report(words, run);
            calibration.observe(words, reported);
            reported as f64 / f64::from(wanted) - 1.0
        }
    }

    #[test]
    fn the_first_guess_is_a_typical_model() {
        let words = Calibration::default().words_for(1316);
        assert_eq!(words, 1000);
    }

    #[test]
    fn a_cached_prompt_teaches_nothing() {
        let calibration = Calibration::default();
        for _ in 0..2 {
            calibration.observe(200, 300);
        }
        let words = calibration.words_for(256);
        for reported in [0, 1, 12, 170, 199, 190, 206] {
            calibration.observe(200, reported);
            assert_eq!(calibration.words_for(256), words, "{reported}");
        }
        calibration.observe(200, 1_000_000);
        assert_eq!(calibration.words_for(256), words);
    }

    #[test]
    fn another_model_under_the_same_name_is_learnt_afresh() {
        let calibration = Calibration::default();
        let bytes = Model {
            overhead: 20.0,
            ratio: 6.0,
            scatter: 0.01,
        };
        for run in 0..5 {
            bytes.run(&calibration, 1000, run);
        }
        let words = Model {
            overhead: 20.0,
            ratio: 1.2,
            scatter: 0.01,
        };
        for run in 0..5 {
            words.run(&calibration, 1000, run);
        }
        let off = words.run(&calibration, 1000, 6);
        assert!(off.abs() < 0.05, "{off}");
    }

    proptest! {
        #[test]
        fn from_the_third_run_on_lengths_are_within_five_percent(
            overhead in 0.0..60.0,
            ratio in 1.05..6.0,
            wanted in 128_u32..200_000,
        ) {
            let model = Model { overhead, ratio, scatter: 0.015 };
            let calibration = Calibration::default();
            for run in 0..20 {
                let off = model.run(&calibration, wanted, run);
                prop_assert!(run < 2 || off.abs() <= 0.05, "run {run}: {off}");
            }
        }

        #[test]
        fn scenarios_of_different_lengths_share_what_is_learnt(
            overhead in 0.0..150.0,
            ratio in 1.05..6.0,
        ) {
            let model = Model { overhead, ratio, scatter: 0.01 };
            let calibration = Calibration::default();
            for run in 0..30 {
                for (wanted, learnt_after) in [(4096, 2), (512, 2)] {
                    let off = model.run(&calibration, wanted, run);
                    prop_assert!(run < learnt_after || off.abs() <= 0.05, "run {run} of {wanted}: {off}");
                }
            }
        }

        #[test]
        fn a_warm_prompt_settles(overhead in 0.0..200.0, ratio in 1.05..6.0, wanted in 64_u32..200_000) {
            let model = Model { overhead, ratio, scatter: 0.0 };
            let calibration = Calibration::default();
            for run in 0..10 {
                model.run(&calibration, wanted, run);
            }
            let words = calibration.words_for(wanted);
            model.run(&calibration, wanted, 10);
            prop_assert_eq!(calibration.words_for(wanted), words);
        }
    }
}
