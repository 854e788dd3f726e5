//! The control group that we run in: what it uses, what it may use, and how long it was held back.

use super::cgroup::{self, Group, Groups, Version};
use super::cpu::CpuMeter;
use super::disk::Disks;
use super::subject::Subject;
use super::{
    Reading, ResourceFamily, ResourceSettings, SampleError, Sampler, families, kernel_file,
    pressure,
};
use std::path::PathBuf;
use std::time::Instant;

/// What [`Container`] reports.
pub(super) const FAMILIES: &[ResourceFamily] = &[
    families::CPU_SECONDS,
    families::CPU_USAGE,
    families::CPU_LIMIT,
    families::CPU_THROTTLED,
    families::MEMORY_BYTES,
    families::MEMORY_LIMIT,
    families::DISK_READ_BYTES,
    families::DISK_WRITE_BYTES,
    families::DISK_READS,
    families::DISK_WRITES,
    families::PRESSURE_SECONDS,
];

/// What v1 says when there is no limit is `LONG_MAX` rounded down to a page; nothing that is
/// mounted anywhere has half as much.
const UNLIMITED_BYTES: f64 = (1_u64 << 62) as f64;

/// Samples our own control group. Each controller stands for itself: one in whose real root we
/// are, or whose files are missing, contributes nothing. Where that leaves nothing we run on the
/// machine itself, and this sampler is unsupported rather than a copy of `node`.
#[derive(Debug)]
pub(super) struct Container {
    subject: Subject,
    proc_root: PathBuf,
    sys_root: PathBuf,
    /// The text of `/proc/self/cgroup` and what it led to.
    located: Option<(String, Groups)>,
    cpu: CpuMeter,
    disks: Disks,
}

impl Container {
    /// Reads below the settings' roots.
    pub(super) fn new(settings: &ResourceSettings) -> Self {
        Self {
            proc_root: settings.proc_root.clone(),
            sys_root: settings.sys_root.clone(),
            located: None,
            cpu: CpuMeter::new(Subject::container()),
            disks: Disks::new(&settings.proc_root, &settings.sys_root),
            subject: Subject::container(),
        }
    }

    /// Our groups, looked for again only when we were moved.
    fn groups(&mut self) -> Result<Groups, SampleError> {
        let path = self.proc_root.join("self/cgroup");
        let Some(memberships) = kernel_file::read(&path)? else {
            let reason = format!("there is no `{}`", path.display());
            return Err(SampleError::Unsupported(reason));
        };
        if let Some((known, groups)) = &self.located
            && *known == memberships
        {
            return Ok(groups.clone());
        }
        let groups = cgroup::locate(&memberships, &self.proc_root, &self.sys_root)?;
        self.cpu.reset();
        self.located = Some((memberships, groups.clone()));
        Ok(groups)
    }
}

impl Sampler for Container {
    fn name(&self) -> &'static str {
        "container"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        let groups = self.groups()?;
        let mut readings = Vec::new();
        let at = Instant::now();
        match groups
            .cpuacct
            .as_ref()
            .map(cpu_seconds)
            .transpose()?
            .flatten()
        {
            Some(seconds) => readings.extend(self.cpu.readings(at, seconds)),
            None => self.cpu.reset(),
        }
        if let Some(group) = &groups.cpu {
            let limit = cpu_limit(group)?;
            readings.extend(limit.map(|cores| families::CPU_LIMIT.of(&self.subject, &[], cores)));
            let throttled = throttled_seconds(group)?;
            readings.extend(
                throttled.map(|seconds| families::CPU_THROTTLED.of(&self.subject, &[], seconds)),
            );
        }
        if let Some(group) = &groups.memory {
            memory(group, &self.subject, &mut readings)?;
        }
        if let Some(group) = &groups.disk {
            readings.extend(self.disks.of_group(group, &self.subject)?);
        }
        if let Some(group) = &groups.pressure {
            let file = |resource: &str| group.file(&format!("{resource}.pressure"));
            readings.extend(pressure::readings(&self.subject, file)?);
        }
        if readings.is_empty() {
            // Looked for anew next time: a group may get its controllers later.
            self.located = None;
            return Err(SampleError::Unsupported(
                "not in a control group of its own with a CPU or memory controller".to_owned(),
            ));
        }
        Ok(readings)
    }
}

fn cpu_seconds(group: &Group) -> Result<Option<f64>, SampleError> {
    match group.version {
        Version::V1 => {
            let nanos = kernel_file::read_number(&group.file("cpuacct.usage"))?;
            Ok(nanos.map(|nanos| nanos / 1e9))
        }
        Version::V2 => {
            let text = kernel_file::read(&group.file("cpu.stat"))?.unwrap_or_default();
            Ok(kernel_file::keyed(&text, "usage_usec").map(|micros| micros / 1e6))
        }
    }
}

