//! What is read of the processes that serve one target, for as long as it is the same ones.

use super::attribution::Server;
use super::cgroup::{self, Groups};
use super::container::{cpu_limit, memory_limit, throttled_seconds};
use super::cpu::CpuMeter;
use super::process_table::{Pid, ProcessTable, TICKS_PER_SECOND, Unread, read};
use super::process_targets::ProcessTree;
use super::run_meter::Usage;
use super::subject::Subject;
use super::{Reading, families, kernel_file};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// For the sum of all proportional shares the kernel walks every page, and keeps the process from
/// changing its mappings meanwhile: never more often than this,
const PSS_EVERY: Duration = Duration::from_secs(30);

/// and never for more than this share of the time.
const PSS_SHARE: u32 = 1000;

/// How often each file could not be read.
pub(super) type Refused = BTreeMap<&'static str, u64>;

#[derive(Debug)]
pub(super) struct Served {
    pub(super) tree: ProcessTree,
    roots: Vec<Pid>,
    subject: Subject,
    /// Unix time.
    started: Option<f64>,
    cpu: CpuMeter,
    cpu_seconds: Ratchet,
    read_bytes: Ratchet,
    written_bytes: Ratchet,
    may_try: MayTry,
    pss: Option<f64>,
    pss_due: Option<Instant>,
    groups: Groups,
    /// Cores and bytes.
    limits: [Option<f64>; 2],
}

/// What has not been refused yet.
#[derive(Clone, Copy, Debug)]
struct MayTry {
    io: bool,
    fds: bool,
    pss: bool,
    cgroup: bool,
}

impl MayTry {
    const ALL: Self = Self {
        io: true,
        fds: true,
        pss: true,
        cgroup: true,
    };
}

impl Served {
    pub(super) fn new(server: Server, subject: Subject, table: &ProcessTable) -> Self {
        let Server { root, roots } = server;
        let mut served = Self {
            tree: ProcessTree {
                root,
                members: Vec::new(),
            },
            roots: Vec::new(),
            started: started(table, root.started_ticks),
            cpu: CpuMeter::new(subject.clone()),
            cpu_seconds: Ratchet::default(),
            read_bytes: Ratchet::default(),
            written_bytes: Ratchet::default(),
            may_try: MayTry::ALL,
            pss: None,
            pss_due: None,
            groups: Groups::default(),
            limits: [None; 2],
            subject,
        };
        served.found_again(roots, table);
        served
    }

    /// After a search: what was refused is tried again, and what seldom changes is read anew.
    pub(super) fn found_again(&mut self, roots: Vec<Pid>, table: &ProcessTable) {
        self.roots = roots;
        self.may_try = MayTry::ALL;
        self.groups = cgroup::locate_of(&table.dir(self.tree.root.pid));
        let cores = self.groups.cpu.as_ref().map(cpu_limit);
        let bytes = self.groups.memory.as_ref().map(|group| {
            let stat = kernel_file::read(&group.file("memory.stat"))?;
            memory_limit(group, &stat.unwrap_or_default())
        });
        // What cannot be read is absent; that it cannot, its throttling will tell.
        self.limits = [cores, bytes].map(|limit| limit?.ok().flatten());
    }

    /// How much can be seen.
    pub(super) fn level(&self) -> &'static str {
        match (self.may_try.io, self.groups.is_empty()) {
            (false, _) => "procfs",
            (true, true) => "procfs_full",
            (true, false) => "cgroup",
        }
    }

    /// `None` when it has ended.
    pub(super) fn readings(
        &mut self,
        table: &ProcessTable,
        refused: &mut Refused,
    ) -> Option<Vec<Reading>> {
        self.tree.members = table.descendants(&self.roots);
        let at = Instant::now();
        let usage = Usage::of(table.root(), &self.tree)?;
        let subject = &self.subject;
        let cpu_seconds = self.cpu_seconds.of(usage.cpu_seconds);
        let mut readings = self.cpu.readings(at, cpu_seconds);
        readings.extend([
            families::MEMORY_BYTES.of(subject, &["rss"], usage.memory_bytes),
            families::THREADS.of(subject, &[], usage.threads),
            families::PROCESSES.of(subject, &[], usage.processes),
        ]);
        let [cores, bytes] = self.limits;
        let known = [
            (families::START_TIME, self.started),
            (families::CPU_LIMIT, cores),
            (families::MEMORY_LIMIT, bytes),
        ];
        for (family, value) in known {
            readings.extend(value.map(|value| family.of(subject, &[], value)));
        }
        self.add_files(table, refused, &mut readings);
        self.add_pss(table, refused, &mut readings);
        Some(readings)
    }

    fn add_files(
        &mut self,
        table: &ProcessTable,
        refused: &mut Refused,
        readings: &mut Vec<Reading>,
    ) {
        let subject = &self.subject;
        if self.may_try.io {
            let summed = sum(table, &self.tree.members, moved_bytes);
            self.may_try.io = noted(&summed, "io", refused);
            if let Ok(Some([read, written])) = summed {
                let (read, written) = (self.read_bytes.of(read), self.written_bytes.of(written));
                readings.push(families::DISK_READ_BYTES.of(subject, &[""], read));
                readings.push(families::DISK_WRITE_BYTES.of(subject, &[""], written));
            }
        }
        if self.may_try.fds {
            let summed = sum(table, &self.tree.members, open_fds);
            self.may_try.fds = noted(&summed, "fd", refused);
            if let Ok(Some([count])) = summed {
                readings.push(families::OPEN_FDS.of(subject, &[], count));
            }
        }
        if let Some(group) = self.groups.cpu.as_ref().filter(|_| self.may_try.cgroup) {
            let throttled = throttled_seconds(group).map_err(|_| Unread::Refused);
            self.may_try.cgroup = noted(&throttled, "cgroup", refused);
            if let Ok(Some(seconds)) = throttled {
                readings.push(families::CPU_THROTTLED.of(subject, &[], seconds));
            }
        }
    }

    fn add_pss(
        &mut self,
        table: &ProcessTable,
        refused: &mut Refused,
        readings: &mut Vec<Reading>,
    ) {
        let began = Instant::now();
        let is_due = self.pss_due.is_none_or(|due| began >= due);
        if is_due && self.may_try.pss {
            let summed = sum(table, &self.tree.members, pss);
            self.may_try.pss = noted(&summed, "smaps_rollup", refused);
            self.pss = summed.ok().flatten().map(|[bytes]| bytes);
            let pause = PSS_EVERY.max(began.elapsed() * PSS_SHARE);
            self.pss_due = Some(began + pause);
        }
        let reading = |bytes| families::MEMORY_BYTES.of(&self.subject, &["pss"], bytes);
        readings.extend(self.pss.map(reading));
    }
}

