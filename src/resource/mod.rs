//! Layer 2: what the machine underneath is doing. Adding a sampler is one file and one line in
//! [`SAMPLERS`].
//!
//! The node and the control group are read from the kernel's own files rather than through a
//! library (sysinfo has fixed roots, and neither working set, throttling nor the tightest of nested
//! limits): both roots can then be a host's, mounted elsewhere, or a test's tree; and little is kept
//! between samples. The processes that serve our targets are found from the sockets that they listen
//! on; of all others no more is held than whose children they are. Without `/proc` (not Linux) those
//! samplers are unsupported. GPUs come from NVML, from
//! dcgm-exporter, or, AMD's, from sysfs.
//!
//! Three answers are kept apart: readings, [`SampleError::Unsupported`] (this machine has no such
//! thing) and [`SampleError::Failed`] (it has, and it did not answer). A value that is not known
//! is absent, never 0 and never the last good one.

mod amdgpu;
mod attribution;
mod cgroup;
mod container;
mod cpu;
mod dcgm;
mod device;
mod disk;
mod drive;
mod energy;
pub(crate) mod exposition;
pub mod families;
#[cfg(test)]
mod fixture;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gpu;
mod kernel_file;
mod listener;
mod node;
mod nvml;
mod pressure;
mod process;
mod process_table;
mod process_targets;
mod run_meter;
pub mod runtime_metrics;
mod runtime_state;
mod samplers;
mod scrape;
mod served;
mod subject;
mod throttle;

pub use dcgm::{DcgmSettings, PodFilter};
pub use drive::{HUNG_AFTER, SHORTEST_INTERVAL, run};
pub use energy::{ENERGY_MEMORY, EnergyBoard};
pub use process_targets::{ProcessMatch, ProcessTarget, ProcessTargets};
pub use run_meter::{ProcessLook, RunMeter};
pub use runtime_state::{RuntimeState, RuntimeStates, Word};
pub use samplers::{SamplerReport, Samplers, UNSUPPORTED_RETRY};
pub use subject::Scope;
pub use throttle::ThrottleMeter;

use std::path::PathBuf;
use std::time::Duration;

/// One value of one family at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The family's name, as in [`ResourceFamily::name`].
    pub family: &'static str,
    /// Exactly the labels that the family declares, in its order.
    pub labels: Vec<(&'static str, String)>,
    /// In the family's base unit.
    pub value: f64,
}

/// Reads one part of the machine. Called by one thread at a time; may block.
pub trait Sampler: Send {
    /// The name in [`SAMPLERS`], in logs and in labels.
    fn name(&self) -> &'static str;

    /// What holds now.
    ///
    /// # Errors
    /// When there is nothing to read here, or reading failed.
    fn sample(&mut self) -> Result<Vec<Reading>, SampleError>;
}

/// Why a sampler gave nothing, or not everything.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// This machine has no such thing. Not a failure: logged once, counted nowhere, and asked
    /// again only every [`UNSUPPORTED_RETRY`], since a driver may be
    /// installed while we run.
    #[error("not available here: {0}")]
    Unsupported(String),
    /// It should have worked. Counted at every attempt, logged when it begins and when it ends.
    #[error("{0}")]
    Failed(String),
    /// Some of several devices did not answer. What the others say is fresh and is kept, and the
    /// sample counts as failed.
    #[error("{problem}")]
    Partial {
        /// What could be read in this very sample.
        readings: Vec<Reading>,
        /// What could not.
        problem: String,
    },
}

/// A sampler that a configuration can name.
pub struct SamplerSpec {
    /// Its name in logs and labels.
    pub name: &'static str,
    /// One line for documentation and help.
    pub summary: &'static str,
    /// Everything that it may ever report.
    pub families: &'static [ResourceFamily],
    /// Makes one. Does no work: whatever can fail or block is left to the first sample.
    pub build: fn(&ResourceSettings, &ProcessTargets) -> Box<dyn Sampler>,
}

