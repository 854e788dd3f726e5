//! Answers of vectors and ranks, fed to the answer reader in every way a network may cut them.

use super::*;
use crate::measure::delta::ServerTimings;
use crate::measure::tokens::TokenSource;
use crate::probe::settings::{Assertion, Limits};
use crate::runtime::find;
use crate::transport::Chunk;
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::Instant;

const EMBEDDINGS: Retrieval = Retrieval::Embeddings;
const RERANK: Retrieval = Retrieval::Rerank;

fn transcript(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/transcripts")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The verdict on an answer to a request with two texts, the tokens that were read and who counted them.
type Judged = (Result<(), Failed>, Counted);

type Counted = Option<(u64, TokenSource)>;

fn judge<'a>(
    runtime: &str,
    kind: Retrieval,
    dimensions: Option<u32>,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Judged {
    let retriever = find(runtime).unwrap().retriever(kind).unwrap();
    let settings = RetrievalSettings {
        kind,
        inputs: 2,
        dimensions,
    };
    let answer = Answer::new(Reading {
        decoder: Framing::WholeBody.decoder(1 << 20),
        interpreter: reader(retriever, 2),
        limits: Limits::default(),
        server: ServerTimings::default(),
        keep_text: false,
        native_counts: retriever.counts_natively(),
    });
    let expected = Expected { settings, count: 2 };
    let mut answer = answer.expecting(expected, None);
    let seen = Instant::now();
    let (mut end, mut fed) = (0, Ok(()));
    for part in parts {
        end += part.len() as u64;
        fed = fed.and_then(|()| answer.feed(Chunk::example(part, end, seen)));
    }
    let ended = fed.and_then(|()| answer.end(seen));
    let said = answer.said();
    let verdict = ended.and_then(|()| said.verdict(end, &Assertion::default(), None));
    let tokens = said.tokens(None);
    let read = tokens.and_then(|tokens| Some((tokens.usage.input?, tokens.source)));
    (verdict, read)
}

/// Complete answers, and how many tokens were read by whose count.
const GOOD: [(&str, &str, Retrieval, Counted); 10] = [
    (
        "written-openai-embeddings.json",
        "openai",
        EMBEDDINGS,
        Some((11, TokenSource::Usage)),
    ),
    (
        "written-openai-embeddings-base64.json",
        "vllm",
        EMBEDDINGS,
        Some((11, TokenSource::Usage)),
    ),
    (
        "written-ollama-embed.json",
        "ollama",
        EMBEDDINGS,
        Some((11, TokenSource::Runtime)),
    ),
    ("written-tei-embed.json", "tei", EMBEDDINGS, None),
    (
        "written-gemini-embed.json",
        "gemini",
        EMBEDDINGS,
        Some((11, TokenSource::Usage)),
    ),
    (
        "written-gemini-embed-uncounted.json",
        "gemini",
        EMBEDDINGS,
        None,
    ),
    (
        "written-rerank.json",
        "vllm",
        RERANK,
        Some((23, TokenSource::Usage)),
    ),
    (
        "written-rerank-total-only.json",
        "llamacpp",
        RERANK,
        Some((23, TokenSource::Usage)),
    ),
    ("written-rerank-bare.json", "sglang", RERANK, None),
    ("written-tei-rerank.json", "tei", RERANK, None),
];

#[test]
fn a_complete_answer_is_a_success_with_its_tokens() {
    for (name, runtime, kind, tokens) in GOOD {
        let bytes = transcript(name);
        let judged = judge(runtime, kind, None, [bytes.as_slice()]);
        assert_eq!(judged, (Ok(()), tokens), "{name}");
    }
}

#[test]
fn what_is_wrong_with_an_answer_is_told() {
    use Outcome::{Empty, InBandError, Malformed};
    for (name, runtime, kind, outcome, words) in [
        (
            "written-openai-embeddings-fewer.json",
            "openai",
            EMBEDDINGS,
            Malformed,
            "1 vectors, 2 were asked for",
        ),
        (
            "written-openai-embeddings-zero.json",
            "openai",
            EMBEDDINGS,
            Empty,
            "vector 1 is nothing but zeros",
        ),
        (
            "written-openai-embeddings-nan.json",
            "vllm",
            EMBEDDINGS,
            Malformed,
            "not the expected JSON",
        ),
        (
            "written-openai-embeddings-null.json",
            "llamacpp",
            EMBEDDINGS,
            Malformed,
            "vector 1 has a number that is not finite",
        ),
        (
            "written-openai-embeddings-uneven.json",
            "openai",
            EMBEDDINGS,
            Malformed,
            "vector 1 has 3 dimensions",
        ),
        (
            "written-llamacpp-embeddings-unpooled.json",
            "llamacpp",
            EMBEDDINGS,
            Malformed,
            "the server does not pool",
        ),
        (
            "written-openai-embeddings-twice.json",
            "openai",
            EMBEDDINGS,
            Malformed,
            "index 0 is there twice",
        ),
        (
            "written-openai-embeddings-error.json",
            "openai",
            EMBEDDINGS,
            InBandError,
            "the encoder died",
        ),
        (
            "written-tei-embed-zero.json",
            "tei",
            EMBEDDINGS,
            Empty,
            "vector 0 is nothing but zeros",
        ),
        (
            "written-tei-error.json",
            "tei",
            EMBEDDINGS,
            InBandError,
            "the backend died",
        ),
        (
            "written-tei-error.json",
            "tei",
            RERANK,
            InBandError,
            "the backend died",
        ),
        (
            "written-gemini-embed-error.json",
            "gemini",
            EMBEDDINGS,
            InBandError,
            "INTERNAL: An internal error",
        ),
        (
            "written-rerank-fewer.json",
            "vllm",
            RERANK,
            Malformed,
            "1 ranks, 2 were asked for",
        ),
        (
            "written-rerank-twice.json",
            "vllm",
            RERANK,
            Malformed,
            "index 1 is there twice",
        ),
        (
            "written-rerank-beyond.json",
            "vllm",
            RERANK,
            Malformed,
            "index 2 is none of 2",
        ),
        (
            "written-rerank-null.json",
            "vllm",
            RERANK,
            Malformed,
            "document 0 has no finite score",
        ),
    ] {
        let bytes = transcript(name);
        let failed = judge(runtime, kind, None, bytes.chunks(7)).0.unwrap_err();
        assert_eq!(failed.outcome, outcome, "{name}: {}", failed.message);
        assert!(failed.message.contains(words), "{name}: {}", failed.message);
    }
}

#[test]
fn an_answer_that_holds_nothing_is_empty() {
    for (body, runtime, kind) in [
        (r#"{"data":[],"model":"m"}"#, "openai", EMBEDDINGS),
        ("[]", "tei", EMBEDDINGS),
        (r#"{"results":[]}"#, "vllm", RERANK),
    ] {
        let failed = judge(runtime, kind, None, [body.as_bytes()]).0.unwrap_err();
        assert_eq!(failed.outcome, Outcome::Empty, "{body}");
    }
    let failed = judge("tei", EMBEDDINGS, None, []).0.unwrap_err();
    assert_eq!(failed.outcome, Outcome::Truncated);
}

#[test]
fn vectors_must_have_the_dimensions_that_are_wanted() {
    let bytes = transcript("written-openai-embeddings.json");
    let judged = |wanted| judge("openai", EMBEDDINGS, Some(wanted), [bytes.as_slice()]).0;
    assert_eq!(judged(4), Ok(()));
    let failed = judged(768).unwrap_err();
    assert_eq!(failed.outcome, Outcome::Assertion);
    assert_eq!(
        failed.message,
        "the vectors have 4 dimensions, 768 were wanted"
    );
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    for (name, runtime, words) in [
        (
            "written-openai-embeddings-too-long.400.json",
            "vllm",
            "This model takes 512 tokens",
        ),
        (
            "written-openai-embeddings-unknown-model.404.json",
            "vllm",
            "The model `lamp` does not exist.",
        ),
        (
            "written-openai-rate-limit.429.json",
            "openai",
            "Too many tokens per minute.",
        ),
        (
            "written-ollama-embed-too-long.400.json",
            "ollama",
            "the input length exceeds",
        ),
        (
            "written-tei-too-long.413.json",
            "tei",
            "Input validation error",
        ),
        (
            "written-tei-overloaded.429.json",
            "tei",
            "Model is overloaded",
        ),
    ] {
        let adapter = find(runtime).unwrap().adapter;
        let said = adapter.error_message(&transcript(name)).unwrap();
        assert!(said.starts_with(words), "{name}: {said}");
    }
}

#[test]
fn cut_anywhere_before_its_end_an_answer_is_no_success() {
    for (name, runtime, kind, _) in GOOD {
        let bytes = transcript(name);
        for cut in 0..bytes.trim_ascii_end().len() {
            let failed = judge(runtime, kind, None, [&bytes[..cut]]).0.unwrap_err();
            let expected = [Outcome::Truncated, Outcome::Malformed];
            assert!(expected.contains(&failed.outcome), "{name} cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_verdict(index in 0..GOOD.len(), size in 1usize..200) {
        let (name, runtime, kind, _) = GOOD[index];
        let bytes = transcript(name);
        let whole = judge(runtime, kind, None, [bytes.as_slice()]);
        prop_assert_eq!(judge(runtime, kind, None, bytes.chunks(size)), whole);
    }

    #[test]
    fn damage_never_panics(
        index in 0..GOOD.len(),
        damage in proptest::collection::vec((0usize..100_000, any::<u8>()), 1..20),
    ) {
        let (name, runtime, kind, _) = GOOD[index];
        let mut bytes = transcript(name);
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = judge(runtime, kind, None, [bytes.as_slice()]);
    }
}
