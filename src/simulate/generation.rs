//! One answer, drawn in full before its first byte is sent: texts, lengths and deadlines.

use std::time::Duration;

use jiff::Timestamp;
use rand_pcg::Pcg32;

use super::character::Character;
use super::fault::Fault;
use super::vocabulary::word;

/// Streams of random numbers that do not disturb each other: a different text draw leaves timing alone.
const TIMING_STREAM: u64 = 1;
const TEXT_STREAM: u64 = 2;
const LENGTH_STREAM: u64 = 3;
pub(super) const FAULT_STREAM: u64 = 4;

/// The generator of request `number` for one purpose.
pub(super) fn random(seed: u64, number: u64, stream: u64) -> Pcg32 {
    // The golden ratio spreads neighbouring numbers over the whole state.
    Pcg32::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), stream)
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ContentFilter,
    /// Ollama: the request only loaded the model.
    Load,
    /// Ollama: the request only unloaded the model.
    Unload,
}

impl Finish {
    /// The name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Load => "load",
            Self::Unload => "unload",
        }
    }
}

/// One frame that carries tokens.
#[derive(Clone, Debug)]
pub(super) struct TokenFrame {
    pub(super) text: String,
    pub(super) tokens: u32,
    pub(super) reasoning: bool,
    /// Due time after the request was received.
    pub(super) at: Duration,
}

/// What a request asks for, as far as lengths are concerned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// Most answer tokens.
    pub(super) limit: Option<u32>,
    /// Go on to the limit, whatever the model would do.
    pub(super) ignore_stop: bool,
    /// Leave out the reasoning.
    pub(super) no_reasoning: bool,
    /// Ollama's empty prompt: generate nothing and end like this.
    pub(super) only: Option<Finish>,
    /// Read the prompt and write no token: one frame without any, when it is read.
    pub(super) reads_only: bool,
}

/// What the engine knows when it begins to work on a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) number: u64,
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: u32,
    /// Wait for a slot.
    pub(super) queue: Duration,
    /// Wait for the model after that.
    pub(super) load: Duration,
    pub(super) fault: Option<Fault>,
}

/// A complete answer with its timing.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) id: u64,
    pub(super) model: String,
    pub(super) created: Timestamp,
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: u32,
    pub(super) frames: Vec<TokenFrame>,
    pub(super) finish: Option<Finish>,
    pub(super) queue: Duration,
    pub(super) load: Duration,
    pub(super) prefill: Duration,
}

impl Generation {
    /// Draws an answer: the same character, request number and circumstances give the same one.
    pub(super) fn draw(
        character: &Character,
        model: &str,
        created: Timestamp,
        wanted: Wanted,
        circumstances: Circumstances,
    ) -> Self {
        let mut timing = random(character.seed, circumstances.number, TIMING_STREAM);
        let lengths = Lengths::draw(character, wanted, circumstances);
        let prefill = if wanted.only.is_some() {
            Duration::ZERO
        } else {
            let uncached = circumstances
                .prompt_tokens
                .saturating_sub(circumstances.cached_tokens);
            character.ttft.sample(&mut timing)
                + character.prefill_per_token.saturating_mul(uncached)
        };
        let mut answer = Self {
            id: character.seed.rotate_left(32) ^ circumstances.number,
            model: model.to_owned(),
            created,
            prompt_tokens: circumstances.prompt_tokens,
            cached_tokens: circumstances.cached_tokens,
            frames: Vec::new(),
            finish: lengths.finish,
            queue: circumstances.queue,
            load: circumstances.load,
            prefill,
        };
        answer.draw_frames(character, &lengths, circumstances, &mut timing);
        answer
    }

