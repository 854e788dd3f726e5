use super::*;
use proptest::prelude::*;

const EVERY: [Framing; 5] = [
    Framing::Sse,
    Framing::Ndjson,
    Framing::EventStream,
    Framing::PayloadParts,
    Framing::WholeBody,
];

/// A frame that outlives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) kind: FrameKind,
    pub(super) event: Option<Vec<u8>>,
    pub(super) data: Vec<u8>,
    pub(super) end: u64,
}

/// All frames before the first error, and whether there was one. The limit is 4096 bytes.
pub(super) fn decode_some(
    framing: Framing,
    parts: &[&[u8]],
) -> (Vec<Owned>, Result<(), DecodeError>) {
    let mut decoder = framing.decoder(4096);
    let mut frames = Vec::new();
    let mut keep = |frame: Frame<'_>| {
        frames.push(Owned {
            kind: frame.kind,
            event: frame.event.map(<[u8]>::to_vec),
            data: frame.data.to_vec(),
            end: frame.end,
        });
    };
    let fed = parts
        .iter()
        .try_for_each(|part| decoder.feed(part, &mut keep));
    let ended = fed.and_then(|()| decoder.finish(&mut keep));
    (frames, ended)
}

pub(super) fn decode(framing: Framing, parts: &[&[u8]]) -> Result<Vec<Owned>, DecodeError> {
    let (frames, ended) = decode_some(framing, parts);
    ended.map(|()| frames)
}

pub(super) fn texts(frames: &[Owned]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| String::from_utf8_lossy(&frame.data).into_owned())
        .collect()
}

/// Cuts `bytes` at the places given, which may be any numbers.
pub(super) fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

#[test]
fn a_last_json_line_needs_no_line_end() {
    let frames = decode(Framing::Ndjson, &[b"{\"a\":1}\r\n\n{\"b\":2}"]).unwrap();
    assert_eq!(texts(&frames), ["{\"a\":1}", "{\"b\":2}"]);
    assert_eq!(frames.iter().map(|f| f.end).collect::<Vec<_>>(), [9, 17]);
}

#[test]
fn a_line_beyond_the_limit_is_an_error_and_not_memory() {
    for framing in [Framing::Sse, Framing::Ndjson, Framing::WholeBody] {
        let long = vec![b'x'; 5000];
        let error = decode(framing, &[&long]).unwrap_err();
        assert_eq!(error, DecodeError::Oversized { limit: 4096 });
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        text in "(data: [a-zé\r\n]{0,6}|event: x|: ping|\r\n|\n|\r|\n\n|\\{\\}){0,30}",
        cuts in proptest::collection::vec(0usize..10_000, 0..12),
    ) {
        for framing in EVERY {
            let whole = decode(framing, &[text.as_bytes()]);
            let parts = split(text.as_bytes(), &cuts);
            prop_assert_eq!(&decode(framing, &parts), &whole);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for framing in EVERY {
            let _ = decode(framing, &[&bytes]);
        }
    }
}
