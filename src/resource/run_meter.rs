//! What the processes that serve a target used during one run: two looks, at its beginning and at its
//! end.

use super::ResourceSettings;
use super::process_table::{ProcessKey, Stat, TICKS_PER_SECOND};
use super::process_targets::{ProcessTargets, ProcessTree};
use std::path::{Path, PathBuf};

/// A tree of more processes is not looked at: a look takes some ten microseconds for each, on the
/// thread that stamps.
const MOST_PROCESSES: usize = 64;

/// Looks at the processes that the sampler has found. Clones share what it has found.
#[derive(Clone, Debug, Default)]
pub struct RunMeter {
    targets: ProcessTargets,
    proc_root: PathBuf,
}

/// One look. Means something only beside another at the same processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessLook {
    root: ProcessKey,
    cpu_seconds: f64,
    memory_bytes: f64,
}

impl RunMeter {
    /// Of the targets that a sampler with the same settings looks for.
    pub fn new(settings: &ResourceSettings, targets: ProcessTargets) -> Self {
        Self {
            targets,
            proc_root: settings.proc_root.clone(),
        }
    }

    /// What the processes that serve `target` have used so far. Absent where none was found, or where
    /// they have ended. Blocks for some ten microseconds a process, up to 64 of them.
    pub fn look(&self, target: &str) -> Option<ProcessLook> {
        let tree = self.targets.found(target)?;
        if tree.members.len() > MOST_PROCESSES {
            return None;
        }
        let usage = Usage::of(&self.proc_root, &tree)?;
        Some(ProcessLook {
            root: tree.root,
            cpu_seconds: usage.cpu_seconds,
            memory_bytes: usage.memory_bytes,
        })
    }
}

impl ProcessLook {
    /// CPU seconds from the look `before` to this one, in steps of 10 ms. Absent where the process was
    /// restarted between, or a child ended that nobody waited for.
    pub fn cpu_seconds_since(&self, before: &Self) -> Option<f64> {
        let ticks = (self.cpu_seconds - before.cpu_seconds) * TICKS_PER_SECOND;
        let spent = ticks.round() / TICKS_PER_SECOND;
        (self.root == before.root && spent >= 0.0).then_some(spent)
    }

    /// Resident bytes at the one or the other look, whichever are more: a peak between the two is
    /// not seen.
    pub fn peak_memory_bytes(&self, before: &Self) -> f64 {
        self.memory_bytes.max(before.memory_bytes)
    }
}

/// What a tree of processes uses at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Of those that live and of children waited for.
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: f64,
    pub(super) threads: f64,
    pub(super) processes: f64,
}

impl Usage {
    /// `None` when the tree's root has ended, or another process has its id.
    pub(super) fn of(proc_root: &Path, tree: &ProcessTree) -> Option<Self> {
        let mut usage = Self::default();
        let mut root_lives = false;
        for pid in &tree.members {
            let Some(stat) = Stat::read(&proc_root.join(pid.to_string())) else {
                continue;
            };
            root_lives |= stat.key(*pid) == tree.root && !stat.is_zombie;
            usage.cpu_seconds += stat.cpu_seconds;
            usage.memory_bytes += stat.resident_bytes;
            if !stat.is_zombie {
                usage.threads += stat.threads;
                usage.processes += 1.0;
            }
        }
        root_lives.then_some(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;
    use std::sync::Arc;

    fn meter(tree: &Tree) -> RunMeter {
        let targets = ProcessTargets::default();
        let found = ProcessTree {
            root: ProcessKey {
                started_ticks: 500,
                pid: 5,
            },
            members: vec![5, 6],
        };
        targets.set_found(&Arc::from("a"), Some(found));
        RunMeter::new(&tree.settings(), targets)
    }

    #[test]
    fn a_run_used_what_all_processes_used_between_two_looks() {
        let tree = Tree::new();
        tree.process(5, 1, "server", 2.0);
        tree.process(6, 5, "worker", 1.0);
        let meter = meter(&tree);
        let before = meter.look("a").unwrap();
        tree.process(6, 5, "worker", 3.5);
        let after = meter.look("a").unwrap();
        assert_eq!(after.cpu_seconds_since(&before), Some(2.5));
        assert_eq!(before.cpu_seconds_since(&after), None, "never negative");
        assert_eq!(after.peak_memory_bytes(&before), before.memory_bytes);
        assert_eq!(meter.look("b"), None);
    }

    #[test]
    fn a_process_that_has_gone_or_left_its_id_to_another_is_not_looked_at() {
        let tree = Tree::new();
        tree.process(5, 1, "server", 2.0);
        let meter = meter(&tree);
        let before = meter.look("a").unwrap();
        assert_eq!(
            before.cpu_seconds, 2.0,
            "the worker is gone, the server is not"
        );
        tree.process_started(5, 1, "other", 2.0, 501);
        assert_eq!(meter.look("a"), None);
        tree.remove("proc/5");
        assert_eq!(meter.look("a"), None);
    }
}