    fn draw_frames(
        &mut self,
        character: &Character,
        lengths: &Lengths,
        circumstances: Circumstances,
        timing: &mut Pcg32,
    ) {
        let mut text = random(character.seed, circumstances.number, TEXT_STREAM);
        let mut at = self.start_of_decode();
        let mut left = lengths.total;
        if lengths.reads_only {
            self.frames.push(TokenFrame {
                text: String::new(),
                tokens: 0,
                reasoning: false,
                at,
            });
        }
        let mut reasoning_left = lengths.reasoning;
        while left > 0 {
            let reasoning = reasoning_left > 0;
            let first = self.frames.is_empty();
            if !first {
                at += character.itl.sample(timing);
            }
            let size = match circumstances.fault {
                Some(Fault::Burst) => character.fault_tuning.burst,
                _ if first => 1,
                _ => character.tokens_per_frame.sample(timing),
            };
            let tokens = size.clamp(1, if reasoning { reasoning_left } else { left });
            self.frames.push(TokenFrame {
                text: (0..tokens).map(|_| word(&mut text)).collect(),
                tokens,
                reasoning,
                at,
            });
            left -= tokens;
            reasoning_left = reasoning_left.saturating_sub(tokens);
        }
    }

    /// Due time of the first token, after the request was received.
    pub(super) fn start_of_decode(&self) -> Duration {
        self.queue + self.load + self.prefill
    }

    /// Due time of the end, after the request was received.
    pub(super) fn end(&self) -> Duration {
        self.frames
            .last()
            .map_or(self.start_of_decode(), |frame| frame.at)
    }

    /// From the first to the last token.
    pub(super) fn decode(&self) -> Duration {
        self.end().saturating_sub(self.start_of_decode())
    }

    /// All answer tokens, reasoning included.
    pub(super) fn output_tokens(&self) -> u32 {
        self.frames.iter().map(|frame| frame.tokens).sum()
    }

    /// Hidden tokens.
    pub(super) fn reasoning_tokens(&self) -> u32 {
        let hidden = self.frames.iter().filter(|frame| frame.reasoning);
        hidden.map(|frame| frame.tokens).sum()
    }

    /// The whole visible text, or the whole reasoning.
    pub(super) fn text(&self, reasoning: bool) -> String {
        let wanted = self
            .frames
            .iter()
            .filter(|frame| frame.reasoning == reasoning);
        wanted.map(|frame| frame.text.as_str()).collect()
    }
}

/// How many tokens an answer has and why it ends there.
#[derive(Debug)]
struct Lengths {
    total: u32,
    reasoning: u32,
    finish: Option<Finish>,
    reads_only: bool,
}

