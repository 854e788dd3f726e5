//! Layer 6: observations for people.

mod text;

pub use text::timeline;
