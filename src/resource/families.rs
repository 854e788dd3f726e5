//! Names, kinds, labels and help of everything that a sampler may report.

use super::FamilyKind::{Counter, Gauge};
use super::{FamilyKind, ResourceFamily};

const SCOPE: &[&str] = &["scope", "target"];
const MEMORY: &[&str] = &["scope", "target", "kind"];
const INTERFACE: &[&str] = &["scope", "target", "interface"];
const DEVICE: &[&str] = &["scope", "target", "device"];
const PRESSURE: &[&str] = &["scope", "target", "resource", "severity"];
const GPU: &[&str] = &["gpu", "uuid", "name", "source"];
const GPU_CLOCKS: &[&str] = &["gpu", "uuid", "name", "source", "clock"];
const GPU_REASON: &[&str] = &["gpu", "uuid", "name", "source", "reason"];
const GPU_ERROR: &[&str] = &["gpu", "uuid", "name", "source", "kind"];

const fn family(
    name: &'static str,
    kind: FamilyKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> ResourceFamily {
    ResourceFamily {
        name,
        kind,
        labels,
        help,
    }
}

/// CPU time spent.
pub const CPU_SECONDS: ResourceFamily = family(
    "llm_resource_cpu_seconds_total",
    Counter,
    SCOPE,
    "CPU time spent on work; neither idle, nor waiting for disks, nor stolen by a hypervisor. Of \
     processes: since they started, children included, living and waited for",
);

/// CPU time spent per second since the sample before.
pub const CPU_USAGE: ResourceFamily = family(
    "llm_resource_cpu_usage_cores",
    Gauge,
    SCOPE,
    "Cores in use on average between the last two samples; absent at the first",
);

/// The most that could be used.
pub const CPU_LIMIT: ResourceFamily = family(
    "llm_resource_cpu_limit_cores",
    Gauge,
    SCOPE,
    "Cores that may be used: the node's online cores, or the tightest CPU quota of the container \
     or of the processes' control group; absent without a quota",
);

/// Time held back by the quota.
pub const CPU_THROTTLED: ResourceFamily = family(
    "llm_resource_cpu_throttled_seconds_total",
    Counter,
    SCOPE,
    "Time for which its own CPU quota held the container, or the processes' control group, back, \
     summed over cores",
);

/// Memory by what is counted.
pub const MEMORY_BYTES: ResourceFamily = family(
    "llm_resource_memory_bytes",
    Gauge,
    MEMORY,
    "Memory by kind: usage counts everything, page cache included; working_set leaves out what \
     the kernel can take back at once; anonymous is what only swapping could free. Of processes: \
     rss is what is resident, shared pages counted in each; pss shares them out, and is read every \
     30 s at most, since the kernel walks every page for it",
);

/// The most memory there is.
pub const MEMORY_LIMIT: ResourceFamily = family(
    "llm_resource_memory_limit_bytes",
    Gauge,
    SCOPE,
    "Memory that may be used: all of the node's, or the tightest limit of the container or of the \
     processes' control group; absent without a limit",
);

/// Bytes in.
pub const NETWORK_RECEIVE_BYTES: ResourceFamily = family(
    "llm_resource_network_receive_bytes_total",
    Counter,
    INTERFACE,
    "Bytes received by an interface of our network namespace: in a pod, the pod's",
);

/// Bytes out.
pub const NETWORK_TRANSMIT_BYTES: ResourceFamily = family(
    "llm_resource_network_transmit_bytes_total",
    Counter,
    INTERFACE,
    "Bytes sent by an interface of our network namespace: in a pod, the pod's",
);

/// Packets in.
pub const NETWORK_RECEIVE_PACKETS: ResourceFamily = family(
    "llm_resource_network_receive_packets_total",
    Counter,
    INTERFACE,
    "Packets received by an interface of our network namespace",
);

/// Packets out.
pub const NETWORK_TRANSMIT_PACKETS: ResourceFamily = family(
    "llm_resource_network_transmit_packets_total",
    Counter,
    INTERFACE,
    "Packets sent by an interface of our network namespace",
);

/// Errors in.
pub const NETWORK_RECEIVE_ERRORS: ResourceFamily = family(
    "llm_resource_network_receive_errors_total",
    Counter,
    INTERFACE,
    "Receive errors of an interface of our network namespace",
);

/// Errors out.
pub const NETWORK_TRANSMIT_ERRORS: ResourceFamily = family(
    "llm_resource_network_transmit_errors_total",
    Counter,
    INTERFACE,
    "Transmit errors of an interface of our network namespace",
);

/// Bytes from disks.
pub const DISK_READ_BYTES: ResourceFamily = family(
    "llm_resource_disk_read_bytes_total",
    Counter,
    DEVICE,
    "Bytes read from a disk; of processes from all disks together, without what the page cache had",
);

/// Bytes to disks.
pub const DISK_WRITE_BYTES: ResourceFamily = family(
    "llm_resource_disk_write_bytes_total",
    Counter,
    DEVICE,
    "Bytes written to a disk; of processes to all disks together, counted when a page is dirtied",
);

/// Operations from disks.
pub const DISK_READS: ResourceFamily = family(
    "llm_resource_disk_reads_total",
    Counter,
    DEVICE,
    "Reads that a disk has completed",
);

/// Operations to disks.
pub const DISK_WRITES: ResourceFamily = family(
    "llm_resource_disk_writes_total",
    Counter,
    DEVICE,
    "Writes that a disk has completed",
);

/// Time lost to a lack of resources.
pub const PRESSURE_SECONDS: ResourceFamily = family(
    "llm_resource_pressure_seconds_total",
    Counter,
    PRESSURE,
    "Time in which tasks waited for a resource (cpu, memory, io): severity some is at least one of \
     them, full is all that were not idle at once",
);

/// Open files.
pub const OPEN_FDS: ResourceFamily = family(
    "llm_resource_open_fds",
    Gauge,
    SCOPE,
    "File descriptors that the processes have open",
);

/// Threads.
pub const THREADS: ResourceFamily = family(
    "llm_resource_threads",
    Gauge,
    SCOPE,
    "Threads of the processes",
);

/// Processes.
pub const PROCESSES: ResourceFamily = family(
    "llm_resource_processes",
    Gauge,
    SCOPE,
    "Processes that serve the target: those that listen, and all of their descendants",
);

/// When it started.
pub const START_TIME: ResourceFamily = family(
    "llm_resource_process_start_time_seconds",
    Gauge,
    SCOPE,
    "When the process that serves the target started, Unix time; of several, the oldest",
);

/// Restarts.
pub const RESTARTS: ResourceFamily = family(
    "llm_resource_restarts_total",
    Counter,
    SCOPE,
    "How often another process was found to serve the target than before",
);

/// How much can be seen.
pub const SAMPLER_INFO: ResourceFamily = family(
    "llm_resource_sampler_info",
    Gauge,
    &["target", "level"],
    "1 for what can be seen of the processes that serve a target: none (not on this machine, or not \
     found), procfs (CPU, rss, threads, start), procfs_full (disks and pss too), cgroup (throttling \
     and limits of their control group too)",
);

/// What we may not read.
pub const READ_ERRORS: ResourceFamily = family(
    "llm_resource_read_errors_total",
    Counter,
    &["target", "file"],
    "Files of the processes that serve a target which could not be read, mostly for want of \
     permission; tried again every 30 s, and what they would tell is absent",
);

/// How busy a GPU is.
pub const GPU_UTILIZATION: ResourceFamily = family(
    "llm_gpu_utilization_ratio",
    Gauge,
    GPU,
    "Share of the driver's last sampling period in which at least one kernel ran on the GPU: \
     busy, not full",
);

/// How busy a GPU's memory is.
pub const GPU_MEMORY_UTILIZATION: ResourceFamily = family(
    "llm_gpu_memory_utilization_ratio",
    Gauge,
    GPU,
    "Share of the driver's last sampling period in which the GPU's memory was read or written: \
     how busy it is, not how full",
);

/// GPU memory in use.
pub const GPU_MEMORY_USED: ResourceFamily = family(
    "llm_gpu_memory_used_bytes",
    Gauge,
    GPU,
    "Memory of the GPU that is allocated, without what the driver reserves; a MIG instance's, a \
     series of its own, is part of its GPU's",
);

/// GPU memory there is.
pub const GPU_MEMORY_TOTAL: ResourceFamily = family(
    "llm_gpu_memory_total_bytes",
    Gauge,
    GPU,
    "Memory of the GPU, with what the driver reserves",
);

/// Power drawn.
pub const GPU_POWER: ResourceFamily = family(
    "llm_gpu_power_watts",
    Gauge,
    GPU,
    "Power that the GPU and its board draw",
);

/// The most power it may draw.
pub const GPU_POWER_LIMIT: ResourceFamily = family(
    "llm_gpu_power_limit_watts",
    Gauge,
    GPU,
    "Power that the driver keeps the GPU below: the lowest of all limits in force",
);

/// Energy drawn.
pub const GPU_ENERGY: ResourceFamily = family(
    "llm_gpu_energy_joules_total",
    Counter,
    GPU,
    "Energy that the GPU drew since its driver was loaded",
);

/// How hot it is.
pub const GPU_TEMPERATURE: ResourceFamily = family(
    "llm_gpu_temperature_celsius",
    Gauge,
    GPU,
    "Temperature of the GPU's die",
);

/// How fast its clocks run.
pub const GPU_CLOCK: ResourceFamily = family(
    "llm_gpu_clock_hertz",
    Gauge,
    GPU_CLOCKS,
    "Frequency at which the GPU's processors (sm) or its memory run now",
);

/// What holds its clocks down.
pub const GPU_THROTTLE_REASON: ResourceFamily = family(
    "llm_gpu_throttle_reason",
    Gauge,
    GPU_REASON,
    "Whether this holds the GPU's clocks down now, by NVML's names; gpu_idle only means that \
     nothing runs",
);

/// Errors of its memory.
pub const GPU_ECC_ERRORS: ResourceFamily = family(
    "llm_gpu_ecc_errors_total",
    Counter,
    GPU_ERROR,
    "Memory errors of the GPU since its driver was loaded, corrected (nothing was lost) or \
     uncorrected",
);
