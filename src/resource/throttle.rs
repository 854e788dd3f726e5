//! How long the CPU quota has held us back: read around every run, so only that one figure.

use super::cgroup::{self, Group};
use super::container::throttled_seconds;
use super::kernel_file;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Reads the throttling of our own control group. Clones share where it is.
#[derive(Clone, Debug, Default)]
pub struct ThrottleMeter {
    /// `None`: in no group with a quota of its own.
    group: Option<Arc<Group>>,
}

impl ThrottleMeter {
    /// Of the group that this process is in now.
    pub fn of_this_process() -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys"))
    }

    fn at(proc_root: &Path, sys_root: &Path) -> Self {
        let memberships = kernel_file::read(&proc_root.join("self/cgroup"));
        let memberships = memberships.ok().flatten().unwrap_or_default();
        let groups = cgroup::locate(&memberships, proc_root, sys_root);
        Self {
            group: groups.ok().and_then(|groups| groups.cpu).map(Arc::new),
        }
    }

    /// Time for which the group has been held back since it was made, summed over cores. Absent where
    /// the kernel does not tell.
    pub fn read(&self) -> Option<Duration> {
        let seconds = throttled_seconds(self.group.as_ref()?).ok()??;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;

    #[test]
    fn throttling_is_read_in_either_version() {
        for (membership, mount, file, text) in [
            (
                "4:cpu:/pod\n",
                "36 35 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
                "sys/fs/cgroup/cpu/pod/cpu.stat",
                "nr_periods 5\nthrottled_time 2500000000\n",
            ),
            (
                "0::/pod\n",
                "36 35 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
                "sys/fs/cgroup/pod/cpu.stat",
                "nr_throttled 5\nthrottled_usec 2500000\n",
            ),
        ] {
            let tree = Tree::new();
            tree.write("proc/self/cgroup", membership);
            tree.write("proc/self/mountinfo", mount);
            tree.write(file, text);
            tree.write("sys/fs/cgroup/pod/cgroup.events", "populated 1\n");
            let settings = tree.settings();
            let meter = ThrottleMeter::at(&settings.proc_root, &settings.sys_root);
            assert_eq!(meter.read(), Some(Duration::from_millis(2500)), "{file}");
        }
    }

    #[test]
    fn without_a_group_nothing_is_known() {
        let tree = Tree::new();
        let settings = tree.settings();
        let meter = ThrottleMeter::at(&settings.proc_root, &settings.sys_root);
        assert_eq!(meter.read(), None);
    }
}
