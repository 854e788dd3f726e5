//! The processes that serve our targets: found from the socket that listens at a target's port, with all
//! of their descendants, and found again after a restart.
//!
//! Looking through everybody's open files is what costs. It is done when a target's process is gone and
//! another socket listens, and every [`SEARCH_EVERY`] in case the port went to somebody else; in between,
//! only the processes found and those that are new are looked at.

use super::attribution::{self, Holders, Server};
use super::listener::{listeners, local_addresses, serving, serving_locally};
use super::process_table::{Pid, ProcessKey, ProcessTable};
use super::process_targets::{ProcessTarget, ProcessTargets};
use super::served::Served;
use super::subject::Subject;
use super::{Reading, ResourceFamily, ResourceSettings, SampleError, Sampler, families};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What [`Process`] reports.
pub(super) const FAMILIES: &[ResourceFamily] = &[
    families::CPU_SECONDS,
    families::CPU_USAGE,
    families::CPU_LIMIT,
    families::CPU_THROTTLED,
    families::MEMORY_BYTES,
    families::MEMORY_LIMIT,
    families::DISK_READ_BYTES,
    families::DISK_WRITE_BYTES,
    families::OPEN_FDS,
    families::THREADS,
    families::PROCESSES,
    families::START_TIME,
    families::RESTARTS,
    families::SAMPLER_INFO,
    families::READ_ERRORS,
];

/// How often everything is looked for anew, and what was refused is tried again.
const SEARCH_EVERY: Duration = Duration::from_secs(30);

/// A process takes its name some time after it was started; so long after one came, those that are
/// looked for by name are looked for again.
const NAMED_WITHIN: Duration = Duration::from_secs(5);

/// For so long after a process came, a socket that listens may be its own: a model takes a while to load.
const NEWCOMER_FOR: Duration = Duration::from_secs(120);

/// How often the sockets are listed without a newcomer. It takes the kernel some ten milliseconds, since it
/// walks through a table for all the connections that there could be.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// Samples the processes of every target that is on this machine.
#[derive(Debug)]
pub(super) struct Process {
    proc_root: PathBuf,
    hosts_file: PathBuf,
    targets: ProcessTargets,
    table: ProcessTable,
    tracked: Vec<Tracked>,
    searched: Option<Instant>,
    /// When the listening sockets were last listed.
    listed: Option<Instant>,
    /// When a process was last seen for the first time.
    arrival: Option<Instant>,
}

