//! Trees of files that stand for a machine's `/proc` and `/sys`.

use super::{Reading, ResourceSettings};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own, gone when dropped.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sonde-resource-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    /// Adds or replaces a file.
    pub(super) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A process of two threads and ten pages, that started five seconds after the machine.
    pub(super) fn process(&self, pid: u32, parent: u32, name: &str, cpu_seconds: f64) {
        self.process_started(pid, parent, name, cpu_seconds, 500);
    }

    pub(super) fn process_started(
        &self,
        pid: u32,
        parent: u32,
        name: &str,
        cpu_seconds: f64,
        started_ticks: u64,
    ) {
        let ticks = cpu_seconds * 100.0;
        let stat = format!(
            "{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 2 0 {started_ticks} 0 10\n"
        );
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(
            &format!("proc/{pid}/cmdline"),
            &format!("/bin/{name}\0--serve\0"),
        );
    }

    /// Has a process hold a socket.
    pub(super) fn socket(&self, pid: u32, inode: u64) {
        let folder = self.root.join(format!("proc/{pid}/fd"));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join(inode.to_string());
        std::os::unix::fs::symlink(format!("socket:[{inode}]"), link).unwrap();
    }

    /// Takes a file or a folder away.
    pub(super) fn remove(&self, path: &str) {
        let path = self.root.join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Settings whose `/proc` and `/sys` are this tree's.
    pub(super) fn settings(&self) -> ResourceSettings {
        ResourceSettings {
            proc_root: self.root.join("proc"),
            sys_root: self.root.join("sys"),
            hosts_file: self.root.join("etc/hosts"),
            ..ResourceSettings::default()
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The value of the reading of `family` whose last label is `label` (any, when empty).
pub(super) fn value(readings: &[Reading], family: &str, label: &str) -> Option<f64> {
    readings
        .iter()
        .filter(|reading| reading.family == family)
        .find(|reading| label.is_empty() || reading.labels.last().unwrap().1 == label)
        .map(|reading| reading.value)
}
