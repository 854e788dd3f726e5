//! Layer 1: what a stream means in time. Definitions are those of the design's section 4.

pub mod attribution;
pub mod cost;
pub mod delta;
pub mod items;
pub mod latency;
pub mod quantiles;
pub mod rank_test;
pub mod timeline;
pub mod tokens;
