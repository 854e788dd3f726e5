//! The one integration binary.

mod architecture;
mod daemon;
mod documents;
mod outcomes;
mod support;
mod transport;
