//! Sonde measures LLM runtimes the way a user feels them.

pub mod base;
pub mod http;
pub mod measure;
pub mod metrics;
pub mod probe;
pub mod record;
pub mod resource;
pub mod runtime;
pub mod slo;
pub mod transport;
pub mod wire;
pub mod workload;
