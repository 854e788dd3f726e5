//! Layer 5: what Prometheus sees. One catalogue of families; one store behind one lock, so that a
//! scrape is a consistent picture; three encoders over the same samples.

mod accounting;
pub mod buckets;
mod catalogue;
mod daemon;
pub mod encode;
mod family;
mod histogram;
mod instrument;
mod latency;
mod progress;
mod regression;
mod resource;
mod runtime;
mod series;
mod slo;
mod state;
mod store;
mod tokens;

pub use catalogue::{catalogue, reference_markdown, series_per_probe};
pub use family::{FamilySpec, Kind};
pub use instrument::{InstrumentError, SelftestState};
pub use series::ProbeShape;
pub use store::{MetricsSettings, ReloadState, Store, TargetFacts};
