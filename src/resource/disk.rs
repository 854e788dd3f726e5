//! What went to and from disks: `/proc/diskstats` of the machine, `io.stat` or `blkio` of a control
//! group.

use super::cgroup::{Group, Version};
use super::subject::Subject;
use super::{Reading, ResourceFamily, SampleError, families, kernel_file};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What `/proc/diskstats` counts in, whatever the device's own sectors are.
const SECTOR_BYTES: f64 = 512.0;

/// Devices in memory or in files.
const NO_DISKS: [&str; 3] = ["loop", "ram", "zram"];

/// Which devices count: whole ones that are made of no others. A partition's bytes are its disk's, and
/// those of a volume or an array are seen again at the disks below: their sum would count them twice.
#[derive(Debug)]
pub(super) struct Disks {
    diskstats: PathBuf,
    sys_root: PathBuf,
    known: HashMap<String, bool>,
}

impl Disks {
    pub(super) fn new(proc_root: &Path, sys_root: &Path) -> Self {
        Self {
            diskstats: proc_root.join("diskstats"),
            sys_root: sys_root.to_path_buf(),
            known: HashMap::new(),
        }
    }

    /// The machine's.
    ///
    /// # Errors
    /// When `/proc/diskstats` is there and cannot be read.
    pub(super) fn of_node(&mut self, subject: &Subject) -> Result<Vec<Reading>, SampleError> {
        let text = kernel_file::read(&self.diskstats)?.unwrap_or_default();
        let mut readings = Vec::new();
        for line in text.lines() {
            let Some((_, name, counters)) = device(line) else {
                continue;
            };
            let &[reads, _, read, _, writes, _, written, ..] = counters.as_slice() else {
                continue;
            };
            if self.counts(name) {
                let values = [
                    (families::DISK_READ_BYTES, read * SECTOR_BYTES),
                    (families::DISK_WRITE_BYTES, written * SECTOR_BYTES),
                    (families::DISK_READS, reads),
                    (families::DISK_WRITES, writes),
                ];
                let reading =
                    |(family, value): (ResourceFamily, f64)| family.of(subject, &[name], value);
                readings.extend(values.map(reading));
            }
        }
        Ok(readings)
    }

    /// A control group's.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub(super) fn of_group(
        &mut self,
        group: &Group,
        subject: &Subject,
    ) -> Result<Vec<Reading>, SampleError> {
        let counts = counts_of(group)?;
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let text = kernel_file::read(&self.diskstats)?.unwrap_or_default();
        let names: HashMap<String, &str> = text
            .lines()
            .filter_map(device)
            .map(|(number, name, _)| (number, name))
            .collect();
        let mut readings = Vec::new();
        for count in &counts {
            // A device that is gone keeps its number, and counts go on being told.
            let name = names.get(&count.device).copied();
            if name.is_none_or(|name| self.counts(name)) {
                let name = name.unwrap_or(&count.device);
                readings.push(count.family.of(subject, &[name], count.value));
            }
        }
        Ok(readings)
    }

    fn counts(&mut self, name: &str) -> bool {
        if let Some(counts) = self.known.get(name) {
            return *counts;
        }
        let counts = self.is_whole(name);
        self.known.insert(name.to_owned(), counts);
        counts
    }

    fn is_whole(&self, name: &str) -> bool {
        let is_memory = NO_DISKS.iter().any(|prefix| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        // In sysfs the slash of a name is an exclamation mark.
        let dir = self.sys_root.join("block").join(name.replace('/', "!"));
        let below = std::fs::read_dir(dir.join("slaves"));
        let made_of_others = below.is_ok_and(|mut below| below.next().is_some());
        !is_memory && dir.is_dir() && !made_of_others
    }
}

/// `major:minor`, the name and the counters of a line of `/proc/diskstats`.
fn device(line: &str) -> Option<(String, &str, Vec<f64>)> {
    let mut words = line.split_ascii_whitespace();
    let number = format!("{}:{}", words.next()?, words.next()?);
    let name = words.next()?;
    let counters = words.map_while(|word| word.parse().ok()).collect();
    Some((number, name, counters))
}

/// One count of one device of a control group.
struct Count {
    device: String,
    family: ResourceFamily,
    value: f64,
}

fn counts_of(group: &Group) -> Result<Vec<Count>, SampleError> {
    match group.version {
        Version::V2 => {
            let text = kernel_file::read(&group.file("io.stat"))?.unwrap_or_default();
            Ok(text.lines().flat_map(v2_counts).collect())
        }
        Version::V1 => {
            let mut counts = v1_counts(
                group,
                "blkio.throttle.io_service_bytes",
                (families::DISK_READ_BYTES, families::DISK_WRITE_BYTES),
            )?;
            counts.extend(v1_counts(
                group,
                "blkio.throttle.io_serviced",
                (families::DISK_READS, families::DISK_WRITES),
            )?);
            Ok(counts)
        }
    }
}

