//! The whole machine, from `/proc/stat`, `/proc/meminfo`, `/proc/self/net/dev`, `/proc/diskstats` and
//! `/proc/pressure`.

use super::cpu::CpuMeter;
use super::disk::Disks;
use super::process_table::TICKS_PER_SECOND;
use super::subject::Subject;
use super::{
    Reading, ResourceFamily, ResourceSettings, SampleError, Sampler, families, kernel_file,
    pressure,
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
    families::DISK_READ_BYTES,
    families::DISK_WRITE_BYTES,
    families::DISK_READS,
    families::DISK_WRITES,
    families::PRESSURE_SECONDS,
];

/// The node's ends of containers' links (plain veth, Calico, Cilium, GKE Dataplane V2, AWS and
/// Azure CNI). There are hundreds, their names live as long as a pod, and their traffic is seen
/// again at the node's own interface.
const CONTAINER_LINKS: [&str; 6] = ["veth", "cali", "lxc", "gke", "eni", "azv"];

/// Samples the machine. Inside a container `/proc/stat` and `/proc/meminfo` still speak of the
/// machine, while the network is that of our own namespace. Loopback is included: between a
/// sidecar and its runtime it is the traffic that matters.
#[derive(Debug)]
pub(super) struct Node {
    subject: Subject,
    proc_root: PathBuf,
    cpu: CpuMeter,
    disks: Disks,
}

impl Node {
    /// Reads below the settings' `proc_root`.
    pub(super) fn new(settings: &ResourceSettings) -> Self {
        Self {
            proc_root: settings.proc_root.clone(),
            cpu: CpuMeter::new(Subject::node()),
            disks: Disks::new(&settings.proc_root, &settings.sys_root),
            subject: Subject::node(),
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
        readings.push(families::CPU_LIMIT.of(&self.subject, &[], core_count(&text)));
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
        let mut readings = vec![families::MEMORY_LIMIT.of(&self.subject, &[], total)];
        for (kind, value) in kinds {
            readings
                .extend(value.map(|value| {
                    families::MEMORY_BYTES.of(&self.subject, &[kind], value.max(0.0))
                }));
        }
        Ok(readings)
    }

    fn network(&self) -> Result<Vec<Reading>, SampleError> {
        let path = self.proc_root.join("self/net/dev");
        let text = kernel_file::read(&path)?.unwrap_or_default();
        let interface = |line| interface(&self.subject, line);
        Ok(text.lines().filter_map(interface).flatten().collect())
    }

    /// What waits for a CPU is never all there is on a whole machine: the kernel writes a 0 there that
    /// means nothing.
    fn pressure(&self) -> Result<Vec<Reading>, SampleError> {
        let folder = self.proc_root.join("pressure");
        let mut readings = pressure::readings(&self.subject, |resource| folder.join(resource))?;
        readings.retain(|reading| {
            let values = reading.labels.iter().map(|(_, value)| value.as_str());
            !values.skip(2).eq(["cpu", "full"])
        });
        Ok(readings)
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
        readings.extend(self.disks.of_node(&self.subject)?);
        readings.extend(self.pressure()?);
        Ok(readings)
    }
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
fn interface(subject: &Subject, line: &str) -> Option<Vec<Reading>> {
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
    let reading = |(family, value): (ResourceFamily, f64)| family.of(subject, &[name], value);
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
            .file("proc/self/net/dev", DEV)
            .file("proc/pressure/cpu", "some total=2000000\nfull total=0\n")
            .file("proc/diskstats", "8 0 sda 1 0 2 0 3 0 4 0 0 0 0\n")
            .file("sys/block/sda/size", "1");
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
            ("llm_resource_pressure_seconds_total", "some", 2.0),
            ("llm_resource_disk_read_bytes_total", "sda", 1024.0),
        ];
        for (family, label, expected) in expected {
            assert_eq!(value(&readings, family, label), Some(expected), "{family}");
        }
        let count = 2 + 4 + 2 * 6 + 4 + 1;
        assert_eq!(readings.len(), count, "no veth, no first usage, no full");
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

    /// Whatever else this machine sends over loopback only adds, so the quietest of some tries counts.
    #[test]
    fn bytes_of_a_known_transfer_are_counted_within_a_hundredth() {
        const SENT: usize = 128 << 20;
        let mut node = Node::new(&ResourceSettings::default());
        let mut received = || {
            let readings = node.sample().unwrap();
            value(&readings, "llm_resource_network_receive_bytes_total", "lo").unwrap()
        };
        let tries = (0..5).map(|_| {
            let before = received();
            transfer(SENT);
            (received() - before) / SENT as f64
        });
        let least = tries.fold(f64::INFINITY, f64::min);
        assert!((0.99..=1.01).contains(&least), "{least}");
    }

    fn transfer(bytes: usize) {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let block = vec![7; 1 << 20];
            for _ in 0..bytes >> 20 {
                stream.write_all(&block).unwrap();
            }
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut block = vec![0; 1 << 20];
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut block) {
            read += more;
        }
        sender.join().unwrap();
        assert_eq!(read, bytes);
    }
}
