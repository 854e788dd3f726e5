//! The real NVML path, library loading included, on machines without a GPU: a C library of ours
//! that says what a script tells it.

use sonde::resource::{ProcessTargets, Reading, ResourceSettings, SAMPLERS, SampleError, Sampler};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A copy of the library and its script, which can be changed between samples.
struct Stub {
    folder: PathBuf,
}

impl Stub {
    /// `None`, said loudly, where nothing can build it.
    fn build(script: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("sonde-nvml-{}-{number}", std::process::id());
        let stub = Self {
            folder: std::env::temp_dir().join(folder),
        };
        std::fs::create_dir_all(&stub.folder).unwrap();
        stub.says(script);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvml-stub/nvml.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(stub.library())
            .arg(source)
            .arg("-ldl")
            .output();
        match built {
            Ok(output) => {
                let complaints = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{complaints}");
                Some(stub)
            }
            Err(error) => {
                // Past the harness, which would keep it to itself.
                let why = format!("skipped: there is no C compiler `cc`: {error}\n");
                std::io::stderr().write_all(why.as_bytes()).unwrap();
                None
            }
        }
    }

    fn library(&self) -> PathBuf {
        self.folder.join("libnvidia-ml.so.1")
    }

    fn says(&self, script: &str) {
        std::fs::write(self.folder.join("script"), script).unwrap();
    }

    fn sampler(&self) -> Box<dyn Sampler> {
        let settings = ResourceSettings {
            nvml_library: Some(self.library()),
            ..ResourceSettings::default()
        };
        let spec = SAMPLERS.iter().find(|spec| spec.name == "gpu").unwrap();
        (spec.build)(&settings, &ProcessTargets::default())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn label<'a>(reading: &'a Reading, name: &str) -> &'a str {
    let found = reading.labels.iter().find(|(known, _)| *known == name);
    &found.unwrap().1
}

fn of<'a>(readings: &'a [Reading], uuid: &'a str) -> impl Iterator<Item = &'a Reading> {
    let mine = move |reading: &&Reading| label(reading, "uuid") == uuid;
    readings.iter().filter(mine)
}

fn count(readings: &[Reading], uuid: &str) -> usize {
    of(readings, uuid).count()
}

/// The value of a device's series whose last label is `last` (any, when empty).
fn value(readings: &[Reading], uuid: &str, family: &str, last: &str) -> Option<f64> {
    of(readings, uuid)
        .filter(|reading| reading.family == family)
        .find(|reading| last.is_empty() || reading.labels.last().unwrap().1 == last)
        .map(|reading| reading.value)
}

fn partial(answer: Result<Vec<Reading>, SampleError>) -> (Vec<Reading>, String) {
    match answer {
        Err(SampleError::Partial { readings, problem }) => (readings, problem),
        other => panic!("{other:?}"),
    }
}

/// Every value once, and nine throttle reasons.
const SERIES: usize = 8 + 2 + 2 + 9;

#[test]
fn every_value_of_nvml_arrives_in_base_units() {
    let Some(stub) = Stub::build("gpus 2\n") else {
        return;
    };
    let readings = stub.sampler().sample().unwrap();
    let expected = [
        ("llm_gpu_utilization_ratio", "", 0.37),
        ("llm_gpu_memory_utilization_ratio", "", 0.12),
        ("llm_gpu_memory_used_bytes", "", 3_221_225_472.0),
        ("llm_gpu_memory_total_bytes", "", 42_949_672_960.0),
        ("llm_gpu_power_watts", "", 250.5),
        ("llm_gpu_power_limit_watts", "", 400.0),
        ("llm_gpu_energy_joules_total", "", 5_000_000.123),
        ("llm_gpu_temperature_celsius", "", 61.0),
        ("llm_gpu_clock_hertz", "sm", 1.41e9),
        ("llm_gpu_clock_hertz", "memory", 1.215e9),
        ("llm_gpu_throttle_reason", "sw_power_cap", 1.0),
        ("llm_gpu_throttle_reason", "sw_thermal_slowdown", 1.0),
        ("llm_gpu_throttle_reason", "gpu_idle", 0.0),
        ("llm_gpu_ecc_errors_total", "corrected", 3.0),
        ("llm_gpu_ecc_errors_total", "uncorrected", 1.0),
    ];
    for uuid in ["GPU-0", "GPU-1"] {
        assert_eq!(count(&readings, uuid), SERIES);
        for (family, label, expected) in expected {
            assert_eq!(
                value(&readings, uuid, family, label),
                Some(expected),
                "{family}"
            );
        }
    }
}

