//! What makes a prompt unlike every other from its first token on, so that no prefix cache holds it.

use super::Prompt;
use std::sync::Arc;

/// Odd, so that multiplying by it maps seeds one to one; the golden ratio, so that the first digits of
/// neighbouring seeds differ already.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed of one text among those of a run: no two of them, and none of two runs, are alike but by chance.
pub(super) fn of_text(seed: u64, index: u32) -> u64 {
    seed ^ (u64::from(index) + 1).wrapping_mul(0xd1b5_4a32_d192_ed03)
}

/// Puts the seed's nonce, 16 hexadecimal digits, in front of what the model reads first.
pub(super) fn put_in_front(prompt: Prompt, seed: u64) -> Prompt {
    let nonce = seed.wrapping_mul(MULTIPLIER);
    match prompt.system {
        Some(system) => Prompt {
            system: Some(Arc::from(format!("{nonce:016x}\n{system}"))),
            ..prompt
        },
        None => Prompt {
            user: format!("{nonce:016x}\n{}", prompt.user),
            ..prompt
        },
    }
}