impl Lengths {
    fn draw(character: &Character, wanted: Wanted, circumstances: Circumstances) -> Self {
        let Wanted {
            limit,
            ignore_stop,
            no_reasoning,
            only,
            reads_only,
        } = wanted;
        let empty = circumstances.fault == Some(Fault::Empty);
        if only.is_some() || reads_only || empty {
            return Self {
                total: 0,
                reasoning: 0,
                finish: Some(only.unwrap_or(Finish::Stop)),
                reads_only: reads_only && !empty,
            };
        }
        let mut random = random(character.seed, circumstances.number, LENGTH_STREAM);
        let reasoning = if no_reasoning {
            0
        } else {
            character.reasoning_tokens
        };
        let natural = character
            .output_tokens
            .sample(&mut random)
            .max(reasoning.saturating_add(1));
        let room = character
            .context_tokens
            .saturating_sub(circumstances.prompt_tokens)
            .max(1);
        let most = limit.unwrap_or(room).min(room);
        let stops_by_itself = natural <= most && !(ignore_stop && limit.is_some());
        let mut lengths = Self {
            total: if stops_by_itself { natural } else { most },
            reasoning: reasoning.min(most),
            finish: Some(if stops_by_itself {
                Finish::Stop
            } else {
                Finish::Length
            }),
            reads_only: false,
        };
        match circumstances.fault {
            Some(Fault::ReasoningOnly) => {
                lengths.reasoning = lengths.total;
                lengths.finish = Some(Finish::Length);
            }
            Some(Fault::ContentFilter) => {
                lengths.total = lengths
                    .total
                    .min(character.fault_tuning.after_tokens.max(1));
                lengths.reasoning = lengths.reasoning.min(lengths.total);
                lengths.finish = Some(Finish::ContentFilter);
            }
            Some(Fault::NoFinish) => lengths.finish = None,
            _ => {}
        }
        lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::distribution::Distribution;

    const MS: Duration = Duration::from_millis(1);

    fn circumstances() -> Circumstances {
        Circumstances {
            number: 0,
            prompt_tokens: 100,
            cached_tokens: 0,
            queue: Duration::ZERO,
            load: Duration::ZERO,
            fault: None,
        }
    }

    fn draw(character: &Character, wanted: Wanted, circumstances: Circumstances) -> Generation {
        Generation::draw(character, "m", Timestamp::UNIX_EPOCH, wanted, circumstances)
    }

    #[test]
    fn deadlines_add_up_queue_load_prefill_and_gaps() {
        let character = Character {
            prefill_per_token: MS,
            ..Character::default()
        };
        let busy = Circumstances {
            cached_tokens: 40,
            queue: 7 * MS,
            load: 500 * MS,
            ..circumstances()
        };
        let answer = draw(&character, Wanted::default(), busy);
        let due: Vec<u128> = answer
            .frames
            .iter()
            .map(|frame| frame.at.as_millis())
            .collect();
        assert_eq!(due[..3], [617, 627, 637]);
        assert_eq!(due.len(), 32);
        assert_eq!(answer.decode(), 310 * MS);
        assert_eq!(answer.finish, Some(Finish::Stop));
    }

    #[test]
    fn a_limit_cuts_and_ignoring_the_stop_goes_on_to_it() {
        let character = Character::default();
        let cut = Wanted {
            limit: Some(5),
            ..Wanted::default()
        };
        let answer = draw(&character, cut, circumstances());
        assert_eq!(
            (answer.output_tokens(), answer.finish),
            (5, Some(Finish::Length))
        );
        let longer = Wanted {
            limit: Some(50),
            ignore_stop: true,
            ..Wanted::default()
        };
        let answer = draw(&character, longer, circumstances());
        assert_eq!(
            (answer.output_tokens(), answer.finish),
            (50, Some(Finish::Length))
        );
    }

    #[test]
    fn reasoning_comes_first_and_counts_against_the_limit() {
        let character = Character {
            reasoning_tokens: 4,
            ..Character::default()
        };
        let answer = draw(&character, Wanted::default(), circumstances());
        let kinds: Vec<bool> = answer.frames.iter().map(|frame| frame.reasoning).collect();
        assert_eq!(kinds[..6], [true, true, true, true, false, false]);
        let tight = Wanted {
            limit: Some(3),
            ..Wanted::default()
        };
        let answer = draw(&character, tight, circumstances());
        assert_eq!(
            (answer.reasoning_tokens(), answer.text(false)),
            (3, String::new())
        );
        let without = Wanted {
            no_reasoning: true,
            ..Wanted::default()
        };
        assert_eq!(
            draw(&character, without, circumstances()).reasoning_tokens(),
            0
        );
    }

    #[test]
    fn frames_of_several_tokens_never_mix_reasoning_and_text() {
        let character = Character {
            reasoning_tokens: 5,
            tokens_per_frame: Distribution::Constant(3),
            ..Character::default()
        };
        let answer = draw(&character, Wanted::default(), circumstances());
        let sizes: Vec<u32> = answer.frames.iter().map(|frame| frame.tokens).collect();
        assert_eq!(sizes[..5], [1, 3, 1, 3, 3]);
        assert_eq!(answer.reasoning_tokens(), 5);
        assert_eq!(answer.output_tokens(), 32);
    }

    #[test]
    fn equal_seeds_and_numbers_give_equal_answers() {
        let character = Character::preset("bursty-llamacpp").unwrap();
        let text = |number| {
            draw(
                &character,
                Wanted::default(),
                Circumstances {
                    number,
                    ..circumstances()
                },
            )
            .text(false)
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }
}