/// A target, and what is known of who serves it.
#[derive(Debug)]
struct Tracked {
    target: ProcessTarget,
    subject: Subject,
    /// Its addresses on this machine; none where it is elsewhere.
    addresses: Vec<IpAddr>,
    /// The sockets that were looked for last.
    inodes: Vec<u64>,
    served: Option<Served>,
    /// Who served it last, for as long as nobody else does.
    last: Option<ProcessKey>,
    restarts: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Process {
    /// Reads below the settings' `proc_root`.
    pub(super) fn new(settings: &ResourceSettings, targets: ProcessTargets) -> Self {
        Self {
            proc_root: settings.proc_root.clone(),
            hosts_file: settings.hosts_file.clone(),
            table: ProcessTable::new(&settings.proc_root),
            targets,
            tracked: Vec::new(),
            searched: None,
            listed: None,
            arrival: None,
        }
    }

    fn sample_at(&mut self, now: Instant) -> Result<Vec<Reading>, SampleError> {
        let has_new = self.follow();
        let stale = |at: Instant| now.saturating_duration_since(at) >= SEARCH_EVERY;
        let all = has_new || self.searched.is_none_or(stale);
        if all {
            for tracked in &mut self.tracked {
                let host = &tracked.target.host;
                tracked.addresses = local_addresses(host, &self.proc_root, &self.hosts_file);
            }
            self.table.forget();
        }
        if self.tracked.iter().any(Tracked::is_here) {
            if self.table.refresh()? {
                self.arrival = Some(now);
            }
            for tracked in &mut self.tracked {
                tracked.notice_end(&self.table);
            }
            self.search(all, now)?;
        }
        if all {
            self.searched = Some(now);
        }
        let mut readings = Vec::new();
        for tracked in &mut self.tracked {
            readings.extend(tracked.readings(&self.table));
            let tree = tracked.served.as_ref().map(|served| served.tree.clone());
            self.targets.set_found(&tracked.target.name, tree);
        }
        Ok(readings)
    }

    /// Takes up the targets of now; tells whether any is new.
    fn follow(&mut self) -> bool {
        let wanted = self.targets.wanted();
        self.tracked
            .retain(|tracked| wanted.contains(&tracked.target));
        let mut has_new = false;
        for target in wanted.iter() {
            let known = self.tracked.iter().any(|one| one.target == *target);
            if !known {
                self.tracked.push(Tracked::new(target.clone()));
                has_new = true;
            }
        }
        has_new
    }

    /// Looks for who serves, of all targets or of those whose process is gone.
    fn search(&mut self, all: bool, now: Instant) -> Result<(), SampleError> {
        let lost = |tracked: &Tracked| tracked.is_here() && (all || tracked.served.is_none());
        if !self.tracked.iter().any(lost) {
            return Ok(());
        }
        let young = |at: Instant, limit: Duration| now.saturating_duration_since(at) <= limit;
        let newcomer = self.arrival.is_some_and(|at| young(at, NEWCOMER_FOR));
        let rested = self.listed.is_none_or(|at| !young(at, LIST_EVERY));
        if !(all || newcomer || rested) {
            return Ok(());
        }
        self.listed = Some(now);
        let listening = listeners(&self.proc_root)?;
        let mut wanted = HashSet::new();
        let mut by_socket = Vec::new();
        let may_be_named = |at: Instant| now.saturating_duration_since(at) <= NAMED_WITHIN;
        let by_name = all || self.arrival.is_some_and(may_be_named);
        let us = us(&self.proc_root);
        for (index, tracked) in self.tracked.iter_mut().enumerate() {
            if !lost(tracked) {
                continue;
            }
            if let Some(process) = &tracked.target.process {
                if by_name {
                    let server = attribution::called(process, &self.table, us);
                    tracked.is_served_by(server, &self.table);
                }
                continue;
            }
            let inodes = match &tracked.target.socket {
                Some(path) => serving_locally(&self.proc_root, path)?,
                None => serving(&listening, &tracked.addresses, tracked.target.port),
            };
            if all || inodes != tracked.inodes {
                wanted.extend(inodes.iter().copied());
                tracked.inodes = inodes;
                by_socket.push(index);
            }
        }
        let holders = Holders::of(&wanted, &self.table);
        for index in by_socket {
            if let Some(tracked) = self.tracked.get_mut(index) {
                let server = holders.server(&tracked.inodes, &self.table);
                if server.is_none() && !tracked.inodes.is_empty() && holders.some_refused {
                    tracked.holder_is_hidden();
                }
                tracked.is_served_by(server, &self.table);
            }
        }
        Ok(())
    }
}

impl Sampler for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn sample(&mut self) -> Result<Vec<Reading>, SampleError> {
        self.sample_at(Instant::now())
    }
}

/// Our own id, as the mounted `/proc` counts.
fn us(proc_root: &std::path::Path) -> Option<Pid> {
    let link = std::fs::read_link(proc_root.join("self")).ok()?;
    link.to_str()?.parse().ok()
}

