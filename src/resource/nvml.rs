//! The calls of [`GpuLibrary`] through NVIDIA's management library, loaded while running.
//!
//! NVML sees the GPUs that the container was given, and no others.

use super::SampleError;
use super::gpu::{GpuError, GpuLibrary, GpuMemory, Identity};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
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
    fn device(&self, index: u32) -> Result<Device<'_>, GpuError> {
        match self.0.device_by_index(index) {
            Ok(device) => Ok(device),
            Err(error) => Err(GpuError::Lost(format!("cannot be opened: {error}"))),
        }
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

    fn identity(&self, index: u32) -> Result<Identity, GpuError> {
        let device = self.device(index)?;
        Ok(Identity {
            uuid: device.uuid().map_err(gpu_error)?,
            name: device.name().map_err(gpu_error)?,
        })
    }

    fn utilization_percent(&self, index: u32) -> Result<u32, GpuError> {
        let rates = self.device(index)?.utilization_rates().map_err(gpu_error)?;
        Ok(rates.gpu)
    }

    fn memory(&self, index: u32) -> Result<GpuMemory, GpuError> {
        let memory = self.device(index)?.memory_info().map_err(gpu_error)?;
        Ok(GpuMemory {
            used: memory.used,
            total: memory.total,
        })
    }

    fn power_milliwatts(&self, index: u32) -> Result<u32, GpuError> {
        self.device(index)?.power_usage().map_err(gpu_error)
    }

    fn energy_millijoules(&self, index: u32) -> Result<u64, GpuError> {
        let device = self.device(index)?;
        device.total_energy_consumption().map_err(gpu_error)
    }

    fn temperature_celsius(&self, index: u32) -> Result<u32, GpuError> {
        let device = self.device(index)?;
        device
            .temperature(TemperatureSensor::Gpu)
            .map_err(gpu_error)
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
