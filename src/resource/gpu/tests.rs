//! A library that says what it is told to.

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
    /// By index: how many MIG instances.
    instances: Vec<u32>,
    /// Whether devices have more than every GPU has.
    rich: bool,
}

impl Machine {
    fn with(devices: usize) -> Self {
        Self {
            open: Ok(()),
            opened: 0,
            count: Ok(devices as u32),
            devices: vec![Ok(()); devices],
            power: Ok(250_500),
            instances: vec![0; devices],
            rich: false,
        }
    }
}

struct Fake(Arc<Mutex<Machine>>);

impl Fake {
    fn device<T>(&self, at: Address, value: T) -> Result<T, GpuError> {
        self.0.lock().unwrap().devices[at.index as usize].clone()?;
        Ok(value)
    }

    fn rich<T>(&self, at: Address, value: T) -> Result<T, GpuError> {
        let rich = self.0.lock().unwrap().rich;
        match rich {
            true => self.device(at, value),
            false => Err(GpuError::Unsupported),
        }
    }
}

impl GpuLibrary for Fake {
    fn count(&self) -> Result<u32, GpuError> {
        self.0.lock().unwrap().count.clone()
    }

    fn instances(&self, index: u32) -> Result<Vec<u32>, GpuError> {
        Ok((0..self.0.lock().unwrap().instances[index as usize]).collect())
    }

    fn identity(&self, at: Address) -> Result<Identity, GpuError> {
        Ok(Identity {
            uuid: match at.instance {
                None => format!("GPU-{}", at.index),
                Some(instance) => format!("MIG-{}-{instance}", at.index),
            },
            name: "NVIDIA L4".to_owned(),
        })
    }

    fn utilization_percent(&self, at: Address) -> Result<Utilization, GpuError> {
        let (gpu, memory) = (37, 12);
        self.device(at, Utilization { gpu, memory })
    }

    fn memory(&self, at: Address) -> Result<GpuMemory, GpuError> {
        let (used, total) = (1 << 30, 24 << 30);
        self.device(at, GpuMemory { used, total })
    }

    fn power_milliwatts(&self, at: Address) -> Result<u32, GpuError> {
        self.device(at, ())?;
        self.0.lock().unwrap().power.clone()
    }

    fn power_limit_milliwatts(&self, at: Address) -> Result<u32, GpuError> {
        self.rich(at, 300_000)
    }

    fn energy_millijoules(&self, at: Address) -> Result<u64, GpuError> {
        self.device(at, 1_500)
    }

    fn temperature_celsius(&self, at: Address) -> Result<u32, GpuError> {
        self.device(at, 61)
    }

    fn sm_clock_megahertz(&self, at: Address) -> Result<u32, GpuError> {
        self.rich(at, 1_980)
    }

    fn memory_clock_megahertz(&self, at: Address) -> Result<u32, GpuError> {
        self.rich(at, 2_619)
    }

    fn throttle_reasons(&self, at: Address) -> Result<u64, GpuError> {
        self.rich(at, 0x4)
    }

    fn ecc_corrected(&self, at: Address) -> Result<u64, GpuError> {
        self.rich(at, 3)
    }

    fn ecc_uncorrected(&self, at: Address) -> Result<u64, GpuError> {
        self.rich(at, 0)
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
        ("llm_gpu_memory_utilization_ratio", 0.12),
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
    assert_eq!(readings.len(), 6);
}

#[test]
fn a_value_that_fails_is_absent_and_an_error() {
    let machine = machine(1);
    machine.lock().unwrap().power = Err(GpuError::Failed("unknown".to_owned()));
    let (readings, problem) = partial(gpu(&machine).sample());
    assert_eq!(readings.len(), 6);
    assert_eq!(problem, "gpu 0: unknown");
}

#[test]
fn the_series_of_a_lost_device_end_and_its_neighbour_stays() {
    let machine = machine(2);
    let mut gpu = gpu(&machine);
    assert_eq!(gpu.sample().unwrap().len(), 14);
    machine.lock().unwrap().devices[0] = Err(GpuError::Lost("off the bus".to_owned()));
    for _ in 0..2 {
        let (readings, problem) = partial(gpu.sample());
        assert_eq!(readings.len(), 7);
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
    assert_eq!(readings.len(), 7);
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

#[test]
fn what_only_some_gpus_have_comes_in_base_units_too() {
    let machine = machine(1);
    machine.lock().unwrap().rich = true;
    let readings = gpu(&machine).sample().unwrap();
    let expected = [
        ("llm_gpu_power_limit_watts", "nvml", 300.0),
        ("llm_gpu_clock_hertz", "sm", 1.98e9),
        ("llm_gpu_clock_hertz", "memory", 2.619e9),
        ("llm_gpu_throttle_reason", "sw_power_cap", 1.0),
        ("llm_gpu_throttle_reason", "hw_slowdown", 0.0),
        ("llm_gpu_ecc_errors_total", "corrected", 3.0),
        ("llm_gpu_ecc_errors_total", "uncorrected", 0.0),
    ];
    for (family, label, expected) in expected {
        assert_eq!(value(&readings, family, label), Some(expected), "{family}");
    }
}

#[test]
fn an_instance_has_its_memory_and_nothing_that_is_the_whole_gpus() {
    let machine = machine(2);
    machine.lock().unwrap().instances[1] = 2;
    machine.lock().unwrap().rich = true;
    let readings = gpu(&machine).sample().unwrap();
    let of = |uuid: &str| {
        let mine = |reading: &&Reading| reading.labels[1].1 == uuid;
        readings.iter().filter(mine).collect::<Vec<_>>()
    };
    assert_eq!(of("GPU-0").len(), of("GPU-1").len());
    for (uuid, number) in [("MIG-1-0", "1:0"), ("MIG-1-1", "1:1")] {
        let families: Vec<_> = of(uuid).iter().map(|reading| reading.family).collect();
        let memory = ["llm_gpu_memory_used_bytes", "llm_gpu_memory_total_bytes"];
        assert_eq!(families, memory);
        assert_eq!(of(uuid)[0].labels[0].1, number);
    }
}

#[test]
fn a_library_that_is_not_wanted_is_not_opened() {
    let settings = ResourceSettings {
        nvml: false,
        ..ResourceSettings::default()
    };
    let Err(SampleError::Unsupported(reason)) = Gpu::nvml(&settings).sample() else {
        panic!("opened");
    };
    assert_eq!(reason, "nvml is switched off by the configuration");
}
