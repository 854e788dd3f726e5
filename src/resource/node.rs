//! The whole machine, from `/proc/stat`, `/proc/meminfo` and `/proc/self/net/dev`.

use super::cpu::CpuMeter;
use super::{
    Reading, ResourceFamily, ResourceSettings, SampleError, Sampler, Scope, families, kernel_file,
};
use std::path::PathBuf;
use std::time::Instant;

/// What [`Node`] reports.
pub(super) const FAMILIES: &[ResourceFamily] = &[
    families::CPU_SECONDS,
    families::CPU_USAGE,
    families::CPU_LIMIT,
    families::MEMORY_BYTES,
    families::MEMORY_LIMIT,
    families::NETWORK_RECEIVE_BYTES,
    families::NETWORK_TRANSMIT_BYTES,
    families::NETWORK_RECEIVE_PACKETS,
    families::NETWORK_TRANSMIT_PACKETS,
    families::NETWORK_RECEIVE_ERRORS,
    families::NETWORK_TRANSMIT_ERRORS,
];

/// The kernel's user-visible clock tick. 100 on every architecture that runs an LLM, whatever
/// the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The node's ends of containers' links (plain veth, Calico, Cilium, GKE Dataplane V2, AWS and
/// Azure CNI). There are hundreds, their names live as long as a pod, and their traffic is seen
/// again at the node's own interface.
const CONTAINER_LINKS: [&str; 6] = ["veth", "cali", "lxc", "gke", "eni", "azv"];

/// Samples the machine. Inside a container `/proc/stat` and `/proc/meminfo` still speak of the
/// machine, while the network is that of our own namespace. Loopback is included: between a
/// sidecar and its runtime it is the traffic that matters.
#[derive(Debug)]
pub(super) struct Node {
    proc_root: PathBuf,
    cpu: CpuMeter,
}

impl Node {
    /// Reads below the settings' `proc_root`.
    pub(super) fn new(settings: &ResourceSettings) -> Self {
        Self {
            proc_root: settings.proc_root.clone(),
            cpu: CpuMeter::new(Scope::Node),
        }
    }

    fn cpu(&mut self) -> Result<Vec<Reading>, SampleError> {
        let path = self.proc_root.join("stat");
        let at = Instant::now();
        let Some(text) = kernel_file::read(&path)? else {
            let reason = format!("there is no `{}`", path.display());
            return Err(SampleError::Unsupported(reason));
        };
        let seconds =
            busy_seconds(&text).ok_or_else(|| kernel_file::malformed(&path, "no `cpu` line"))?;
        let mut readings = self.cpu.readings(at, seconds);
        readings.push(families::CPU_LIMIT.reading([scope()], core_count(&text)));
        Ok(readings)
    }

    fn memory(&self) -> Result<Vec<Reading>, SampleError> {
        let path = self.proc_root.join("meminfo");
        let Some(text) = kernel_file::read(&path)? else {
            return Ok(Vec::new());
        };
        let bytes = |key| kernel_file::keyed(&text, key).map(|kibibytes| kibibytes * 1024.0);
        let total =
            bytes("MemTotal").ok_or_else(|| kernel_file::malformed(&path, "no `MemTotal`"))?;
        let kinds = [
            ("usage", bytes("MemFree").map(|free| total - free)),
            (
                "working_set",
                bytes("MemAvailable").map(|available| total - available),
            ),
            ("anonymous", bytes("AnonPages")),
        ];
        let mut readings = vec![families::MEMORY_LIMIT.reading([scope()], total)];
        for (kind, value) in kinds {
            readings.extend(value.map(|value| {
                families::MEMORY_BYTES.reading([scope(), kind.to_owned()], value.max(0.0))
            }));
        }
        Ok(readings)
    }

    fn network(&self) -> Result<Vec<Reading>, SampleError> {
        let path = self.proc_root.join("self/net/dev");
        let text = kernel_file::read(&path)?.unwrap_or_default();
        Ok(text.lines().filter_map(interface).flatten().collect())
    }
}

impl Sampler for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        let mut readings = self.cpu()?;
        readings.extend(self.memory()?);
        readings.extend(self.network()?);
        Ok(readings)
    }
}

fn scope() -> String {
    Scope::Node.as_str().to_owned()
}

