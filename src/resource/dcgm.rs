//! NVIDIA GPUs as dcgm-exporter tells of them: where the container was given no GPU of its own, or
//! the node's exporter is the agreed source.

use super::device::{DeviceLabels, DeviceValues};
use super::exposition::{Exposition, Sample};
use super::scrape::Scraper;
use super::{Reading, ResourceSettings, SampleError, Sampler};
use crate::transport::Endpoint;
use std::time::Duration;

/// How long a scrape may take. Answers come from the exporter's memory.
const LIMIT: Duration = Duration::from_secs(5);

const MEBIBYTE: f64 = 1_048_576.0;

/// From here on a number is DCGM's code for a value that is not known (`DCGM_FP64_BLANK`), unless it
/// counts.
const BLANK: f64 = 140_737_488_355_328.0;
/// The same of integers (`DCGM_INT64_BLANK`).
const BLANK_COUNT: f64 = 9_223_372_036_854_775_792.0;

/// DCGM does not tell an instance's own uuid; it is called by its GPU's, as drivers before 470 did.
const INSTANCE: &str = "MIG-";

/// Where dcgm-exporter is, and which of its GPUs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DcgmSettings {
    /// The whole URL of its page, or one without a path for `/metrics`.
    pub endpoint: Endpoint,
    /// Only these, by uuid or by index. Empty: whatever the pod filter leaves.
    pub gpus: Vec<String>,
    /// Only those of this pod.
    pub pod: Option<PodFilter>,
}

/// A pod, as dcgm-exporter names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFilter {
    /// Absent: in any namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether it was asked for. If not, it is our own guess, and means nothing where the exporter
    /// names no pods.
    pub required: bool,
}

/// Samples dcgm-exporter's page. Without a configured one it is unsupported.
pub(super) struct Dcgm(Option<(DcgmSettings, Scraper)>);

impl Dcgm {
    /// Looks at nothing yet.
    pub(super) fn new(settings: &ResourceSettings) -> Self {
        let wanted = settings.dcgm.clone();
        Self(wanted.map(|settings| {
            let scraper = Scraper::new(settings.endpoint.clone(), LIMIT);
            (settings, scraper)
        }))
    }
}

impl Sampler for Dcgm {
    fn name(&self) -> &'static str {
        "dcgm"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        let Some((settings, scraper)) = &mut self.0 else {
            let reason = "no `resources.dcgm_url` is configured";
            return Err(SampleError::Unsupported(reason.to_owned()));
        };
        let url = settings.endpoint.url();
        let failed = |problem| SampleError::Failed(format!("dcgm-exporter at `{url}`: {problem}"));
        let page = scraper.fetch().map_err(|error| failed(error.to_string()))?;
        let exposition = Exposition::parse(&page).map_err(|error| failed(error.to_string()))?;
        select(&exposition, settings)
    }
}

/// The readings of the GPUs that are meant.
fn select(
    exposition: &Exposition<'_>,
    settings: &DcgmSettings,
) -> Result<Vec<Reading>, SampleError> {
    let told: Vec<&Sample<'_>> = exposition
        .samples
        .iter()
        .filter(|sample| sample.name.starts_with("DCGM_FI_"))
        .collect();
    if told.is_empty() {
        let problem = "the page tells of no gpu: it is not dcgm-exporter's, or that is starting";
        return Err(SampleError::Failed(problem.to_owned()));
    }
    let names_pods = told.iter().any(|sample| pod(sample).is_some());
    let filter = settings.pod.as_ref();
    if filter.is_some_and(|filter| filter.required) && !names_pods {
        let problem = "dcgm-exporter names no pods; start it with `--kubernetes`";
        return Err(SampleError::Failed(problem.to_owned()));
    }
    let filter = filter.filter(|_| names_pods);
    let mut devices = Devices::default();
    for sample in told {
        let meant = filter.is_none_or(|filter| filter.fits(sample));
        if meant && is_listed(sample, &settings.gpus) {
            devices.add(sample);
        }
    }
    let missing: Vec<String> = settings
        .gpus
        .iter()
        .filter(|wanted| !devices.holds(wanted))
        .map(|wanted| format!("dcgm-exporter shows no gpu `{wanted}`"))
        .collect();
    let readings = devices.readings();
    match (missing.is_empty(), readings.is_empty()) {
        (true, false) => Ok(readings),
        (true, true) => Err(none_left(filter)),
        (false, true) => Err(SampleError::Failed(missing.join("; "))),
        (false, false) => Err(SampleError::Partial {
            readings,
            problem: missing.join("; "),
        }),
    }
}

fn none_left(filter: Option<&PodFilter>) -> SampleError {
    match filter {
        None => SampleError::Failed("dcgm-exporter shows no gpu with its uuid".to_owned()),
        Some(PodFilter { name, required, .. }) => {
            let reason = format!("dcgm-exporter shows no gpu of pod `{name}`");
            match required {
                true => SampleError::Failed(reason),
                false => SampleError::Unsupported(reason),
            }
        }
    }
}

/// The pod that a GPU is given to; empty where it is given to none.
fn pod<'a>(sample: &'a Sample<'_>) -> Option<&'a str> {
    sample.label("pod").filter(|pod| !pod.is_empty())
}

