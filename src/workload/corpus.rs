//! Seeded English-looking text: common words in simple sentences, so that a tokenizer and a model
//! treat it as they treat prose. Random letters would cost several times the tokens of a word.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const DETERMINERS: &[&str] = &[
    "the", "a", "this", "that", "every", "our", "their", "his", "her", "my", "your", "another",
    "one", "each", "some",
];

const ADJECTIVES: &[&str] = &[
    "old", "new", "small", "large", "quiet", "bright", "dark", "warm", "cold", "green", "blue",
    "red", "white", "long", "short", "heavy", "light", "early", "late", "young", "simple",
    "strange", "gentle", "narrow", "wide", "deep", "distant", "clear", "empty", "full", "busy",
    "slow", "quick", "round", "broken", "careful", "famous", "golden", "hidden", "honest",
    "hungry", "lonely", "modern", "patient", "perfect", "plain", "proud", "rich", "rough", "sharp",
    "silent", "silver", "soft", "steady", "tall", "tired", "useful", "wild", "wise", "wooden",
];

const NOUNS: &[&str] = &[
    "river",
    "mountain",
    "city",
    "village",
    "road",
    "bridge",
    "garden",
    "house",
    "window",
    "door",
    "table",
    "letter",
    "book",
    "story",
    "song",
    "picture",
    "machine",
    "engine",
    "ship",
    "train",
    "station",
    "harbour",
    "island",
    "forest",
    "tree",
    "field",
    "farmer",
    "teacher",
    "doctor",
    "captain",
    "child",
    "mother",
    "father",
    "brother",
    "sister",
    "friend",
    "stranger",
    "neighbour",
    "king",
    "queen",
    "soldier",
    "writer",
    "painter",
    "baker",
    "market",
    "shop",
    "school",
    "office",
    "kitchen",
    "library",
    "museum",
    "hospital",
    "church",
    "castle",
    "tower",
    "wall",
    "roof",
    "lamp",
    "fire",
    "water",
    "rain",
    "snow",
    "wind",
    "storm",
    "cloud",
    "sun",
    "moon",
    "star",
    "sky",
    "sea",
    "beach",
    "stone",
    "sand",
    "glass",
    "paper",
    "wood",
    "iron",
    "gold",
    "bread",
    "apple",
    "dinner",
    "morning",
    "evening",
    "night",
    "summer",
    "winter",
    "year",
    "week",
    "hour",
    "moment",
    "journey",
    "map",
    "plan",
    "question",
    "answer",
    "idea",
    "problem",
    "reason",
    "dream",
    "memory",
    "voice",
    "sound",
    "word",
    "name",
    "number",
    "game",
    "dog",
    "cat",
    "horse",
    "bird",
    "fish",
    "clock",
    "key",
    "box",
    "coat",
    "boat",
    "wheel",
    "field",
    "hill",
    "lake",
    "path",
    "corner",
];

const VERBS: &[&str] = &[
    "found",
    "watched",
    "followed",
    "carried",
    "opened",
    "closed",
    "crossed",
    "reached",
    "left",
    "built",
    "painted",
    "remembered",
    "described",
    "visited",
    "loved",
    "feared",
    "needed",
    "wanted",
    "kept",
    "lost",
    "sold",
    "bought",
    "studied",
    "measured",
    "changed",
    "repaired",
    "covered",
    "filled",
    "called",
    "heard",
    "saw",
    "met",
    "helped",
    "answered",
    "touched",
    "passed",
    "held",
    "moved",
    "brought",
    "noticed",
    "guarded",
    "shared",
    "counted",
    "cleaned",
    "drew",
    "hid",
    "joined",
    "lifted",
    "praised",
    "served",
];

const PREPOSITIONS: &[&str] = &[
    "in", "on", "near", "behind", "under", "above", "beside", "across", "through", "around",
    "beyond", "towards", "inside", "outside", "after", "before", "without", "against", "along",
    "past",
];

const ADVERBS: &[&str] = &[
    "slowly",
    "quickly",
    "quietly",
    "again",
    "often",
    "never",
    "always",
    "soon",
    "later",
    "together",
    "alone",
    "carefully",
    "gladly",
    "suddenly",
    "almost",
    "nearly",
    "finally",
    "rarely",
    "still",
    "once",
];

const CONJUNCTIONS: &[&str] = &[
    "and", "but", "because", "while", "so", "until", "although", "when",
];

/// The text of this seed, cut off after that many words. A longer text of the same seed begins with
/// the words of every shorter one.
pub(super) fn text(seed: u64, words: usize) -> String {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    // Six letters and a space is a little more than the average word here.
    let mut out = String::with_capacity(words.saturating_mul(7));
    let mut left = words;
    while left > 0 {
        let sentence = sentence(&mut rng);
        write_sentence(&mut out, &sentence, left);
        left = left.saturating_sub(sentence.len());
    }
    out
}

/// Appends at most `limit` words as a sentence of their own.
fn write_sentence(out: &mut String, words: &[&str], limit: usize) {
    for (position, word) in words.iter().take(limit).enumerate() {
        if !out.is_empty() {
            out.push(' ');
        }
        if position > 0 {
            out.push_str(word);
            continue;
        }
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out.push('.');
}

/// Five to some twenty words.
fn sentence(rng: &mut Pcg64Mcg) -> Vec<&'static str> {
    let mut words = Vec::with_capacity(24);
    clause(rng, &mut words);
    if rng.random_bool(0.4) {
        push(rng, CONJUNCTIONS, &mut words);
        clause(rng, &mut words);
    }
    words
}

fn clause(rng: &mut Pcg64Mcg, words: &mut Vec<&'static str>) {
    noun_phrase(rng, words);
    if rng.random_bool(0.2) {
        push(rng, ADVERBS, words);
    }
    push(rng, VERBS, words);
    noun_phrase(rng, words);
    if rng.random_bool(0.5) {
        push(rng, PREPOSITIONS, words);
        noun_phrase(rng, words);
    }
}

fn noun_phrase(rng: &mut Pcg64Mcg, words: &mut Vec<&'static str>) {
    push(rng, DETERMINERS, words);
    if rng.random_bool(0.45) {
        push(rng, ADJECTIVES, words);
    }
    push(rng, NOUNS, words);
}

fn push(rng: &mut Pcg64Mcg, from: &[&'static str], words: &mut Vec<&'static str>) {
    words.extend(from.choose(rng));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_reads_like_sentences() {
        let text = text(7, 60);
        assert!(text.ends_with('.'), "{text}");
        for sentence in text.split(". ") {
            assert!(
                sentence.starts_with(|c: char| c.is_ascii_uppercase()),
                "{sentence}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_text_has_exactly_the_words_asked_for(seed: u64, words in 0_usize..2000) {
            prop_assert_eq!(text(seed, words).split_whitespace().count(), words);
        }

        #[test]
        fn a_longer_text_begins_with_the_shorter_one(seed: u64, words in 1_usize..300, more in 0_usize..300) {
            let short = text(seed, words);
            let long = text(seed, words + more);
            prop_assert!(long.starts_with(short.trim_end_matches('.')));
        }
    }
}
