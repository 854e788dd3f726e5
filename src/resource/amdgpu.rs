//! AMD GPUs, from what the kernel's driver `amdgpu` shows in sysfs: no library and no privilege.

use super::device::{DeviceLabels, DeviceValues};
use super::{Reading, ResourceSettings, SampleError, Sampler};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// AMD's PCI vendor id, as in the file `vendor`.
const VENDOR: &str = "0x1002";

/// Samples every card of AMD's, graphics units inside processors included: those serve models too.
pub(super) struct AmdGpu {
    cards: PathBuf,
    /// The devices of the sample before, to notice one that is gone.
    known: Vec<String>,
}

impl AmdGpu {
    /// Reads below the settings' `sys_root`.
    pub(super) fn new(settings: &ResourceSettings) -> Self {
        Self {
            cards: settings.sys_root.join("class/drm"),
            known: Vec::new(),
        }
    }
}

impl Sampler for AmdGpu {
    fn name(&self) -> &'static str {
        "amdgpu"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        let cards = cards(&self.cards)?;
        let mut problems = Vec::new();
        let mut readings = Vec::new();
        let mut present = Vec::new();
        for (number, folder) in cards {
            let mut card = Card {
                number,
                folder,
                problems: &mut problems,
            };
            let labels = card.labels();
            readings.extend(card.values().readings(&labels));
            present.push(labels.uuid);
        }
        for uuid in std::mem::take(&mut self.known) {
            if !present.contains(&uuid) {
                problems.push(format!("gpu `{uuid}` is no longer there"));
            }
        }
        self.known = present;
        let problem = problems.join("; ");
        match (problem.is_empty(), readings.is_empty()) {
            (true, false) => Ok(readings),
            (true, true) => Err(SampleError::Unsupported(
                "there is no gpu of the driver `amdgpu`".to_owned(),
            )),
            (false, true) => Err(SampleError::Failed(problem)),
            (false, false) => Err(SampleError::Partial { readings, problem }),
        }
    }
}

/// Number and device folder of AMD's cards, in order. Other entries are connectors and render nodes.
fn cards(folder: &Path) -> Result<Vec<(u32, PathBuf)>, SampleError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let problem = format!("cannot list `{}`: {error}", folder.display());
            return Err(SampleError::Failed(problem));
        }
    };
    let mut cards: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix("card")?.parse();
            Some((number.ok()?, entry.path().join("device")))
        })
        .filter(|(_, device)| {
            let vendor = std::fs::read_to_string(device.join("vendor"));
            vendor.is_ok_and(|vendor| vendor.trim() == VENDOR)
        })
        .collect();
    cards.sort();
    Ok(cards)
}

/// One card while it is read.
struct Card<'a> {
    number: u32,
    folder: PathBuf,
    problems: &'a mut Vec<String>,
}