/// user + nice + system + irq + softirq. Guests are inside user and nice already; idle, iowait
/// and steal are no work done here.
fn busy_seconds(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let &[user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks.as_slice() else {
        return None;
    };
    Some((user + nice + system + irq + softirq) / TICKS_PER_SECOND)
}

/// Cores that are switched on: `cpu0`, `cpu1`, …
fn core_count(stat: &str) -> f64 {
    let is_core = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stat.lines().filter(is_core).count() as f64
}

/// The readings of one line of `/proc/net/dev`; `None` for headings and containers' links.
fn interface(line: &str) -> Option<Vec<Reading>> {
    let (name, counters) = line.rsplit_once(':')?;
    let name = name.trim();
    if CONTAINER_LINKS.iter().any(|link| name.starts_with(link)) {
        return None;
    }
    let counters: Vec<f64> = counters
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let &[
        receive_bytes,
        receive_packets,
        receive_errors,
        _,
        _,
        _,
        _,
        _,
        transmit_bytes,
        transmit_packets,
        transmit_errors,
        ..,
    ] = counters.as_slice()
    else {
        return None;
    };
    let values = [
        (families::NETWORK_RECEIVE_BYTES, receive_bytes),
        (families::NETWORK_TRANSMIT_BYTES, transmit_bytes),
        (families::NETWORK_RECEIVE_PACKETS, receive_packets),
        (families::NETWORK_TRANSMIT_PACKETS, transmit_packets),
        (families::NETWORK_RECEIVE_ERRORS, receive_errors),
        (families::NETWORK_TRANSMIT_ERRORS, transmit_errors),
    ];
    let reading =
        |(family, value): (ResourceFamily, f64)| family.reading([scope(), name.to_owned()], value);
    Some(values.into_iter().map(reading).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::{Tree, value};

    const STAT: &str = "cpu  1000 200 300 9000 400 50 50 700 100 10\n\
                        cpu0 500 100 150 4500 200 25 25 350 50 5\n\
                        cpu1 500 100 150 4500 200 25 25 350 50 5\n\
                        intr 12 0\nctxt 9\n";
    const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:         300 kB\n\
                           MemAvailable:    600 kB\nAnonPages:       250 kB\n";
    const DEV: &str = "Inter-|   Receive                    |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n\
        \u{20}   lo: 70 7 0 0 0 0 0 0 70 7 0 0 0 0 0 0\n\
        \u{20} eth0:9000000000 90 1 2 0 0 0 0 80 8 3 0 0 0 0 0\n\
        veth12ab: 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5\n";

    fn node(tree: &Tree) -> Node {
        Node::new(&tree.settings())
    }

    #[test]
    fn the_machine_is_read_from_proc() {
        let tree = Tree::new()
            .file("proc/stat", STAT)
            .file("proc/meminfo", MEMINFO)
            .file("proc/self/net/dev", DEV);
        let readings = node(&tree).sample().unwrap();
        let expected = [
            ("llm_resource_cpu_seconds_total", "", 16.0),
            ("llm_resource_cpu_limit_cores", "", 2.0),
            ("llm_resource_memory_limit_bytes", "", 1_024_000.0),
            ("llm_resource_memory_bytes", "usage", 716_800.0),
            ("llm_resource_memory_bytes", "working_set", 409_600.0),
            ("llm_resource_memory_bytes", "anonymous", 256_000.0),
            ("llm_resource_network_receive_bytes_total", "lo", 70.0),
            ("llm_resource_network_receive_bytes_total", "eth0", 9e9),
            ("llm_resource_network_transmit_packets_total", "eth0", 8.0),
            ("llm_resource_network_receive_errors_total", "eth0", 1.0),
            ("llm_resource_network_transmit_errors_total", "eth0", 3.0),
        ];
        for (family, label, expected) in expected {
            assert_eq!(value(&readings, family, label), Some(expected), "{family}");
        }
        assert_eq!(readings.len(), 2 + 4 + 2 * 6, "no veth, no first usage");
    }

    #[test]
    fn a_machine_without_proc_is_unsupported_and_a_torn_file_is_a_failure() {
        let none = Tree::new();
        assert!(matches!(
            node(&none).sample(),
            Err(SampleError::Unsupported(_))
        ));
        let torn = Tree::new().file("proc/stat", "cpu  1 2 3\n");
        let error = node(&torn).sample().unwrap_err();
        assert!(matches!(&error, SampleError::Failed(text) if text.ends_with("no `cpu` line")));
    }

    #[test]
    fn what_an_old_kernel_does_not_say_is_absent() {
        let tree = Tree::new()
            .file("proc/stat", STAT)
            .file("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 300 kB\n");
        let readings = node(&tree).sample().unwrap();
        let family = "llm_resource_memory_bytes";
        assert_eq!(value(&readings, family, "working_set"), None);
        assert_eq!(value(&readings, family, "usage"), Some(716_800.0));
    }
}
