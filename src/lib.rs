//! Sonde measures LLM runtimes the way a user feels them.

pub mod base;
pub mod measure;
pub mod wire;
pub mod workload;