impl PodFilter {
    fn fits(&self, sample: &Sample<'_>) -> bool {
        let namespace = self.namespace.as_deref();
        pod(sample) == Some(&self.name)
            && namespace.is_none_or(|namespace| sample.label("namespace") == Some(namespace))
    }
}

fn is_listed(sample: &Sample<'_>, wanted: &[String]) -> bool {
    let labels = [sample.label("gpu"), sample.label("UUID")];
    let listed = |wanted: &String| labels.contains(&Some(wanted));
    wanted.is_empty() || wanted.iter().any(listed)
}

/// What the page says, GPU by GPU, in its order.
#[derive(Default)]
struct Devices(Vec<Device>);

struct Device {
    labels: DeviceLabels,
    /// Of the framebuffer, which is called memory everywhere else.
    free: Option<f64>,
    reserved: Option<f64>,
    values: DeviceValues,
}

impl Devices {
    /// A GPU that several pods share has several series of the same value: the first counts.
    fn add(&mut self, sample: &Sample<'_>) {
        let (Some(gpu), Some(uuid)) = (sample.label("gpu"), sample.label("UUID")) else {
            return;
        };
        let limit = match sample.name.ends_with("_CONSUMPTION") {
            true => BLANK_COUNT,
            false => BLANK,
        };
        if !(0.0..limit).contains(&sample.value) {
            return;
        }
        // What is told instance by instance is the whole GPU's all the same, but for the memory.
        let instance = sample
            .label("GPU_I_ID")
            .filter(|id| !id.is_empty() && sample.name.starts_with("DCGM_FI_DEV_FB_"));
        let (gpu, uuid) = match instance {
            None => (gpu.to_owned(), uuid.to_owned()),
            Some(id) => (format!("{gpu}:{id}"), format!("{INSTANCE}{uuid}/{id}")),
        };
        let known = self.0.iter().position(|one| one.labels.uuid == uuid);
        let device = match known.and_then(|index| self.0.get_mut(index)) {
            Some(device) => device,
            None => {
                let name = sample.label("modelName").unwrap_or_default();
                let profile = sample.label("GPU_I_PROFILE").unwrap_or_default();
                let name = match instance {
                    Some(_) if !profile.is_empty() => format!("{name} MIG {profile}"),
                    _ => name.to_owned(),
                };
                self.0.push(Device {
                    labels: DeviceLabels {
                        gpu,
                        uuid,
                        name,
                        source: "dcgm",
                    },
                    free: None,
                    reserved: None,
                    values: DeviceValues::default(),
                });
                let Some(device) = self.0.last_mut() else {
                    return;
                };
                device
            }
        };
        device.set(sample.name, sample.value);
    }

    /// Whether there is a GPU of this number or uuid, or an instance of it.
    fn holds(&self, wanted: &str) -> bool {
        self.0.iter().any(|device| {
            let gpu = device.labels.gpu.split(':').next();
            let uuid = device.labels.uuid.trim_start_matches(INSTANCE);
            gpu == Some(wanted) || uuid.split('/').next() == Some(wanted)
        })
    }

    fn readings(self) -> Vec<Reading> {
        let readings = self.0.into_iter().flat_map(|device| {
            let mut values = device.values;
            // Exporters before 3.0 say neither total nor reserve, and without these there is none.
            if let (None, Some(used), Some(free), Some(reserved)) = (
                values.memory_total,
                values.memory_used,
                device.free,
                device.reserved,
            ) {
                values.memory_total = Some(used + free + reserved);
            }
            values.readings(&device.labels)
        });
        readings.collect()
    }
}

impl Device {
    /// Field names and units are those of `dcgm_fields.h`.
    fn set(&mut self, field: &str, value: f64) {
        let values = &mut self.values;
        let Some(field) = field.strip_prefix("DCGM_FI_DEV_") else {
            return;
        };
        let (slot, value) = match field {
            "GPU_UTIL" => (&mut values.utilization, value / 100.0),
            "MEM_COPY_UTIL" => (&mut values.memory_utilization, value / 100.0),
            "FB_USED" => (&mut values.memory_used, value * MEBIBYTE),
            "FB_FREE" => (&mut self.free, value * MEBIBYTE),
            "FB_RESERVED" => (&mut self.reserved, value * MEBIBYTE),
            "FB_TOTAL" => (&mut values.memory_total, value * MEBIBYTE),
            "POWER_USAGE" => (&mut values.power, value),
            "ENFORCED_POWER_LIMIT" => (&mut values.power_limit, value),
            "TOTAL_ENERGY_CONSUMPTION" => (&mut values.energy, value / 1e3),
            "GPU_TEMP" => (&mut values.temperature, value),
            "SM_CLOCK" => (&mut values.sm_clock, value * 1e6),
            "MEM_CLOCK" => (&mut values.memory_clock, value * 1e6),
            "ECC_SBE_VOL_TOTAL" => (&mut values.ecc_corrected, value),
            "ECC_DBE_VOL_TOTAL" => (&mut values.ecc_uncorrected, value),
            // The first is its name since DCGM 3.3.
            "CLOCKS_EVENT_REASONS" | "CLOCK_THROTTLE_REASONS" => {
                values.throttle.get_or_insert(value as u64);
                return;
            }
            _ => return,
        };
        slot.get_or_insert(value);
    }
}

#[cfg(test)]
mod tests;