/// Reads `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn v2_counts(line: &str) -> Vec<Count> {
    let mut words = line.split_ascii_whitespace();
    let Some(device) = words.next() else {
        return Vec::new();
    };
    let count = |word: &str| {
        let (key, value) = word.split_once('=')?;
        let family = match key {
            "rbytes" => families::DISK_READ_BYTES,
            "wbytes" => families::DISK_WRITE_BYTES,
            "rios" => families::DISK_READS,
            "wios" => families::DISK_WRITES,
            _ => return None,
        };
        Some(Count {
            device: device.to_owned(),
            family,
            value: value.parse().ok()?,
        })
    };
    words.filter_map(count).collect()
}

/// Reads lines of `8:0 Read 123`. Only the files that end so count the groups below as well.
fn v1_counts(
    group: &Group,
    file: &str,
    (read, written): (ResourceFamily, ResourceFamily),
) -> Result<Vec<Count>, SampleError> {
    let recursive = kernel_file::read(&group.file(&format!("{file}_recursive")))?;
    let text = match recursive {
        Some(text) => text,
        None => kernel_file::read(&group.file(file))?.unwrap_or_default(),
    };
    let count = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let device = words.next()?.to_owned();
        let family = match words.next()? {
            "Read" => read,
            "Write" => written,
            _ => return None,
        };
        let value = words.next()?.parse().ok()?;
        Some(Count {
            device,
            family,
            value,
        })
    };
    Ok(text.lines().filter_map(count).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Tree, value};
    use super::*;

    const DISKSTATS: &str = "   8  0 sda 100 1 2000 5 200 2 4000 6 0 7 8 0 0 0 0 0 0\n\
        \u{20}  8  1 sda1 90 1 1900 5 190 2 3900 6 0 7 8 0 0 0 0 0 0\n\
        \u{20}253  0 dm-0 100 0 2000 5 200 0 4000 6 0 7 8 0 0 0 0 0 0\n\
        \u{20}  7  0 loop0 5 0 10 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    fn disks(tree: &Tree) -> Disks {
        let settings = tree.settings();
        Disks::new(&settings.proc_root, &settings.sys_root)
    }

    fn machine() -> Tree {
        Tree::new()
            .file("proc/diskstats", DISKSTATS)
            .file("sys/block/sda/size", "1")
            .file("sys/block/dm-0/slaves/sda1/size", "1")
            .file("sys/block/loop0/size", "1")
    }

    #[test]
    fn only_whole_disks_that_are_made_of_no_others_count() {
        let readings = disks(&machine()).of_node(&Subject::node()).unwrap();
        assert_eq!(readings.len(), 4, "{readings:?}");
        for (family, expected) in [
            ("llm_resource_disk_read_bytes_total", 1_024_000.0),
            ("llm_resource_disk_write_bytes_total", 2_048_000.0),
            ("llm_resource_disk_reads_total", 100.0),
            ("llm_resource_disk_writes_total", 200.0),
        ] {
            assert_eq!(value(&readings, family, "sda"), Some(expected), "{family}");
        }
    }

    #[test]
    fn a_group_of_either_version_tells_by_number_and_is_reported_by_name() {
        let tree = machine();
        tree.write(
            "v2/io.stat",
            "8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n\
             253:0 rbytes=10 wbytes=20 rios=3 wios=4\n9:9 rbytes=7\n",
        );
        tree.write(
            "v1/blkio.throttle.io_service_bytes",
            "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
        );
        tree.write(
            "v1/blkio.throttle.io_serviced_recursive",
            "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
        );
        let root = tree.settings().proc_root;
        let root = root.parent().unwrap();
        for (version, folder, others) in [(Version::V2, "v2", 1), (Version::V1, "v1", 0)] {
            let group = Group::at(version, &root.join(folder));
            let readings = disks(&tree)
                .of_group(&group, &Subject::container())
                .unwrap();
            assert_eq!(readings.len(), 4 + others, "{readings:?}");
            for (family, expected) in [
                ("llm_resource_disk_read_bytes_total", 10.0),
                ("llm_resource_disk_write_bytes_total", 20.0),
                ("llm_resource_disk_reads_total", 3.0),
                ("llm_resource_disk_writes_total", 4.0),
            ] {
                assert_eq!(value(&readings, family, "sda"), Some(expected), "{family}");
            }
        }
    }
}
