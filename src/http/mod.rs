//! Layer 6: what people and Prometheus read.

pub mod listener;
pub mod ui;
pub mod web_config;