impl Tracked {
    fn new(target: ProcessTarget) -> Self {
        Self {
            subject: Subject::process(target.name.clone()),
            target,
            addresses: Vec::new(),
            inodes: Vec::new(),
            served: None,
            last: None,
            restarts: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Whether there is anything to look for.
    fn is_here(&self) -> bool {
        !self.addresses.is_empty() || self.target.process.is_some()
    }

    fn holder_is_hidden(&mut self) {
        let count = self.refused.entry("fd").or_default();
        *count += 1;
        if *count == 1 {
            tracing::info!(
                target = %self.target.name,
                "somebody listens for the target whose open files may not be seen; \
                 say in `targets[].process` how the process is called"
            );
        }
    }

    fn notice_end(&mut self, table: &ProcessTable) {
        let ended = self.served.as_ref().is_some_and(|served| {
            let root = served.tree.root;
            let stat = table.stat(root.pid);
            !stat.is_some_and(|stat| stat.key(root.pid) == root && !stat.is_zombie)
        });
        if ended {
            tracing::info!(target = %self.target.name, "the process that serves the target has ended");
            self.served = None;
            // Whoever it was may have left the very socket to its successor.
            self.inodes.clear();
        }
    }

    fn is_served_by(&mut self, server: Option<Server>, table: &ProcessTable) {
        let Some(server) = server else {
            self.served = None;
            return;
        };
        let (root, name) = (server.root, &self.target.name);
        match &mut self.served {
            Some(served) if served.tree.root == root => {
                served.found_again(server.roots, table);
                return;
            }
            _ => self.served = Some(Served::new(server, self.subject.clone(), table)),
        }
        match self.last.replace(root) {
            Some(last) if last == root => {}
            Some(_) => {
                self.restarts += 1;
                tracing::info!(target = %name, pid = root.pid, "another process serves the target now");
            }
            None => {
                tracing::info!(target = %name, pid = root.pid, "the process that serves the target is found")
            }
        }
    }

    fn readings(&mut self, table: &ProcessTable) -> Vec<Reading> {
        let mut readings = Vec::new();
        let mut level = "none";
        if let Some(served) = &mut self.served {
            match served.readings(table, &mut self.refused) {
                Some(told) => {
                    readings = told;
                    level = served.level();
                }
                None => self.served = None,
            }
        }
        if self.last.is_some() {
            let restarts = self.restarts as f64;
            readings.push(families::RESTARTS.of(&self.subject, &[], restarts));
        }
        let name = &self.target.name;
        let labels = [name.to_string(), level.to_owned()];
        readings.push(families::SAMPLER_INFO.reading(labels, 1.0));
        for (file, count) in &self.refused {
            let labels = [name.to_string(), (*file).to_owned()];
            readings.push(families::READ_ERRORS.reading(labels, *count as f64));
        }
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::{Tree, value};
    use crate::resource::process_targets::ProcessMatch;
    use std::sync::Arc;

    const LISTENING: &str = "heading\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 \
                             00:00000000 00000000  0 0 80 1 0 100 0 0 10 0\n";

    fn target(process: Option<ProcessMatch>) -> ProcessTarget {
        ProcessTarget {
            name: Arc::from("a"),
            host: "127.0.0.1".to_owned(),
            port: 0x1F90,
            socket: None,
            process,
        }
    }

    fn machine() -> Tree {
        let tree = Tree::new()
            .file("proc/stat", "cpu 1 2 3 4 5 6 7\nbtime 1000\n")
            .file("proc/self/net/tcp", LISTENING);
        tree.process(5, 1, "server", 2.0);
        tree.process(6, 5, "worker", 1.0);
        tree.socket(5, 80);
        tree
    }

    fn sampler(tree: &Tree, targets: Vec<ProcessTarget>) -> Process {
        let shared = ProcessTargets::default();
        shared.set(targets);
        Process::new(&tree.settings(), shared)
    }

    fn level(readings: &[Reading]) -> String {
        let info = readings
            .iter()
            .find(|reading| reading.family == families::SAMPLER_INFO.name);
        info.unwrap().labels[1].1.clone()
    }

    #[test]
    fn the_listener_and_its_children_are_read_as_one() {
        let tree = machine();
        tree.write("proc/5/io", "rchar: 9\nread_bytes: 4096\nwrite_bytes: 0\n");
        tree.write(
            "proc/6/io",
            "rchar: 9\nread_bytes: 4096\nwrite_bytes: 512\n",
        );
        tree.write("proc/5/smaps_rollup", "00-ff [rollup]\nPss: 12 kB\n");
        tree.write("proc/6/smaps_rollup", "00-ff [rollup]\nPss: 3 kB\n");
        tree.write("proc/6/fd/0", "");
        let mut sampler = sampler(&tree, vec![target(None)]);
        let readings = sampler.sample().unwrap();
        let page = rustix::param::page_size() as f64;
        for (family, label, expected) in [
            ("llm_resource_cpu_seconds_total", "a", 3.0),
            ("llm_resource_memory_bytes", "rss", 20.0 * page),
            ("llm_resource_memory_bytes", "pss", 15.0 * 1024.0),
            ("llm_resource_threads", "a", 4.0),
            ("llm_resource_processes", "a", 2.0),
            ("llm_resource_open_fds", "a", 2.0),
            ("llm_resource_disk_read_bytes_total", "", 8192.0),
            ("llm_resource_disk_write_bytes_total", "", 512.0),
            ("llm_resource_process_start_time_seconds", "a", 1005.0),
            ("llm_resource_restarts_total", "a", 0.0),
        ] {
            assert_eq!(value(&readings, family, label), Some(expected), "{family}");
        }
        assert_eq!(level(&readings), "procfs_full");
        assert_eq!(readings.len(), 11, "{readings:?}");
    }

    #[test]
    fn a_restart_is_seen_at_the_next_sample_and_counted_once() {
        let tree = machine();
        let mut sampler = sampler(&tree, vec![target(None)]);
        let restarts = |readings: &[Reading]| value(readings, "llm_resource_restarts_total", "");
        let family = "llm_resource_cpu_seconds_total";
        assert_eq!(restarts(&sampler.sample().unwrap()), Some(0.0));
        for pid in [5, 6] {
            tree.remove(&format!("proc/{pid}"));
        }
        tree.write("proc/self/net/tcp", "heading\n");
        let readings = sampler.sample().unwrap();
        assert_eq!((level(&readings), readings.len()), ("none".to_owned(), 2));
        tree.process_started(7, 1, "server", 0.5, 900);
        tree.socket(7, 81);
        tree.write("proc/self/net/tcp", &LISTENING.replace(" 80 ", " 81 "));
        let readings = sampler.sample().unwrap();
        assert_eq!(restarts(&readings), Some(1.0));
        assert_eq!(value(&readings, family, ""), Some(0.5));
        assert_eq!(restarts(&sampler.sample().unwrap()), Some(1.0));

        tree.remove("proc/7");
        tree.process_started(7, 1, "server", 0.1, 950);
        tree.socket(7, 82);
        tree.write("proc/self/net/tcp", &LISTENING.replace(" 80 ", " 82 "));
        let readings = sampler.sample().unwrap();
        assert_eq!(
            restarts(&readings),
            Some(2.0),
            "the same id, another process"
        );
        assert_eq!(value(&readings, family, ""), Some(0.1));
    }

    #[test]
    fn what_may_not_be_read_is_absent_and_counted_and_tried_again_later() {
        let tree = machine();
        // Nobody can read a folder as a file, the tests' root included.
        tree.write("proc/6/io/x", "");
        tree.write("proc/5/smaps_rollup/x", "");
        tree.write("proc/5/io", "read_bytes: 4096\nwrite_bytes: 0\n");
        let mut sampler = sampler(&tree, vec![target(None)]);
        let start = Instant::now();
        for (seconds, errors) in [(0, 1.0), (1, 1.0), (31, 2.0)] {
            let at = start + Duration::from_secs(seconds);
            let readings = sampler.sample_at(at).unwrap();
            let family = "llm_resource_read_errors_total";
            assert_eq!(value(&readings, family, "io"), Some(errors));
            let family = "llm_resource_disk_read_bytes_total";
            assert_eq!(value(&readings, family, ""), None, "half of it is not it");
            assert_eq!(value(&readings, "llm_resource_memory_bytes", "pss"), None);
            assert_eq!(level(&readings), "procfs");
        }
    }

    #[test]
    fn a_target_elsewhere_costs_nothing_and_says_so() {
        let tree = machine();
        let elsewhere = ProcessTarget {
            host: "192.0.2.1".to_owned(),
            ..target(None)
        };
        let mut sampler = sampler(&tree, vec![elsewhere]);
        let readings = sampler.sample().unwrap();
        assert_eq!((level(&readings), readings.len()), ("none".to_owned(), 1));
        assert_eq!(sampler.table.pids().count(), 0);
    }

    #[test]
    fn settings_find_a_process_whose_files_may_not_be_seen() {
        let tree = machine();
        tree.remove("proc/5/fd");
        let process = ProcessMatch {
            name: Some("server".to_owned()),
            command: None,
        };
        let mut sampler = sampler(&tree, vec![target(Some(process))]);
        let readings = sampler.sample().unwrap();
        let family = "llm_resource_cpu_seconds_total";
        assert_eq!(value(&readings, family, "a"), Some(3.0));
        let tree = sampler.targets.found("a").unwrap();
        assert_eq!((tree.root.pid, &tree.members[..]), (5, &[5, 6][..]));
    }

    #[test]
    fn the_servers_own_group_tells_its_limits() {
        let tree = machine();
        let mounts = "40 31 0:30 /../app /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        tree.write("proc/5/io", "read_bytes: 0\nwrite_bytes: 0\n");
        tree.write("proc/6/io", "read_bytes: 0\nwrite_bytes: 0\n");
        tree.write("proc/5/cgroup", "0::/../app\n");
        tree.write("proc/5/mountinfo", mounts);
        for (file, text) in [
            ("cgroup.events", "populated 1\n"),
            ("cpu.max", "150000 100000\n"),
            ("cpu.stat", "throttled_usec 250000\n"),
            ("memory.max", "8192\n"),
        ] {
            tree.write(&format!("proc/5/root/sys/fs/cgroup/{file}"), text);
        }
        let mut sampler = sampler(&tree, vec![target(None)]);
        let readings = sampler.sample().unwrap();
        assert_eq!(level(&readings), "cgroup");
        for (family, expected) in [
            ("llm_resource_cpu_limit_cores", 1.5),
            ("llm_resource_cpu_throttled_seconds_total", 0.25),
            ("llm_resource_memory_limit_bytes", 8192.0),
        ] {
            assert_eq!(value(&readings, family, "a"), Some(expected), "{family}");
        }
    }
}