/// The group's own quota only: a group whose parent is throttled does not see it.
pub(super) fn throttled_seconds(group: &Group) -> Result<Option<f64>, SampleError> {
    let text = kernel_file::read(&group.file("cpu.stat"))?.unwrap_or_default();
    Ok(match group.version {
        Version::V1 => kernel_file::keyed(&text, "throttled_time").map(|nanos| nanos / 1e9),
        Version::V2 => kernel_file::keyed(&text, "throttled_usec").map(|micros| micros / 1e6),
    })
}

/// The tightest quota of the group and its visible ancestors, in cores.
pub(super) fn cpu_limit(group: &Group) -> Result<Option<f64>, SampleError> {
    let mut tightest: Option<f64> = None;
    match group.version {
        Version::V1 => {
            let periods = group.lineage("cpu.cfs_period_us");
            for (quota, period) in group.lineage("cpu.cfs_quota_us").zip(periods) {
                let quota = kernel_file::read_number(&quota)?;
                let period = kernel_file::read_number(&period)?;
                tighten(&mut tightest, cores(quota, period));
            }
        }
        Version::V2 => {
            for path in group.lineage("cpu.max") {
                let text = kernel_file::read(&path)?.unwrap_or_default();
                // `max 100000` is no limit: `max` is no number.
                let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
                let quota = words.next().flatten();
                tighten(&mut tightest, cores(quota, words.next().flatten()));
            }
        }
    }
    Ok(tightest)
}

/// A quota of -1 is none.
fn cores(quota: Option<f64>, period: Option<f64>) -> Option<f64> {
    match (quota, period) {
        (Some(quota), Some(period)) if quota > 0.0 && period > 0.0 => Some(quota / period),
        _ => None,
    }
}

fn tighten(tightest: &mut Option<f64>, limit: Option<f64>) {
    if let Some(limit) = limit {
        *tightest = Some(tightest.map_or(limit, |other| other.min(limit)));
    }
}

/// `working_set` is what the kubelet evicts by: usage without the file pages that nobody touched
/// lately.
fn memory(
    group: &Group,
    subject: &Subject,
    readings: &mut Vec<Reading>,
) -> Result<(), SampleError> {
    let (usage, inactive_file, anonymous) = match group.version {
        Version::V1 => ("memory.usage_in_bytes", "total_inactive_file", "total_rss"),
        Version::V2 => ("memory.current", "inactive_file", "anon"),
    };
    let usage = kernel_file::read_number(&group.file(usage))?;
    let stat = kernel_file::read(&group.file("memory.stat"))?.unwrap_or_default();
    let inactive_file = kernel_file::keyed(&stat, inactive_file);
    let working_set = usage
        .zip(inactive_file)
        .map(|(all, idle)| (all - idle).max(0.0));
    let kinds = [
        ("usage", usage),
        ("working_set", working_set),
        ("anonymous", kernel_file::keyed(&stat, anonymous)),
    ];
    for (kind, value) in kinds {
        readings.extend(value.map(|value| families::MEMORY_BYTES.of(subject, &[kind], value)));
    }
    let limit = memory_limit(group, &stat)?;
    readings.extend(limit.map(|limit| families::MEMORY_LIMIT.of(subject, &[], limit)));
    Ok(())
}

