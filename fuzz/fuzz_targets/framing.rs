//! What every decoder of a body must hold to, whatever the bytes.

use sonde::wire::{DecodeError, Framing};

/// Small, so that the fuzzer finds what lies behind it.
const LIMIT: usize = 4096;

/// One frame, owned: its event, its data and its end.
type Seen = (Option<Vec<u8>>, Vec<u8>, u64);

fn decode<'a>(
    framing: Framing,
    parts: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Result<(), DecodeError>) {
    let mut decoder = framing.decoder(LIMIT);
    let mut frames: Vec<Seen> = Vec::new();
    let mut fed = 0;
    for part in parts {
        fed += part.len() as u64;
        let result = decoder.feed(part, &mut |frame| {
            let last = frames.last().map_or(0, |(.., end)| *end);
            assert!(
                last <= frame.end && frame.end <= fed,
                "a frame ends where no byte has come"
            );
            frames.push((
                frame.event.map(<[u8]>::to_vec),
                frame.data.to_vec(),
                frame.end,
            ));
        });
        if result.is_err() {
            return (frames, result);
        }
    }
    let result = decoder.finish(&mut |frame| {
        frames.push((
            frame.event.map(<[u8]>::to_vec),
            frame.data.to_vec(),
            frame.end,
        ));
    });
    (frames, result)
}

/// The first byte says how the rest is cut; the frames must not depend on it.
pub fn check(framing: Framing, input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else {
        return;
    };
    let whole = decode(framing, std::iter::once(bytes));
    let cut = decode(framing, bytes.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, cut, "the frames depend on how the bytes are cut");
}