impl Card<'_> {
    /// Consumer cards have no unique id; their place on the bus tells them apart.
    fn labels(&mut self) -> DeviceLabels {
        let unique = self.text("unique_id").filter(|id| !id.is_empty());
        let uevent = self.text("uevent").unwrap_or_default();
        let field = |key: &str| {
            let found = uevent.lines().find_map(|line| line.strip_prefix(key));
            found
                .and_then(|rest| rest.strip_prefix('='))
                .map(str::to_owned)
        };
        let uuid = unique
            .or_else(|| field("PCI_SLOT_NAME"))
            .unwrap_or_else(|| format!("card{}", self.number));
        let product = self.text("product_name").filter(|name| !name.is_empty());
        let name = product.unwrap_or_else(|| match field("PCI_ID") {
            Some(id) => format!("AMD {id}"),
            None => "AMD".to_owned(),
        });
        DeviceLabels {
            gpu: self.number.to_string(),
            uuid,
            name,
            source: "sysfs",
        }
    }

    fn values(&mut self) -> DeviceValues {
        let monitor = self.monitor();
        let mut sensor = |file: &str| self.number(&monitor.as_ref()?.join(file));
        // Average power is what older cards give, the present one what newer do.
        let power = sensor("power1_average").or_else(|| sensor("power1_input"));
        let power_limit = sensor("power1_cap");
        let energy = sensor("energy1_input");
        let temperature = sensor("temp1_input");
        let sm_clock = sensor("freq1_input");
        let memory_clock = sensor("freq2_input");
        let mut own = |file: &str| self.number(&self.folder.join(file));
        DeviceValues {
            utilization: own("gpu_busy_percent").map(|percent| percent / 100.0),
            memory_utilization: own("mem_busy_percent").map(|percent| percent / 100.0),
            memory_used: own("mem_info_vram_used"),
            memory_total: own("mem_info_vram_total"),
            power: power.map(|microwatts| microwatts / 1e6),
            power_limit: power_limit.map(|microwatts| microwatts / 1e6),
            energy: energy.map(|microjoules| microjoules / 1e6),
            temperature: temperature.map(|millidegrees| millidegrees / 1e3),
            sm_clock,
            memory_clock,
            ..DeviceValues::default()
        }
    }

    /// The card's folder of sensors; its number counts all of the machine's and says nothing.
    fn monitor(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.folder.join("hwmon")).ok()?;
        let mut folders: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        folders.sort();
        folders.into_iter().next()
    }

    fn text(&mut self, file: &str) -> Option<String> {
        self.read(&self.folder.join(file))
    }

    /// A file's number; below zero there is none of these values.
    fn number(&mut self, path: &Path) -> Option<f64> {
        let text = self.read(path)?;
        match text.parse::<f64>() {
            Ok(value) if value >= 0.0 => Some(value),
            _ => {
                self.fails(path, "it is no number from 0");
                None
            }
        }
    }

    /// What a card does not have, its driver either shows no file for, or refuses to read: neither
    /// is a failure.
    fn read(&mut self, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) => {
                let absent = [
                    ErrorKind::NotFound,
                    ErrorKind::NotADirectory,
                    ErrorKind::Unsupported,
                    ErrorKind::InvalidInput,
                ];
                if !absent.contains(&error.kind()) {
                    self.fails(path, &error.to_string());
                }
                None
            }
        }
    }

    fn fails(&mut self, path: &Path, why: &str) {
        let path = path.display();
        let problem = format!("gpu {}: cannot read `{path}`: {why}", self.number);
        self.problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::{Tree, value};

    const CARD: &str = "sys/class/drm/card1/device";

    /// An Instinct card as number 1, beside another vendor's card, a connector and a render node.
    fn tree() -> Tree {
        let tree = Tree::new()
            .file("sys/class/drm/card0/device/vendor", "0x10de\n")
            .file("sys/class/drm/card0/device/gpu_busy_percent", "99\n")
            .file("sys/class/drm/card1-DP-1/status", "connected\n")
            .file("sys/class/drm/renderD128/device/vendor", "0x1002\n")
            .file("sys/class/drm/version", "drm 1.1.0 20060810\n");
        let files = [
            ("vendor", "0x1002\n"),
            (
                "uevent",
                "DRIVER=amdgpu\nPCI_ID=1002:740F\nPCI_SLOT_NAME=0000:63:00.0\n",
            ),
            ("unique_id", "0x6fc1a2b3c4d5e6f7\n"),
            ("product_name", "AMD Instinct MI210\n"),
            ("gpu_busy_percent", "37\n"),
            ("mem_busy_percent", "12\n"),
            ("mem_info_vram_used", "1073741824\n"),
            ("mem_info_vram_total", "68702699520\n"),
            ("hwmon/hwmon4/power1_average", "250500000\n"),
            ("hwmon/hwmon4/power1_cap", "300000000\n"),
            ("hwmon/hwmon4/energy1_input", "1500000\n"),
            ("hwmon/hwmon4/temp1_input", "61000\n"),
            ("hwmon/hwmon4/freq1_input", "1700000000\n"),
            ("hwmon/hwmon4/freq2_input", "1600000000\n"),
        ];
        for (file, text) in files {
            tree.write(&format!("{CARD}/{file}"), text);
        }
        tree
    }

    fn amdgpu(tree: &Tree) -> AmdGpu {
        AmdGpu::new(&tree.settings())
    }

    #[test]
    fn values_come_in_base_units_from_amds_cards_only() {
        let readings = amdgpu(&tree()).sample().unwrap();
        let expected = [
            ("llm_gpu_utilization_ratio", "sysfs", 0.37),
            ("llm_gpu_memory_utilization_ratio", "sysfs", 0.12),
            ("llm_gpu_memory_used_bytes", "sysfs", 1_073_741_824.0),
            ("llm_gpu_memory_total_bytes", "sysfs", 68_702_699_520.0),
            ("llm_gpu_power_watts", "sysfs", 250.5),
            ("llm_gpu_power_limit_watts", "sysfs", 300.0),
            ("llm_gpu_energy_joules_total", "sysfs", 1.5),
            ("llm_gpu_temperature_celsius", "sysfs", 61.0),
            ("llm_gpu_clock_hertz", "sm", 1.7e9),
            ("llm_gpu_clock_hertz", "memory", 1.6e9),
        ];
        assert_eq!(readings.len(), expected.len());
        for (family, label, expected) in expected {
            assert_eq!(value(&readings, family, label), Some(expected), "{family}");
        }
        for reading in readings {
            let labels: Vec<&str> = reading.labels.iter().map(|(_, v)| v.as_str()).collect();
            let device = ["1", "0x6fc1a2b3c4d5e6f7", "AMD Instinct MI210", "sysfs"];
            assert_eq!(labels[..4], device);
        }
    }

    #[test]
    fn a_card_that_tells_less_is_named_by_its_place_and_gives_its_present_power() {
        let tree = Tree::new()
            .file(&format!("{CARD}/vendor"), "0x1002\n")
            .file(
                &format!("{CARD}/uevent"),
                "PCI_ID=1002:744C\nPCI_SLOT_NAME=0000:03:00.0\n",
            )
            .file(&format!("{CARD}/hwmon/hwmon0/power1_input"), "42000000\n");
        let readings = amdgpu(&tree).sample().unwrap();
        assert_eq!(readings.len(), 1);
        assert_eq!(value(&readings, "llm_gpu_power_watts", ""), Some(42.0));
        let labels: Vec<&str> = readings[0].labels.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(labels, ["1", "0000:03:00.0", "AMD 1002:744C", "sysfs"]);
    }

    #[test]
    fn a_value_that_cannot_be_read_is_absent_and_an_error() {
        let tree = tree();
        tree.write(&format!("{CARD}/gpu_busy_percent"), "busy\n");
        let answer = amdgpu(&tree).sample();
        let Err(SampleError::Partial { readings, problem }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(value(&readings, "llm_gpu_utilization_ratio", ""), None);
        assert_eq!(value(&readings, "llm_gpu_power_watts", ""), Some(250.5));
        assert!(problem.starts_with("gpu 1: cannot read `"), "{problem}");
        assert!(problem.contains("gpu_busy_percent"), "{problem}");
    }

    #[test]
    fn a_card_that_vanishes_is_an_error_once_and_leaves_the_others() {
        let second = "sys/class/drm/card2/device";
        let tree = tree()
            .file(&format!("{second}/vendor"), "0x1002\n")
            .file(&format!("{second}/unique_id"), "0x2\n")
            .file(&format!("{second}/gpu_busy_percent"), "5\n");
        let mut amdgpu = amdgpu(&tree);
        assert_eq!(amdgpu.sample().unwrap().len(), 11);
        tree.write(&format!("{second}/vendor"), "");
        let answer = amdgpu.sample();
        let Err(SampleError::Partial { readings, problem }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(readings.len(), 10);
        assert_eq!(problem, "gpu `0x2` is no longer there");
        assert!(amdgpu.sample().is_ok());
    }

    #[test]
    fn without_amds_cards_it_is_unsupported() {
        for tree in [
            Tree::new(),
            Tree::new().file("sys/class/drm/version", "drm"),
        ] {
            let answer = amdgpu(&tree).sample();
            assert!(matches!(answer, Err(SampleError::Unsupported(_))));
        }
    }
}