/// Every sampler.
pub const SAMPLERS: &[SamplerSpec] = &[
    SamplerSpec {
        name: "node",
        summary: "CPU, memory, network, disks and pressure of the machine, from `/proc`",
        families: node::FAMILIES,
        build: |settings, _| Box::new(node::Node::new(settings)),
    },
    SamplerSpec {
        name: "container",
        summary: "CPU, throttling, memory, disks and pressure of our own control group, v1 and v2",
        families: container::FAMILIES,
        build: |settings, _| Box::new(container::Container::new(settings)),
    },
    SamplerSpec {
        name: "process",
        summary: "The processes on this machine that serve our targets, from `/proc`",
        families: process::FAMILIES,
        build: |settings, targets| Box::new(process::Process::new(settings, targets.clone())),
    },
    SamplerSpec {
        name: "gpu",
        summary: "NVIDIA GPUs, from NVML",
        families: device::FAMILIES,
        build: |settings, _| Box::new(gpu::Gpu::nvml(settings)),
    },
    SamplerSpec {
        name: "dcgm",
        summary: "NVIDIA GPUs, from dcgm-exporter's page",
        families: device::FAMILIES,
        build: |settings, _| Box::new(dcgm::Dcgm::new(settings)),
    },
    SamplerSpec {
        name: "amdgpu",
        summary: "AMD GPUs, from `/sys/class/drm`",
        families: device::FAMILIES,
        build: |settings, _| Box::new(amdgpu::AmdGpu::new(settings)),
    },
];

/// How a family's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FamilyKind {
    /// Only grows, until whatever counts it restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What the exposition and the catalogue need to know of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceFamily {
    /// The whole name: `_total` on counters, base unit.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: FamilyKind,
    /// The labels of every one of its series.
    pub labels: &'static [&'static str],
    /// One sentence for `# HELP`.
    pub help: &'static str,
}

impl ResourceFamily {
    /// One value of this family. `labels` are the values of its labels, in its order.
    pub(crate) fn reading<const N: usize>(&self, labels: [String; N], value: f64) -> Reading {
        Reading {
            family: self.name,
            labels: self.labels.iter().copied().zip(labels).collect(),
            value,
        }
    }
}

/// Time between two samples. A sample of everything takes one or two milliseconds with some hundred
/// processes on the machine: at this pace well under 0.5 % of one core.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// What is sampled, how often, and where the machine shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSettings {
    /// Whether anything is sampled at all.
    pub enabled: bool,
    /// Time between two samples.
    pub interval: Duration,
    /// Where procfs is mounted.
    pub proc_root: PathBuf,
    /// Where sysfs is mounted; control groups are looked for below it.
    pub sys_root: PathBuf,
    /// Which names are ours: a name that only a DNS server knows is not asked for.
    pub hosts_file: PathBuf,
    /// Whether NVML is asked. Beside dcgm-exporter it would tell of the same GPUs twice.
    pub nvml: bool,
    /// The NVML library, where it is not in one of the usual places.
    pub nvml_library: Option<PathBuf>,
    /// The dcgm-exporter to be asked; absent: none.
    pub dcgm: Option<DcgmSettings>,
}

impl Default for ResourceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: DEFAULT_INTERVAL,
            proc_root: PathBuf::from("/proc"),
            sys_root: PathBuf::from("/sys"),
            hosts_file: PathBuf::from("/etc/hosts"),
            nvml: true,
            nvml_library: None,
            dcgm: None,
        }
    }
}

impl std::fmt::Debug for SamplerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_family_is_named_by_its_kind_and_means_one_thing() {
        let mut seen: BTreeMap<&str, &ResourceFamily> = BTreeMap::new();
        for family in SAMPLERS.iter().flat_map(|spec| spec.families) {
            let name = family.name;
            assert!(
                name.starts_with("llm_resource_") || name.starts_with("llm_gpu_"),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                family.kind == FamilyKind::Counter,
                "{name}"
            );
            assert!(
                !family.labels.is_empty() && !family.help.ends_with('.'),
                "{name}"
            );
            let first = seen.entry(name).or_insert(family);
            assert_eq!(*first, family, "two samplers disagree on {name}");
        }
    }

    #[test]
    fn every_sampler_answers_to_its_name_and_keeps_to_its_families() {
        let settings = ResourceSettings::default();
        for spec in SAMPLERS {
            let mut sampler = (spec.build)(&settings, &ProcessTargets::default());
            assert_eq!(sampler.name(), spec.name);
            let readings = match sampler.sample() {
                Ok(readings) => readings,
                Err(SampleError::Unsupported(_)) => continue,
                Err(error) => panic!("{}: {error}", spec.name),
            };
            for reading in readings {
                let family = spec
                    .families
                    .iter()
                    .find(|family| family.name == reading.family)
                    .unwrap_or_else(|| panic!("{} is not declared", reading.family));
                let labels: Vec<_> = reading.labels.iter().map(|(name, _)| *name).collect();
                assert_eq!(labels, family.labels, "{}", reading.family);
                assert!(reading.value.is_finite() && reading.value >= 0.0);
            }
        }
    }
}