#[test]
fn a_call_that_fails_costs_its_value_and_one_that_is_not_supported_no_error() {
    let Some(stub) = Stub::build("gpus 2\nfail power 1 999\n") else {
        return;
    };
    let mut sampler = stub.sampler();
    let (readings, problem) = partial(sampler.sample());
    assert_eq!(count(&readings, "GPU-0"), SERIES);
    assert_eq!(count(&readings, "GPU-1"), SERIES - 1);
    assert_eq!(value(&readings, "GPU-1", "llm_gpu_power_watts", ""), None);
    assert!(problem.starts_with("gpu 1: "), "{problem}");
    stub.says("gpus 2\nfail ecc 1 3\nfail utilization 0 3\n");
    let readings = sampler.sample().unwrap();
    assert_eq!(count(&readings, "GPU-0"), SERIES - 2);
    assert_eq!(count(&readings, "GPU-1"), SERIES - 2);
}

#[test]
fn a_device_that_vanishes_leaves_the_other_alone_and_may_come_back() {
    let Some(stub) = Stub::build("gpus 2\n") else {
        return;
    };
    let mut sampler = stub.sampler();
    assert_eq!(sampler.sample().unwrap().len(), 2 * SERIES);
    stub.says("gpus 2\nlost 0\n");
    let (readings, problem) = partial(sampler.sample());
    assert_eq!(
        (count(&readings, "GPU-0"), count(&readings, "GPU-1")),
        (0, SERIES)
    );
    assert!(problem.starts_with("gpu 0: "), "{problem}");
    stub.says("gpus 2\n");
    assert_eq!(sampler.sample().unwrap().len(), 2 * SERIES);
    stub.says("gpus 1\n");
    let (readings, problem) = partial(sampler.sample());
    assert_eq!(readings.len(), SERIES);
    assert_eq!(problem, "gpu `GPU-1` is no longer there");
    assert_eq!(sampler.sample().unwrap().len(), SERIES);
}

#[test]
fn instances_of_a_gpu_have_their_own_uuid_and_no_utilisation() {
    let Some(stub) = Stub::build("gpus 2\nmig 1 2\n") else {
        return;
    };
    let mut sampler = stub.sampler();
    let readings = sampler.sample().unwrap();
    assert_eq!(count(&readings, "GPU-0"), SERIES);
    assert_eq!(count(&readings, "GPU-1"), SERIES - 2, "no utilisation");
    for (uuid, gpu) in [("MIG-1-0", "1:0"), ("MIG-1-2", "1:2")] {
        assert_eq!(count(&readings, uuid), 2);
        let used = value(&readings, uuid, "llm_gpu_memory_used_bytes", "");
        assert_eq!(used, Some(1_073_741_824.0));
        for reading in of(&readings, uuid) {
            assert_eq!(label(reading, "gpu"), gpu);
            assert_eq!(label(reading, "name"), "NVIDIA A100 MIG 1g.5gb");
        }
    }
    stub.says("gpus 2\nmig 1 1\n");
    let (readings, problem) = partial(sampler.sample());
    assert_eq!(count(&readings, "MIG-1-0"), 2);
    assert_eq!(count(&readings, "MIG-1-2"), 0);
    assert_eq!(problem, "gpu `MIG-1-2` is no longer there");
}

#[test]
fn a_library_without_driver_is_unsupported_and_one_of_another_version_fails() {
    let Some(stub) = Stub::build("init 9\n") else {
        return;
    };
    let answer = stub.sampler().sample();
    assert!(
        matches!(answer, Err(SampleError::Unsupported(_))),
        "{answer:?}"
    );
    stub.says("init 18\n");
    let answer = stub.sampler().sample();
    assert!(matches!(answer, Err(SampleError::Failed(_))), "{answer:?}");
    stub.says("gpus 0\n");
    let answer = stub.sampler().sample();
    assert!(
        matches!(answer, Err(SampleError::Unsupported(_))),
        "{answer:?}"
    );
}
