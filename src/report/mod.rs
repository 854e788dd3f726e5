//! Layer 6: observations for people.

mod text;
mod verdict;

pub use text::timeline;
pub use verdict::verdict;
