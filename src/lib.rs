//! Sonde measures LLM runtimes the way a user feels them: it sends synthetic prompts on a schedule,
//! times the streamed answer, samples the machine underneath, and exposes all of it to Prometheus.
//!
//! # How a number comes to be
//!
//! [`config`] reads one file plus the environment and resolves it to settings, or to a list of
//! problems. [`app`] is the only composition root. [`schedule`] computes the next instant of each
//! probe, waits, takes a permit and asks the [`probe::Prober`] for one run: the [`workload`] yields a
//! seeded prompt; the [`runtime`] adapter encodes it; the [`transport`] sends it and yields chunks
//! stamped before anything else happens to them; a sans-IO decoder of [`wire`] turns bytes into
//! frames; the adapter's interpreter turns frames into deltas; [`measure`] pairs deltas with stamps.
//! At the end, however it ends, exactly one [`probe::Observation`] goes to the [`record::Recorder`],
//! which fans out to the sinks: [`metrics`] (with [`slo`] judgements), the watches for forward progress and for
//! regressions, the status board, the log.
//! Samplers of [`resource`] run beside it. [`http`] only reads.
//!
//! # Layers
//!
//! A file imports from lower layers or its own folder only; a test checks it.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`base`] |
//! | 1 | [`wire`], [`measure`], [`workload`], [`transport`] |
//! | 2 | [`runtime`], [`resource`] |
//! | 3 | [`probe`] |
//! | 4 | [`record`] |
//! | 5 | [`metrics`], [`slo`], [`schedule`] |
//! | 6 | [`report`], [`http`] |
//! | 7 | [`config`] |
//! | 8 | [`cli`], [`app`], [`simulate`] (which uses layers 0 and 1 only), [`selftest`] (which sets it against [`probe`]) |
//!
//! Three threads matter: one probes and does nothing else, one serves HTTP and supervises, and
//! encoding and sampling happen on helpers. What is recorded travels through one bounded queue.
//!
//! Adding a runtime, workload or sampler is one file plus one line in [`runtime::RUNTIMES`],
//! [`workload::WORKLOADS`] or [`resource::SAMPLERS`].

pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod http;
pub mod measure;
pub mod metrics;
pub mod probe;
pub mod record;
pub mod report;
pub mod resource;
pub mod runtime;
pub mod schedule;
pub mod selftest;
pub mod simulate;
pub mod slo;
pub mod transport;
pub mod wire;
pub mod workload;
