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

    /// Settings whose `/proc` and `/sys` are this tree's.
    pub(super) fn settings(&self) -> ResourceSettings {
        ResourceSettings {
            proc_root: self.root.join("proc"),
            sys_root: self.root.join("sys"),
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
