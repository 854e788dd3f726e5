//! GPUs, whatever library speaks to them.

use super::device::{DeviceLabels, DeviceValues};
use super::nvml::NvmlLibrary;
use super::{Reading, ResourceSettings, SampleError, Sampler};
use std::time::{Duration, Instant};

/// How long a library that failed altogether is left alone. Opening it attaches to every GPU,
/// which without persistence mode takes seconds and wakes them up.
const REOPEN_AFTER: Duration = Duration::from_secs(60);

/// Why a GPU or one of its values gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GpuError {
    /// The device does not have this value: it is absent, and nothing is wrong.
    Unsupported,
    /// The device is gone, or must be reset before anything it says can be believed.
    Lost(String),
    /// The call failed.
    Failed(String),
}

/// Which device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uuid: String,
    pub(super) name: String,
}

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GpuMemory {
    pub(super) used: u64,
    pub(super) total: u64,
}

/// Percent of the driver's last sampling period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Utilization {
    pub(super) gpu: u32,
    pub(super) memory: u32,
}

/// A GPU, or one of the MIG instances that it is cut into. Both numbers are the library's and
/// start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) instance: Option<u32>,
}

impl Address {
    pub(super) fn gpu(index: u32) -> Self {
        Self {
            index,
            instance: None,
        }
    }
}

/// `0`, or `0:1` for instance 1 of GPU 0, as container runtimes write it.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.instance {
            None => write!(f, "{}", self.index),
            Some(instance) => write!(f, "{}:{instance}", self.index),
        }
    }
}

/// The few calls of a GPU library that are needed, in the library's own units.
pub(super) trait GpuLibrary: Send {
    fn count(&self) -> Result<u32, GpuError>;
    /// Numbers of a GPU's MIG instances; none where it is not cut up, or cannot be.
    fn instances(&self, index: u32) -> Result<Vec<u32>, GpuError>;
    fn identity(&self, at: Address) -> Result<Identity, GpuError>;
    fn utilization_percent(&self, at: Address) -> Result<Utilization, GpuError>;
    fn memory(&self, at: Address) -> Result<GpuMemory, GpuError>;
    fn power_milliwatts(&self, at: Address) -> Result<u32, GpuError>;
    fn power_limit_milliwatts(&self, at: Address) -> Result<u32, GpuError>;
    fn energy_millijoules(&self, at: Address) -> Result<u64, GpuError>;
    fn temperature_celsius(&self, at: Address) -> Result<u32, GpuError>;
    fn sm_clock_megahertz(&self, at: Address) -> Result<u32, GpuError>;
    fn memory_clock_megahertz(&self, at: Address) -> Result<u32, GpuError>;
    /// Bits as NVML numbers them.
    fn throttle_reasons(&self, at: Address) -> Result<u64, GpuError>;
    /// Since the driver was loaded.
    fn ecc_corrected(&self, at: Address) -> Result<u64, GpuError>;
    /// Since the driver was loaded.
    fn ecc_uncorrected(&self, at: Address) -> Result<u64, GpuError>;
}

/// Loads and initialises a library.
pub(super) type Open = Box<dyn FnMut() -> Result<Box<dyn GpuLibrary>, SampleError> + Send>;

/// Samples every GPU that the library shows. A library or a driver that is not there, and one
/// that shows no GPU, are unsupported.
pub(super) struct Gpu {
    /// The label `source`.
    source: &'static str,
    open: Open,
    library: Option<Box<dyn GpuLibrary>>,
    /// When the library failed altogether, and how.
    broken: Option<(Instant, String)>,
    /// The devices of the sample before, to notice one that is no longer listed.
    known: Vec<String>,
}

impl Gpu {
    /// Through NVML, which is loaded at the first sample, and never where it is not wanted.
    pub(super) fn nvml(settings: &ResourceSettings) -> Self {
        let path = settings.nvml_library.clone();
        let wanted = settings.nvml;
        let open = move || match wanted {
            true => NvmlLibrary::open(path.as_deref()),
            false => Err(SampleError::Unsupported(
                "nvml is switched off by the configuration".to_owned(),
            )),
        };
        Self::new("nvml", Box::new(open))
    }

    fn new(source: &'static str, open: Open) -> Self {
        Self {
            source,
            open,
            library: None,
            broken: None,
            known: Vec::new(),
        }
    }

    fn sample_at(&mut self, now: Instant) -> Result<Vec<Reading>, SampleError> {
        if let Some((since, problem)) = &self.broken
            && now < *since + REOPEN_AFTER
        {
            return Err(SampleError::Failed(problem.clone()));
        }
        self.broken = None;
        let library = match self.library.take() {
            Some(library) => library,
            None => (self.open)().map_err(|error| self.fails(error, now))?,
        };
        let mut survey = match Survey::take(library.as_ref(), self.source) {
            Ok(survey) => survey,
            Err(problem) => return Err(self.fails(SampleError::Failed(problem), now)),
        };
        for uuid in std::mem::take(&mut self.known) {
            if !survey.present.contains(&uuid) && !survey.lost_some {
                survey
                    .problems
                    .push(format!("gpu `{uuid}` is no longer there"));
            }
        }
        let problem = survey.problems.join("; ");
        if survey.present.is_empty() {
            return Err(match problem.is_empty() {
                true => SampleError::Unsupported("the driver shows no gpu".to_owned()),
                false => self.fails(SampleError::Failed(problem), now),
            });
        }
        self.known = survey.present;
        self.library = Some(library);
        match problem.is_empty() {
            true => Ok(survey.readings),
            false => Err(SampleError::Partial {
                readings: survey.readings,
                problem,
            }),
        }
    }

