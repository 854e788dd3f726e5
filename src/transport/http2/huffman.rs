//! The Huffman code of HPACK (RFC 7541, appendix B). It is canonical, so the lengths of its codes are all
//! there is to know.

/// The symbol that ends a text, of which only the first bits ever stand there, as padding.
const END: usize = 256;
/// Bits of the longest code.
const LONGEST: usize = 30;

/// Bits of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; END + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
    6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
    7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
    22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
    23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
    27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
    24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The codes of one length. They follow each other.
#[derive(Clone, Copy)]
struct Group {
    /// The first of them.
    code: u32,
    /// How many there are.
    count: u32,
    /// How many codes are shorter.
    before: usize,
}

const GROUPS: [Group; LONGEST + 1] = groups();
const SYMBOLS: [u16; END + 1] = symbols();

#[expect(clippy::indexing_slicing, reason = "runs while compiling")]
const fn groups() -> [Group; LONGEST + 1] {
    let empty = Group {
        code: 0,
        count: 0,
        before: 0,
    };
    let mut groups = [empty; LONGEST + 1];
    let mut symbol = 0;
    while symbol <= END {
        groups[LENGTHS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let mut length = 1;
    while length <= LONGEST {
        let shorter = groups[length - 1];
        groups[length].code = (shorter.code + shorter.count) << 1;
        groups[length].before = shorter.before + shorter.count as usize;
        length += 1;
    }
    groups
}

/// All symbols in the order of their codes.
#[expect(clippy::indexing_slicing, reason = "runs while compiling")]
const fn symbols() -> [u16; END + 1] {
    let groups = groups();
    let mut taken = [0; LONGEST + 1];
    let mut symbols = [0; END + 1];
    let mut symbol = 0;
    while symbol <= END {
        let length = LENGTHS[symbol] as usize;
        symbols[groups[length].before + taken[length]] = symbol as u16;
        taken[length] += 1;
        symbol += 1;
    }
    symbols
}

/// The text of which these are the codes; `None` where they are none.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // No code is shorter than five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0_usize);
    for byte in coded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let group = GROUPS.get(length)?;
            let Some(at) = code.checked_sub(group.code).filter(|at| *at < group.count) else {
                continue;
            };
            let symbol = SYMBOLS.get(group.before + at as usize)?;
            // The end itself must not stand there.
            text.push(u8::try_from(*symbol).ok()?);
            (code, length) = (0, 0);
        }
    }
    let padding = length < 8 && code + 1 == 1 << length;
    padding.then_some(text)
}
