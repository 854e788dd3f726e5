//! The calls of [`GpuLibrary`] through NVIDIA's management library, loaded while running.
//!
//! NVML sees the GPUs that the container was given, and no others.

use super::SampleError;
use super::gpu::{Address, GpuError, GpuLibrary, GpuMemory, Identity, Utilization};
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::path::Path;

/// Where the library is when the loader's own search does not find it: GKE mounts the node's
/// driver here and counts on the image to say so in `LD_LIBRARY_PATH`.
const ELSEWHERE: [&str; 1] = ["/usr/local/nvidia/lib64/libnvidia-ml.so.1"];

/// An initialised NVML.
pub(super) struct NvmlLibrary(Nvml);

impl NvmlLibrary {
    /// Loads the library at `path`, else from the usual places, and initialises it.
    ///
    /// # Errors
    /// [`SampleError::Unsupported`] without library or driver.
    pub(super) fn open(path: Option<&Path>) -> Result<Box<dyn GpuLibrary>, SampleError> {
        let usual = [None]
            .into_iter()
            .chain(ELSEWHERE.iter().map(|place| Some(Path::new(*place))));
        let places: Vec<Option<&Path>> = match path {
            Some(path) => vec![Some(path)],
            None => usual.collect(),
        };
        let mut missing = String::new();
        for place in places {
            let mut builder = Nvml::builder();
            if let Some(place) = place {
                builder.lib_path(place.as_os_str());
            }
            match builder.init() {
                Ok(nvml) => return Ok(Box::new(Self(nvml))),
                Err(NvmlError::LibloadingError(error)) if missing.is_empty() => {
                    missing = error.to_string();
                }
                Err(NvmlError::LibloadingError(_)) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        let reason = format!("the nvml library cannot be loaded: {missing}");
        Err(SampleError::Unsupported(reason))
    }

    /// NVML keeps handles; asking for one again is a look-up, and notices a device that is gone.
    fn device(&self, at: Address) -> Result<Device<'_>, GpuError> {
        let gpu = self.0.device_by_index(at.index);
        let found = match at.instance {
            None => gpu,
            Some(instance) => gpu.and_then(|gpu| gpu.mig_device_by_index(instance)),
        };
        found.map_err(|error| GpuError::Lost(format!("cannot be opened: {error}")))
    }

    fn ask<'a, T>(
        &'a self,
        at: Address,
        question: impl FnOnce(&Device<'a>) -> Result<T, NvmlError>,
    ) -> Result<T, GpuError> {
        question(&self.device(at)?).map_err(gpu_error)
    }
}

/// The library is there and would not start.
fn refused(error: &NvmlError) -> SampleError {
    match error {
        NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound => SampleError::Unsupported(
            format!("the nvml library has no driver to talk to: {error}"),
        ),
        other => SampleError::Failed(format!("nvml cannot be initialised: {other}")),
    }
}

fn gpu_error(error: NvmlError) -> GpuError {
    match error {
        // Also what an older driver does not offer, and what has not been sampled yet.
        NvmlError::NotSupported
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::FunctionNotFound
        | NvmlError::NoData => GpuError::Unsupported,
        NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::NotFound => {
            GpuError::Lost(error.to_string())
        }
        other => GpuError::Failed(other.to_string()),
    }
}

impl GpuLibrary for NvmlLibrary {
    fn count(&self) -> Result<u32, GpuError> {
        self.0.device_count().map_err(gpu_error)
    }

    fn instances(&self, index: u32) -> Result<Vec<u32>, GpuError> {
        let gpu = self.device(Address::gpu(index))?;
        let mode = gpu.mig_mode().map_err(gpu_error)?;
        if mode.current == 0 {
            return Ok(Vec::new());
        }
        let most = gpu.mig_device_count().map_err(gpu_error)?;
        // Instances come and go, so that numbers below the highest may be free.
        let taken = (0..most).filter(|instance| {
            let found = gpu.mig_device_by_index(*instance);
            !matches!(found, Err(NvmlError::NotFound))
        });
        Ok(taken.collect())
    }

    fn identity(&self, at: Address) -> Result<Identity, GpuError> {
        self.ask(at, |device| {
            Ok(Identity {
                uuid: device.uuid()?,
                name: device.name()?,
            })
        })
    }

    fn utilization_percent(&self, at: Address) -> Result<Utilization, GpuError> {
        let rates = self.ask(at, Device::utilization_rates)?;
        Ok(Utilization {
            gpu: rates.gpu,
            memory: rates.memory,
        })
    }

    fn memory(&self, at: Address) -> Result<GpuMemory, GpuError> {
        let memory = self.ask(at, Device::memory_info)?;
        Ok(GpuMemory {
            used: memory.used,
            total: memory.total,
        })
    }

    fn power_milliwatts(&self, at: Address) -> Result<u32, GpuError> {
        self.ask(at, Device::power_usage)
    }

    fn power_limit_milliwatts(&self, at: Address) -> Result<u32, GpuError> {
        self.ask(at, Device::enforced_power_limit)
    }

    fn energy_millijoules(&self, at: Address) -> Result<u64, GpuError> {
        self.ask(at, Device::total_energy_consumption)
    }

    fn temperature_celsius(&self, at: Address) -> Result<u32, GpuError> {
        self.ask(at, |device| device.temperature(TemperatureSensor::Gpu))
    }

    fn sm_clock_megahertz(&self, at: Address) -> Result<u32, GpuError> {
        self.ask(at, |device| device.clock_info(Clock::SM))
    }

    fn memory_clock_megahertz(&self, at: Address) -> Result<u32, GpuError> {
        self.ask(at, |device| device.clock_info(Clock::Memory))
    }

    fn throttle_reasons(&self, at: Address) -> Result<u64, GpuError> {
        let reasons = self.ask(at, Device::current_throttle_reasons)?;
        Ok(reasons.bits())
    }

    fn ecc_corrected(&self, at: Address) -> Result<u64, GpuError> {
        self.ask(at, |device| {
            device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile)
        })
    }

    fn ecc_uncorrected(&self, at: Address) -> Result<u64, GpuError> {
        self.ask(at, |device| {
            device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_unsupported_and_named() {
        let path = Path::new("/nowhere/libnvidia-ml.so.1");
        let Err(SampleError::Unsupported(reason)) = NvmlLibrary::open(Some(path)) else {
            panic!("opened, or failed otherwise");
        };
        assert!(reason.contains("/nowhere/libnvidia-ml.so.1"), "{reason}");
    }

    #[test]
    fn what_nvml_says_is_told_apart_by_kind() {
        assert_eq!(gpu_error(NvmlError::NotSupported), GpuError::Unsupported);
        assert!(matches!(gpu_error(NvmlError::GpuLost), GpuError::Lost(_)));
        assert!(matches!(gpu_error(NvmlError::Unknown), GpuError::Failed(_)));
        let no_driver = refused(&NvmlError::DriverNotLoaded);
        assert!(matches!(no_driver, SampleError::Unsupported(_)));
        let mismatch = refused(&NvmlError::LibRmVersionMismatch);
        assert!(matches!(mismatch, SampleError::Failed(_)));
    }
}
