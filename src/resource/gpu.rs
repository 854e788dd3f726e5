//! GPUs, whatever library speaks to them.

use super::nvml::NvmlLibrary;
use super::{Reading, ResourceFamily, ResourceSettings, SampleError, Sampler, families};
use std::time::{Duration, Instant};

/// What [`Gpu`] reports.
pub(super) const FAMILIES: &[ResourceFamily] = &[
    families::GPU_UTILIZATION,
    families::GPU_MEMORY_USED,
    families::GPU_MEMORY_TOTAL,
    families::GPU_POWER,
    families::GPU_ENERGY,
    families::GPU_TEMPERATURE,
];

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

/// The few calls of a GPU library that are needed, in the library's own units. Devices are known
/// by their index, which is the library's and starts at 0.
pub(super) trait GpuLibrary: Send {
    fn count(&self) -> Result<u32, GpuError>;
    fn identity(&self, index: u32) -> Result<Identity, GpuError>;
    fn utilization_percent(&self, index: u32) -> Result<u32, GpuError>;
    fn memory(&self, index: u32) -> Result<GpuMemory, GpuError>;
    fn power_milliwatts(&self, index: u32) -> Result<u32, GpuError>;
    fn energy_millijoules(&self, index: u32) -> Result<u64, GpuError>;
    fn temperature_celsius(&self, index: u32) -> Result<u32, GpuError>;
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
    /// Through NVML, which is loaded at the first sample.
    pub(super) fn nvml(settings: &ResourceSettings) -> Self {
        let path = settings.nvml_library.clone();
        let open = move || NvmlLibrary::open(path.as_deref());
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
            if let Err(error) = survey.add(library, index, source) {
                survey.lost_some = true;
                survey
                    .problems
                    .push(format!("gpu {index}: {}", error.text()));
            }
        }
        Ok(survey)
    }

    /// All of a device's values, or none of them if it is lost halfway.
    fn add(
        &mut self,
        library: &dyn GpuLibrary,
        index: u32,
        source: &'static str,
    ) -> Result<(), GpuError> {
        let identity = library.identity(index)?;
        let memory = self.value(index, library.memory(index))?;
        let utilization = self.value(index, library.utilization_percent(index))?;
        let power = self.value(index, library.power_milliwatts(index))?;
        let energy = self.value(index, library.energy_millijoules(index))?;
        let temperature = self.value(index, library.temperature_celsius(index))?;
        let values = [
            (
                families::GPU_UTILIZATION,
                utilization.map(|percent| f64::from(percent) / 100.0),
            ),
            (
                families::GPU_MEMORY_USED,
                memory.map(|memory| memory.used as f64),
            ),
            (
                families::GPU_MEMORY_TOTAL,
                memory.map(|memory| memory.total as f64),
            ),
            (
                families::GPU_POWER,
                power.map(|milliwatts| f64::from(milliwatts) / 1e3),
            ),
            (
                families::GPU_ENERGY,
                energy.map(|millijoules| millijoules as f64 / 1e3),
            ),
            (families::GPU_TEMPERATURE, temperature.map(f64::from)),
        ];
        let labels = [
            index.to_string(),
            identity.uuid.clone(),
            identity.name,
            source.to_owned(),
        ];
        for (family, value) in values {
            self.readings
                .extend(value.map(|value| family.reading(labels.clone(), value)));
        }
        self.present.push(identity.uuid);
        Ok(())
    }

    /// The value, or none with its reason noted; an error only when the device is lost.
    fn value<T>(&mut self, index: u32, got: Result<T, GpuError>) -> Result<Option<T>, GpuError> {
        match got {
            Ok(value) => Ok(Some(value)),
            Err(GpuError::Unsupported) => Ok(None),
            Err(GpuError::Failed(problem)) => {
                self.problems.push(format!("gpu {index}: {problem}"));
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
mod tests {
    use super::*;
    use crate::resource::fixture::value;
    use std::sync::{Arc, Mutex};

    /// What every call answers; changed between samples.
    #[derive(Clone)]
    struct Machine {
        open: Result<(), SampleError>,
        opened: u32,
        count: Result<u32, GpuError>,
        /// By index: what the calls after `identity` say; `Ok` is the device's normal values.
        devices: Vec<Result<(), GpuError>>,
        power: Result<u32, GpuError>,
    }

    impl Machine {
        fn with(devices: usize) -> Self {
            Self {
                open: Ok(()),
                opened: 0,
                count: Ok(devices as u32),
                devices: vec![Ok(()); devices],
                power: Ok(250_500),
            }
        }
    }

    struct Fake(Arc<Mutex<Machine>>);

    impl Fake {
        fn device<T>(&self, index: u32, value: T) -> Result<T, GpuError> {
            self.0.lock().unwrap().devices[index as usize].clone()?;
            Ok(value)
        }
    }

    impl GpuLibrary for Fake {
        fn count(&self) -> Result<u32, GpuError> {
            self.0.lock().unwrap().count.clone()
        }

        fn identity(&self, index: u32) -> Result<Identity, GpuError> {
            Ok(Identity {
                uuid: format!("GPU-{index}"),
                name: "NVIDIA L4".to_owned(),
            })
        }

        fn utilization_percent(&self, index: u32) -> Result<u32, GpuError> {
            self.device(index, 37)
        }

        fn memory(&self, index: u32) -> Result<GpuMemory, GpuError> {
            let (used, total) = (1 << 30, 24 << 30);
            self.device(index, GpuMemory { used, total })
        }

        fn power_milliwatts(&self, index: u32) -> Result<u32, GpuError> {
            self.device(index, ())?;
            self.0.lock().unwrap().power.clone()
        }

        fn energy_millijoules(&self, index: u32) -> Result<u64, GpuError> {
            self.device(index, 1_500)
        }

        fn temperature_celsius(&self, index: u32) -> Result<u32, GpuError> {
            self.device(index, 61)
        }
    }

    fn gpu(machine: &Arc<Mutex<Machine>>) -> Gpu {
        let machine = machine.clone();
        let open = move || {
            let mut state = machine.lock().unwrap();
            state.opened += 1;
            state.open.clone()?;
            Ok(Box::new(Fake(machine.clone())) as Box<dyn GpuLibrary>)
        };
        Gpu::new("nvml", Box::new(open))
    }

    fn machine(devices: usize) -> Arc<Mutex<Machine>> {
        Arc::new(Mutex::new(Machine::with(devices)))
    }

    fn partial(answer: Result<Vec<Reading>, SampleError>) -> (Vec<Reading>, String) {
        match answer {
            Err(SampleError::Partial { readings, problem }) => (readings, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_come_in_base_units_with_the_device_in_the_labels() {
        let readings = gpu(&machine(1)).sample().unwrap();
        let expected = [
            ("llm_gpu_utilization_ratio", 0.37),
            ("llm_gpu_memory_used_bytes", 1_073_741_824.0),
            ("llm_gpu_memory_total_bytes", 25_769_803_776.0),
            ("llm_gpu_power_watts", 250.5),
            ("llm_gpu_energy_joules_total", 1.5),
            ("llm_gpu_temperature_celsius", 61.0),
        ];
        for (family, expected) in expected {
            assert_eq!(value(&readings, family, "nvml"), Some(expected), "{family}");
        }
        let labels = [
            ("gpu", "0".to_owned()),
            ("uuid", "GPU-0".to_owned()),
            ("name", "NVIDIA L4".to_owned()),
            ("source", "nvml".to_owned()),
        ];
        assert!(readings.iter().all(|reading| reading.labels == labels));
    }

    #[test]
    fn a_value_that_the_device_does_not_have_is_absent_and_no_error() {
        let machine = machine(1);
        machine.lock().unwrap().power = Err(GpuError::Unsupported);
        let readings = gpu(&machine).sample().unwrap();
        assert_eq!(value(&readings, "llm_gpu_power_watts", ""), None);
        assert_eq!(readings.len(), 5);
    }

    #[test]
    fn a_value_that_fails_is_absent_and_an_error() {
        let machine = machine(1);
        machine.lock().unwrap().power = Err(GpuError::Failed("unknown".to_owned()));
        let (readings, problem) = partial(gpu(&machine).sample());
        assert_eq!(readings.len(), 5);
        assert_eq!(problem, "gpu 0: unknown");
    }

    #[test]
    fn the_series_of_a_lost_device_end_and_its_neighbour_stays() {
        let machine = machine(2);
        let mut gpu = gpu(&machine);
        assert_eq!(gpu.sample().unwrap().len(), 12);
        machine.lock().unwrap().devices[0] = Err(GpuError::Lost("off the bus".to_owned()));
        for _ in 0..2 {
            let (readings, problem) = partial(gpu.sample());
            assert_eq!(readings.len(), 6);
            assert_eq!(readings[0].labels[1].1, "GPU-1");
            assert_eq!(problem, "gpu 0: off the bus");
        }
    }

    #[test]
    fn a_device_that_is_no_longer_listed_is_an_error_once() {
        let machine = machine(2);
        let mut gpu = gpu(&machine);
        gpu.sample().unwrap();
        machine.lock().unwrap().count = Ok(1);
        let (readings, problem) = partial(gpu.sample());
        assert_eq!(readings.len(), 6);
        assert_eq!(problem, "gpu `GPU-1` is no longer there");
        assert!(gpu.sample().is_ok());
    }

    #[test]
    fn a_library_that_fails_altogether_is_opened_anew_but_not_soon() {
        let machine = machine(1);
        let mut gpu = gpu(&machine);
        let start = Instant::now();
        gpu.sample_at(start).unwrap();
        machine.lock().unwrap().count = Err(GpuError::Failed("driver reloaded".to_owned()));
        let failed = SampleError::Failed("cannot count gpus: driver reloaded".to_owned());
        assert_eq!(gpu.sample_at(start), Err(failed.clone()));
        machine.lock().unwrap().count = Ok(1);
        assert_eq!(gpu.sample_at(start), Err(failed));
        assert_eq!(machine.lock().unwrap().opened, 1);
        assert!(gpu.sample_at(start + REOPEN_AFTER).is_ok());
        assert_eq!(machine.lock().unwrap().opened, 2);
    }

    #[test]
    fn no_library_and_no_device_are_unsupported() {
        let none = machine(0);
        let sampled = gpu(&none).sample();
        assert!(matches!(sampled, Err(SampleError::Unsupported(_))));
        none.lock().unwrap().open = Err(SampleError::Unsupported("no library".to_owned()));
        let mut gpu = gpu(&none);
        assert!(matches!(gpu.sample(), Err(SampleError::Unsupported(_))));
        none.lock().unwrap().open = Ok(());
        *none.lock().unwrap() = Machine::with(1);
        assert!(gpu.sample().is_ok(), "installed meanwhile");
    }

    #[test]
    fn the_last_device_to_vanish_is_a_failure_first() {
        let machine = machine(1);
        let mut gpu = gpu(&machine);
        let start = Instant::now();
        gpu.sample_at(start).unwrap();
        machine.lock().unwrap().count = Ok(0);
        let failed = SampleError::Failed("gpu `GPU-0` is no longer there".to_owned());
        assert_eq!(gpu.sample_at(start), Err(failed));
        let later = gpu.sample_at(start + REOPEN_AFTER);
        assert!(matches!(later, Err(SampleError::Unsupported(_))));
    }
}