    /// Remembers a failure of the library as a whole, which will be opened anew, but not soon.
    fn fails(&mut self, error: SampleError, now: Instant) -> SampleError {
        if let SampleError::Failed(problem) = &error {
            self.broken = Some((now, problem.clone()));
        }
        error
    }
}

impl Sampler for Gpu {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        self.sample_at(Instant::now())
    }
}

/// One look at every device.
struct Survey {
    readings: Vec<Reading>,
    /// The devices that answered.
    present: Vec<String>,
    /// What went wrong, device by device.
    problems: Vec<String>,
    /// Whether a listed device is among what went wrong, which may not even say who it is.
    lost_some: bool,
}

impl Survey {
    fn take(library: &dyn GpuLibrary, source: &'static str) -> Result<Self, String> {
        let count = library
            .count()
            .map_err(|error| format!("cannot count gpus: {}", error.text()))?;
        let mut survey = Self {
            readings: Vec::new(),
            present: Vec::new(),
            problems: Vec::new(),
            lost_some: false,
        };
        for index in 0..count {
            let gpu = Address::gpu(index);
            if let Err(error) = survey.add(library, gpu, source) {
                survey.lose(gpu, &error);
                continue;
            }
            match library.instances(index) {
                Ok(instances) => survey.add_instances(library, index, &instances, source),
                Err(GpuError::Unsupported) => {}
                Err(error) => survey.lose(gpu, &error),
            }
        }
        Ok(survey)
    }

    fn add_instances(
        &mut self,
        library: &dyn GpuLibrary,
        index: u32,
        instances: &[u32],
        source: &'static str,
    ) {
        for instance in instances {
            let at = Address {
                index,
                instance: Some(*instance),
            };
            if let Err(error) = self.add(library, at, source) {
                self.lose(at, &error);
            }
        }
    }

    fn lose(&mut self, at: Address, error: &GpuError) {
        self.lost_some = true;
        self.problems.push(format!("gpu {at}: {}", error.text()));
    }

    /// All of a device's values, or none of them if it is lost halfway.
    fn add(
        &mut self,
        library: &dyn GpuLibrary,
        at: Address,
        source: &'static str,
    ) -> Result<(), GpuError> {
        let identity = library.identity(at)?;
        let memory = self.value(at, library.memory(at))?;
        let mut values = match at.instance {
            None => self.board_values(library, at)?,
            // Power, clocks and the like are the whole GPU's and would be there twice.
            Some(_) => DeviceValues::default(),
        };
        values.memory_used = memory.map(|memory| memory.used as f64);
        values.memory_total = memory.map(|memory| memory.total as f64);
        let labels = DeviceLabels {
            gpu: at.to_string(),
            uuid: identity.uuid.clone(),
            name: identity.name,
            source,
        };
        self.readings.extend(values.readings(&labels));
        self.present.push(identity.uuid);
        Ok(())
    }

    fn board_values(
        &mut self,
        library: &dyn GpuLibrary,
        at: Address,
    ) -> Result<DeviceValues, GpuError> {
        let utilization = self.value(at, library.utilization_percent(at))?;
        let ratio = |percent: u32| f64::from(percent) / 100.0;
        let milli = |value: u32| f64::from(value) / 1e3;
        let mega = |value: u32| f64::from(value) * 1e6;
        let count = |value: u64| value as f64;
        let power = self.value(at, library.power_milliwatts(at))?;
        let power_limit = self.value(at, library.power_limit_milliwatts(at))?;
        let energy = self.value(at, library.energy_millijoules(at))?;
        let temperature = self.value(at, library.temperature_celsius(at))?;
        let sm_clock = self.value(at, library.sm_clock_megahertz(at))?;
        let memory_clock = self.value(at, library.memory_clock_megahertz(at))?;
        let throttle = self.value(at, library.throttle_reasons(at))?;
        let ecc_corrected = self.value(at, library.ecc_corrected(at))?;
        let ecc_uncorrected = self.value(at, library.ecc_uncorrected(at))?;
        Ok(DeviceValues {
            utilization: utilization.map(|rates| ratio(rates.gpu)),
            memory_utilization: utilization.map(|rates| ratio(rates.memory)),
            memory_used: None,
            memory_total: None,
            power: power.map(milli),
            power_limit: power_limit.map(milli),
            energy: energy.map(|millijoules| count(millijoules) / 1e3),
            temperature: temperature.map(f64::from),
            sm_clock: sm_clock.map(mega),
            memory_clock: memory_clock.map(mega),
            throttle,
            ecc_corrected: ecc_corrected.map(count),
            ecc_uncorrected: ecc_uncorrected.map(count),
        })
    }

    /// The value, or none with its reason noted; an error only when the device is lost.
    fn value<T>(&mut self, at: Address, got: Result<T, GpuError>) -> Result<Option<T>, GpuError> {
        match got {
            Ok(value) => Ok(Some(value)),
            Err(GpuError::Unsupported) => Ok(None),
            Err(GpuError::Failed(problem)) => {
                self.problems.push(format!("gpu {at}: {problem}"));
                Ok(None)
            }
            Err(lost @ GpuError::Lost(_)) => Err(lost),
        }
    }
}

impl GpuError {
    fn text(&self) -> &str {
        match self {
            Self::Unsupported => "not supported",
            Self::Lost(problem) | Self::Failed(problem) => problem,
        }
    }
}

#[cfg(test)]
mod tests;
