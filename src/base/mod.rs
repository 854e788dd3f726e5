//! Layer 0: what everything else stands on. Nothing here knows what a probe is.

pub mod build;
pub mod clock;
pub mod label;
pub mod logging;
pub mod secret;
pub mod shutdown;
pub mod units;
