//! A door for the fuzz targets to what is private here.

use super::judged::judged;
use crate::runtime::{Operation, RUNTIMES};

/// Reads an answer: its first bytes say of which runtime, to what, and how it is cut. It must be judged the same
/// in one piece.
pub fn answer(input: &[u8]) {
    let [runtime, asked, size, bytes @ ..] = input else {
        return;
    };
    let Some(runtime) = RUNTIMES.get(usize::from(*runtime) % RUNTIMES.len()) else {
        return;
    };
    let operation = match asked & 2 {
        0 => Operation::Chat,
        _ => Operation::Completion,
    };
    let read = |parts| judged(runtime, operation, asked & 1 == 0, parts);
    let whole = read(bytes.chunks(bytes.len().max(1)));
    let cut = read(bytes.chunks(usize::from(*size).max(1)));
    assert_eq!(whole, cut, "the answer depends on how its bytes are cut");
}
