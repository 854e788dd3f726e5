//! What an answer of vectors or ranks holds.

/// Vectors or ranked documents of one answer. They are counted and looked at, not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// How many there are.
    pub count: usize,
    /// Numbers of each vector; absent for ranks.
    pub dimensions: Option<usize>,
    /// The first vector that is nothing but zeros, from 0.
    pub zero: Option<usize>,
}