/// The tightest limit of the group and its ancestors; v1 works it out itself.
pub(super) fn memory_limit(group: &Group, stat: &str) -> Result<Option<f64>, SampleError> {
    let mut tightest = None;
    match group.version {
        Version::V1 => tighten(
            &mut tightest,
            kernel_file::keyed(stat, "hierarchical_memory_limit"),
        ),
        Version::V2 => {
            for path in group.lineage("memory.max") {
                let text = kernel_file::read(&path)?.unwrap_or_default();
                tighten(&mut tightest, text.trim().parse().ok());
            }
        }
    }
    Ok(tightest.filter(|limit| *limit < UNLIMITED_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::{Tree, value};

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

    /// A container in a pod whose limits are the pod's.
    fn v2_pod() -> Tree {
        Tree::new()
            .file("proc/self/cgroup", "0::/pod/app\n")
            .file("proc/self/mountinfo", V2)
            .file("sys/fs/cgroup/pod/cpu.max", "50000 100000\n")
            .file("sys/fs/cgroup/pod/memory.max", "4096000\n")
            .file("sys/fs/cgroup/pod/app/cgroup.events", "populated 1\n")
            .file("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n")
            .file("sys/fs/cgroup/pod/app/memory.max", "max\n")
            .file("sys/fs/cgroup/pod/app/memory.current", "3000\n")
            .file(
                "sys/fs/cgroup/pod/app/memory.stat",
                "anon 1000\nfile 2000\ninactive_file 500\nactive_file 1500\n",
            )
            .file(
                "sys/fs/cgroup/pod/app/cpu.stat",
                "usage_usec 2500000\nuser_usec 1\nnr_throttled 4\nthrottled_usec 125000\n",
            )
            .file("sys/fs/cgroup/pod/app/io.stat", "9:1 rbytes=8192\n")
            .file(
                "sys/fs/cgroup/pod/app/memory.pressure",
                "some avg10=0.00 total=3000000\nfull avg10=0.00 total=1000000\n",
            )
    }

    #[test]
    fn a_v2_container_reports_usage_and_the_tightest_limit_above_it() {
        let tree = v2_pod();
        let readings = Container::new(&tree.settings()).sample().unwrap();
        let expected = [
            ("llm_resource_cpu_seconds_total", "", 2.5),
            ("llm_resource_cpu_limit_cores", "", 0.5),
            ("llm_resource_cpu_throttled_seconds_total", "", 0.125),
            ("llm_resource_memory_bytes", "usage", 3000.0),
            ("llm_resource_memory_bytes", "working_set", 2500.0),
            ("llm_resource_memory_bytes", "anonymous", 1000.0),
            ("llm_resource_memory_limit_bytes", "", 4_096_000.0),
            ("llm_resource_disk_read_bytes_total", "9:1", 8192.0),
            ("llm_resource_pressure_seconds_total", "some", 3.0),
            ("llm_resource_pressure_seconds_total", "full", 1.0),
        ];
        for (family, label, expected) in expected {
            assert_eq!(value(&readings, family, label), Some(expected), "{family}");
        }
        assert_eq!(readings.len(), expected.len());
    }

    #[test]
    fn without_limits_and_controllers_there_are_no_series_for_them() {
        let tree = Tree::new()
            .file("proc/self/cgroup", "0::/\n")
            .file("proc/self/mountinfo", V2)
            .file("sys/fs/cgroup/cgroup.events", "populated 1\n")
            .file("sys/fs/cgroup/cpu.max", "max 100000\n")
            .file("sys/fs/cgroup/cpu.stat", "usage_usec 1000000\n");
        let readings = Container::new(&tree.settings()).sample().unwrap();
        assert_eq!(readings.len(), 1, "{readings:?}");
        assert_eq!(
            value(&readings, "llm_resource_cpu_seconds_total", ""),
            Some(1.0)
        );
    }

    #[test]
    fn a_v1_container_is_read_with_its_own_units() {
        let unlimited = "total_inactive_file 100\ntotal_rss 700\n\
                         hierarchical_memory_limit 9223372036854771712\n";
        let tree = Tree::new()
            .file(
                "proc/self/cgroup",
                "5:cpuacct:/c\n4:memory:/c\n3:cpu:/c\n0::/\n",
            )
            .file("sys/fs/cgroup/cpuacct/c/cpuacct.usage", "2500000000\n")
            .file("sys/fs/cgroup/cpu/c/cpu.stat", "throttled_time 500000000\n")
            .file("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "20000\n")
            .file("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n")
            .file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
            .file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
            .file("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "1000\n")
            .file("sys/fs/cgroup/memory/c/memory.stat", unlimited);
        let mut container = Container::new(&tree.settings());
        let readings = container.sample().unwrap();
        let expected = [
            ("llm_resource_cpu_seconds_total", "", Some(2.5)),
            ("llm_resource_cpu_limit_cores", "", Some(0.2)),
            ("llm_resource_cpu_throttled_seconds_total", "", Some(0.5)),
            ("llm_resource_memory_bytes", "working_set", Some(900.0)),
            ("llm_resource_memory_bytes", "anonymous", Some(700.0)),
            ("llm_resource_memory_limit_bytes", "", None),
        ];
        for (family, label, expected) in expected {
            assert_eq!(value(&readings, family, label), expected, "{family}");
        }
        tree.write("sys/fs/cgroup/cpuacct/c/cpuacct.usage", "3000000000\n");
        let readings = container.sample().unwrap();
        let usage = value(&readings, "llm_resource_cpu_usage_cores", "").unwrap();
        assert!(usage > 0.0);
    }

    #[test]
    fn the_real_root_is_unsupported_and_a_torn_number_is_a_failure() {
        let root = Tree::new()
            .file("proc/self/cgroup", "0::/\n")
            .file("proc/self/mountinfo", V2)
            .file("sys/fs/cgroup/cpu.stat", "usage_usec 1000000\n");
        let sampled = Container::new(&root.settings()).sample();
        assert!(matches!(sampled, Err(SampleError::Unsupported(_))));
        let torn = v2_pod().file("sys/fs/cgroup/pod/app/memory.current", "");
        let sampled = Container::new(&torn.settings()).sample();
        assert!(matches!(sampled, Err(SampleError::Failed(_))));
    }
}
