//! Which processes there are, whose children they are, and what one of them uses.

use super::SampleError;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The kernel's user-visible clock tick. 100 on every architecture that runs an LLM, whatever
/// the kernel's own tick is.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// `ESRCH`: the process ended between opening its file and reading it.
const NO_SUCH_PROCESS: i32 = 3;

static PAGE_BYTES: LazyLock<f64> = LazyLock::new(|| rustix::param::page_size() as f64);

/// A process id, as our own namespace counts.
pub(super) type Pid = u32;

/// A process for good: ids are used again, but not within one tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessKey {
    /// When it started, in ticks since the machine did. First, so that the oldest is the least.
    pub(super) started_ticks: u64,
    pub(super) pid: Pid,
}

/// One look at `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stat {
    /// Up to 15 bytes.
    pub(super) name: String,
    pub(super) parent: Pid,
    /// Its end is known to nobody yet; its memory is gone.
    pub(super) is_zombie: bool,
    /// Its own, and that of children that have ended and been waited for.
    pub(super) cpu_seconds: f64,
    pub(super) threads: f64,
    pub(super) started_ticks: u64,
    pub(super) resident_bytes: f64,
}

impl Stat {
    /// `None` when the process is gone.
    pub(super) fn read(process: &Path) -> Option<Self> {
        let bytes = std::fs::read(process.join("stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The name is in parentheses and may hold any, blanks too.
    fn parse(text: &str) -> Option<Self> {
        let (front, rest) = text.rsplit_once(')')?;
        let (_, name) = front.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered as in proc(5), where the state is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |index| field(index)?.parse::<f64>().ok();
        let cpu_ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self {
            name: name.to_owned(),
            parent: field(4)?.parse().ok()?,
            is_zombie: matches!(field(3)?, "Z" | "X" | "x"),
            cpu_seconds: cpu_ticks / TICKS_PER_SECOND,
            threads: number(20)?,
            started_ticks: field(22)?.parse().ok()?,
            resident_bytes: number(24)? * *PAGE_BYTES,
        })
    }

    pub(super) fn key(&self, pid: Pid) -> ProcessKey {
        ProcessKey {
            started_ticks: self.started_ticks,
            pid,
        }
    }
}

/// Why a file of a process gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The process has ended, or the kernel has no such file.
    Absent,
    /// It is there, and we may not read it.
    Refused,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        let gone = error.raw_os_error() == Some(NO_SUCH_PROCESS);
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Absent,
            _ if gone => Self::Absent,
            _ => Self::Refused,
        }
    }
}

/// A file of a process.
pub(super) fn read(path: &Path) -> Result<String, Unread> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every process that we can see, by its parent. A new one is looked at once: what it costs does not
/// grow with how many there are, but for the list itself.
#[derive(Debug)]
pub(super) struct ProcessTable {
    proc_root: PathBuf,
    parents: BTreeMap<Pid, Pid>,
    /// Every process is to be looked at anew.
    stale: bool,
}

impl ProcessTable {
    pub(super) fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_path_buf(),
            parents: BTreeMap::new(),
            stale: false,
        }
    }

    /// Notices who came and who went; tells whether anybody came.
    ///
    /// # Errors
    /// [`SampleError::Unsupported`] without `/proc`, [`SampleError::Failed`] when it cannot be read.
    pub(super) fn refresh(&mut self) -> Result<bool, SampleError> {
        let listed = std::fs::read_dir(&self.proc_root).map_err(|error| {
            let text = format!("cannot list `{}`: {error}", self.proc_root.display());
            match error.kind() {
                ErrorKind::NotFound => SampleError::Unsupported(text),
                _ => SampleError::Failed(text),
            }
        })?;
        let mut before = std::mem::take(&mut self.parents);
        let stale = std::mem::take(&mut self.stale);
        let mut has_new = false;
        for entry in listed.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let known = before.remove(&pid);
            has_new |= known.is_none();
            let fresh = known.filter(|_| !stale);
            let parent = fresh.or_else(|| Some(self.stat(pid)?.parent));
            if let Some(parent) = parent {
                self.parents.insert(pid, parent);
            }
        }
        Ok(has_new)
    }

    /// Has every process looked at anew: orphans have found other parents, and ids may have been used
    /// again.
    pub(super) fn forget(&mut self) {
        self.stale = true;
    }

    pub(super) fn root(&self) -> &Path {
        &self.proc_root
    }

    pub(super) fn dir(&self, pid: Pid) -> PathBuf {
        self.proc_root.join(pid.to_string())
    }

    pub(super) fn stat(&self, pid: Pid) -> Option<Stat> {
        Stat::read(&self.dir(pid))
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> + '_ {
        self.parents.keys().copied()
    }

    pub(super) fn parent(&self, pid: Pid) -> Option<Pid> {
        self.parents
            .get(&pid)
            .copied()
            .filter(|parent| *parent != 0)
    }

    /// Its parent, that one's parent, and so on.
    pub(super) fn ancestors(&self, pid: Pid) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut next = self.parent(pid);
        while let Some(pid) = next.filter(|pid| !found.contains(pid)) {
            found.push(pid);
            next = self.parent(pid);
        }
        found
    }

    /// These, their children, those ones' children, and so on: each once.
    pub(super) fn descendants(&self, roots: &[Pid]) -> Vec<Pid> {
        let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for (pid, parent) in &self.parents {
            children.entry(*parent).or_default().push(*pid);
        }
        let mut open: Vec<Pid> = roots.to_vec();
        let mut found = Vec::new();
        while let Some(pid) = open.pop() {
            if !found.contains(&pid) {
                found.push(pid);
                open.extend(children.remove(&pid).unwrap_or_default());
            }
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_shifts_no_field() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194304 97 0 0 0 150 50 25 75 20 0 12 0 \
                    389862 3133440 2 18446744073709551615\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.name, "a (b) c");
        assert_eq!((stat.parent, stat.started_ticks), (7, 389_862));
        assert_eq!((stat.cpu_seconds, stat.threads), (3.0, 12.0));
        assert_eq!(stat.resident_bytes, 2.0 * *PAGE_BYTES);
        assert!(!stat.is_zombie);
        assert_eq!(Stat::parse("42 (torn) S 7"), None);
    }

    #[test]
    fn a_tree_is_followed_down_to_the_last_grandchild() {
        let tree = Tree::new();
        for (pid, parent) in [(1, 0), (5, 1), (6, 5), (9, 6), (7, 1)] {
            tree.process(pid, parent, "x", 0.0);
        }
        let mut table = ProcessTable::new(&tree.settings().proc_root);
        assert!(table.refresh().unwrap());
        assert_eq!(table.descendants(&[5]), [5, 6, 9]);
        assert_eq!(table.descendants(&[6, 5]), [5, 6, 9]);
        assert_eq!(table.ancestors(9), [6, 5, 1]);
        tree.remove("proc/6");
        assert!(!table.refresh().unwrap());
        assert_eq!(table.descendants(&[5]), [5]);
    }
}
