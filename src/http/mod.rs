//! Layer 6: what people and Prometheus read.

pub mod ui;
