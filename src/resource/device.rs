//! One GPU at one instant, whatever told of it.

use super::{Reading, ResourceFamily, families};

/// What every source of GPUs may report.
pub(super) const FAMILIES: &[ResourceFamily] = &[
    families::GPU_UTILIZATION,
    families::GPU_MEMORY_UTILIZATION,
    families::GPU_MEMORY_USED,
    families::GPU_MEMORY_TOTAL,
    families::GPU_POWER,
    families::GPU_POWER_LIMIT,
    families::GPU_ENERGY,
    families::GPU_TEMPERATURE,
    families::GPU_CLOCK,
    families::GPU_THROTTLE_REASON,
    families::GPU_ECC_ERRORS,
];

/// The bits that NVML and DCGM name, by the value of the label `reason`. Bits that a later driver
/// adds have no name here, and no series.
const THROTTLE_REASONS: [(u64, &str); 9] = [
    (0x1, "gpu_idle"),
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
];

/// The labels of a device's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceLabels {
    /// The source's own number; of a MIG instance, its GPU's, a colon, and its own.
    pub(super) gpu: String,
    pub(super) uuid: String,
    /// The product.
    pub(super) name: String,
    /// Who told.
    pub(super) source: &'static str,
}

/// A device's values in the families' base units. What it does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DeviceValues {
    pub(super) utilization: Option<f64>,
    pub(super) memory_utilization: Option<f64>,
    pub(super) memory_used: Option<f64>,
    pub(super) memory_total: Option<f64>,
    pub(super) power: Option<f64>,
    pub(super) power_limit: Option<f64>,
    pub(super) energy: Option<f64>,
    pub(super) temperature: Option<f64>,
    pub(super) sm_clock: Option<f64>,
    pub(super) memory_clock: Option<f64>,
    /// Bits of [`THROTTLE_REASONS`].
    pub(super) throttle: Option<u64>,
    pub(super) ecc_corrected: Option<f64>,
    pub(super) ecc_uncorrected: Option<f64>,
}

impl DeviceValues {
    /// One reading per known value; a device that has throttle reasons has a series of each, so
    /// that one that begins is a step from 0.
    pub(super) fn readings(self, labels: &DeviceLabels) -> Vec<Reading> {
        let Self {
            utilization,
            memory_utilization,
            memory_used,
            memory_total,
            power,
            power_limit,
            energy,
            temperature,
            sm_clock,
            memory_clock,
            throttle,
            ecc_corrected,
            ecc_uncorrected,
        } = self;
        let plain = [
            (families::GPU_UTILIZATION, utilization),
            (families::GPU_MEMORY_UTILIZATION, memory_utilization),
            (families::GPU_MEMORY_USED, memory_used),
            (families::GPU_MEMORY_TOTAL, memory_total),
            (families::GPU_POWER, power),
            (families::GPU_POWER_LIMIT, power_limit),
            (families::GPU_ENERGY, energy),
            (families::GPU_TEMPERATURE, temperature),
        ];
        let by_kind = [
            (families::GPU_CLOCK, "sm", sm_clock),
            (families::GPU_CLOCK, "memory", memory_clock),
            (families::GPU_ECC_ERRORS, "corrected", ecc_corrected),
            (families::GPU_ECC_ERRORS, "uncorrected", ecc_uncorrected),
        ];
        let reasons = THROTTLE_REASONS.iter().filter_map(|(bit, reason)| {
            let acts = throttle? & bit != 0;
            let value = Some(f64::from(u8::from(acts)));
            Some((families::GPU_THROTTLE_REASON, *reason, value))
        });
        let mut readings = Vec::new();
        for (family, value) in plain {
            readings.extend(value.map(|value| family.reading(labels.plain(), value)));
        }
        for (family, kind, value) in by_kind.into_iter().chain(reasons) {
            readings.extend(value.map(|value| family.reading(labels.and(kind), value)));
        }
        readings
    }
}

impl DeviceLabels {
    fn plain(&self) -> [String; 4] {
        [
            self.gpu.clone(),
            self.uuid.clone(),
            self.name.clone(),
            self.source.to_owned(),
        ]
    }

    fn and(&self, more: &str) -> [String; 5] {
        let [gpu, uuid, name, source] = self.plain();
        [gpu, uuid, name, source, more.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::value;

    fn labels() -> DeviceLabels {
        DeviceLabels {
            gpu: "0".to_owned(),
            uuid: "GPU-a".to_owned(),
            name: "NVIDIA L4".to_owned(),
            source: "nvml",
        }
    }

    #[test]
    fn a_device_that_tells_nothing_has_no_series() {
        assert!(DeviceValues::default().readings(&labels()).is_empty());
    }

    #[test]
    fn every_throttle_reason_has_its_series_and_a_bit_without_a_name_has_none() {
        let values = DeviceValues {
            throttle: Some(0x4 | 0x40 | 1 << 40),
            ..DeviceValues::default()
        };
        let readings = values.readings(&labels());
        assert_eq!(readings.len(), THROTTLE_REASONS.len());
        let of = |reason| value(&readings, "llm_gpu_throttle_reason", reason);
        assert_eq!(of("sw_power_cap"), Some(1.0));
        assert_eq!(of("hw_thermal_slowdown"), Some(1.0));
        assert_eq!(of("gpu_idle"), Some(0.0));
    }

    #[test]
    fn readings_carry_the_labels_that_their_family_declares() {
        let values = DeviceValues {
            power: Some(1.0),
            sm_clock: Some(2.0),
            throttle: Some(0),
            ecc_corrected: Some(3.0),
            ..DeviceValues::default()
        };
        for reading in values.readings(&labels()) {
            let family = FAMILIES.iter().find(|family| family.name == reading.family);
            let names: Vec<_> = reading.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, family.unwrap().labels);
        }
    }
}