/// Counts a refusal; tells whether it may be tried again.
fn noted<T>(answer: &Result<T, Unread>, file: &'static str, refused: &mut Refused) -> bool {
    let is_refused = matches!(answer, Err(Unread::Refused));
    if is_refused {
        *refused.entry(file).or_default() += 1;
    }
    !is_refused
}

/// Sums what each process says. One that has ended says nothing; where nobody says anything nothing is
/// known; and one that may not be read spoils the sum.
fn sum<const N: usize>(
    table: &ProcessTable,
    members: &[Pid],
    of: impl Fn(&Path) -> Result<[f64; N], Unread>,
) -> Result<Option<[f64; N]>, Unread> {
    let mut sums: Option<[f64; N]> = None;
    for pid in members {
        match of(&table.dir(*pid)) {
            Ok(values) => {
                let sums = sums.get_or_insert([0.0; N]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += value;
                }
            }
            Err(Unread::Absent) => {}
            Err(Unread::Refused) => return Err(Unread::Refused),
        }
    }
    Ok(sums)
}

/// Bytes that went from and to disks, of children waited for as well.
fn moved_bytes(process: &Path) -> Result<[f64; 2], Unread> {
    let text = read(&process.join("io"))?;
    let value = |key| kernel_file::keyed(&text, key).ok_or(Unread::Absent);
    Ok([value("read_bytes")?, value("write_bytes")?])
}

/// Counted where they may be listed. Where not, kernels from 6.2 on tell how many there are as the
/// folder's size.
fn open_fds(process: &Path) -> Result<[f64; 1], Unread> {
    let folder = process.join("fd");
    match std::fs::read_dir(&folder) {
        Ok(listed) => Ok([listed.count() as f64]),
        Err(error) => {
            let size = std::fs::metadata(&folder).map_or(0, |folder| folder.len());
            match size {
                0 => Err(error.into()),
                size => Ok([size as f64]),
            }
        }
    }
}

fn pss(process: &Path) -> Result<[f64; 1], Unread> {
    let text = read(&process.join("smaps_rollup"))?;
    let kibibytes = kernel_file::keyed(&text, "Pss").ok_or(Unread::Absent)?;
    Ok([kibibytes * 1024.0])
}

/// Unix time, to the second: the kernel tells no more of when the machine started.
fn started(table: &ProcessTable, ticks: u64) -> Option<f64> {
    let text = read(&table.root().join("stat")).ok()?;
    Some(kernel_file::keyed(&text, "btime")? + ticks as f64 / TICKS_PER_SECOND)
}

/// A sum over processes that never falls. What a child has used goes over to its parent when that one
/// waits for it; where nobody does it is lost, and the sum goes on from where it was.
#[derive(Clone, Copy, Debug, Default)]
struct Ratchet {
    lost: f64,
    last: f64,
}

impl Ratchet {
    fn of(&mut self, sum: f64) -> f64 {
        let behind = self.last - (sum + self.lost);
        if behind > 0.0 {
            self.lost += behind;
        }
        self.last = self.last.max(sum + self.lost);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ended_child_has_used_is_kept() {
        let mut ratchet = Ratchet::default();
        let sums = [5.0, 8.0, 3.0, 4.0].map(|sum| ratchet.of(sum));
        assert_eq!(sums, [5.0, 8.0, 8.0, 9.0]);
    }
}
