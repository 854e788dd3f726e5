//! Where the control group of a process is, ours or another's: v1, v2 and both at once, nested, with
//! and without a cgroup namespace.
//!
//! `/proc/self/cgroup` says the path in the hierarchy, `/proc/self/mountinfo` which part of the
//! hierarchy is mounted where. Both are seen from our own cgroup namespace, so inside one the
//! path is `/` and the mount's root is `/`. Container engines without a namespace mount just the
//! container's directory, and the mount's root is then the front of the path. The files of another
//! process speak of its own mounts, which begin at its `root`, and of paths seen from our namespace
//! all the same.

use super::{SampleError, kernel_file};
use std::path::{Path, PathBuf};

/// Which interface files a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Our group in the hierarchy of one controller. Never the hierarchy's real root: that one is
/// the machine, and has neither limits nor usage of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) version: Version,
    /// The group's directory.
    dir: PathBuf,
    /// The highest directory of the hierarchy that can be seen.
    top: PathBuf,
}

impl Group {
    /// Of files in a test's folder.
    #[cfg(test)]
    pub(super) fn at(version: Version, dir: &Path) -> Self {
        Self {
            version,
            dir: dir.to_path_buf(),
            top: dir.to_path_buf(),
        }
    }

    /// A file of the group itself.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file of the group and of each of its visible ancestors: limits bind downwards.
    pub(super) fn lineage<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.dir
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.top))
            .map(move |dir| dir.join(name))
    }
}

/// Our group for each controller that matters; `None` where we are in its root or it is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) cpu: Option<Group>,
    pub(super) cpuacct: Option<Group>,
    pub(super) memory: Option<Group>,
    pub(super) disk: Option<Group>,
    /// Pressure belongs to no controller: told by every group of v2 and by none of v1.
    pub(super) pressure: Option<Group>,
}

impl Groups {
    /// Whether there is no group at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Finds our groups. `memberships` is the text of `/proc/self/cgroup`.
///
/// # Errors
/// When `/proc/self/mountinfo` is there but cannot be read.
pub(super) fn locate(
    memberships: &str,
    proc_root: &Path,
    sys_root: &Path,
) -> Result<Groups, SampleError> {
    let place = Place {
        process: &proc_root.join("self"),
        root: Path::new("/"),
        sys_root,
    };
    place.locate(memberships)
}

/// Finds the groups of another process, in its own view of the file system. `process` is its directory
/// in `/proc`. None where its files may not be read.
pub(super) fn locate_of(process: &Path) -> Groups {
    let memberships = kernel_file::read(&process.join("cgroup"));
    let memberships = memberships.ok().flatten().unwrap_or_default();
    let root = process.join("root");
    let place = Place {
        process,
        sys_root: &root.join("sys"),
        root: &root,
    };
    place.locate(&memberships).unwrap_or_default()
}

/// Whose groups are looked for, and where its files are to be found.
struct Place<'a> {
    process: &'a Path,
    sys_root: &'a Path,
    root: &'a Path,
}

impl Place<'_> {
    fn locate(&self, memberships: &str) -> Result<Groups, SampleError> {
        let mountinfo = kernel_file::read(&self.process.join("mountinfo"))?.unwrap_or_default();
        let mounts: Vec<Mount> = mountinfo
            .lines()
            .filter_map(|line| Mount::parse(line, self))
            .collect();
        let group = |controller| group(controller, memberships, &mounts, self.sys_root);
        Ok(Groups {
            cpu: group("cpu"),
            cpuacct: group("cpuacct"),
            memory: group("memory"),
            // Called `io` in v2, where every controller is in the same hierarchy.
            disk: group("blkio"),
            pressure: group("pressure"),
        })
    }
}

/// One mounted hierarchy.
struct Mount {
    version: Version,
    /// What is mounted, as a path in the hierarchy.
    root: String,
    /// Where.
    point: PathBuf,
    /// `rw,cpu,cpuacct` and the like.
    options: String,
}

impl Mount {
    /// Reads `36 35 98:0 /root /point options optional… - type source options`.
    fn parse(line: &str, place: &Place<'_>) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3);
        let root = unescape(mount.next()?);
        let point = unescape(mount.next()?);
        let point = match Path::new(&point).strip_prefix("/sys") {
            Ok(below) => place.sys_root.join(below),
            Err(_) => place.root.join(point.trim_start_matches('/')),
        };
        Some(Self {
            version,
            root,
            point,
            options: filesystem.nth(1).unwrap_or_default().to_owned(),
        })
    }

    /// The directory of the group `path`, if this mount shows it; else what it does show, which
    /// is our group or a hierarchy that [`is_real_root`] will recognise.
    fn resolve(&self, path: &str) -> Group {
        let below = Path::new(path)
            .strip_prefix(&self.root)
            .ok()
            .filter(|below| !below.starts_with(".."))
            .map(|below| self.point.join(below))
            .filter(|dir| dir.is_dir());
        Group {
            version: self.version,
            dir: below.unwrap_or_else(|| self.point.clone()),
            top: self.point.clone(),
        }
    }
}

fn group(controller: &str, memberships: &str, mounts: &[Mount], sys_root: &Path) -> Option<Group> {
    let (version, path) = membership(controller, memberships)?;
    let serves = |mount: &&Mount| {
        mount.version == version
            && (version == Version::V2 || mount.options.split(',').any(|one| one == controller))
    };
    let found = mounts
        .iter()
        .filter(serves)
        .map(|mount| mount.resolve(path))
        .find(|group| group.dir.is_dir());
    let group = found.unwrap_or_else(|| usual(version, controller, sys_root).resolve(path));
    (group.dir.is_dir() && !is_real_root(&group)).then_some(group)
}

/// Which hierarchy a controller is in, and our path there. A controller that no v1 hierarchy has
/// is in the v2 one, if there is one.
fn membership<'a>(controller: &str, memberships: &'a str) -> Option<(Version, &'a str)> {
    let mut unified = None;
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if controllers.split(',').any(|one| one == controller) {
            return Some((Version::V1, path));
        }
        if controllers.is_empty() {
            unified = Some((Version::V2, path));
        }
    }
    unified
}

/// Where distributions mount it, for when `mountinfo` does not say.
fn usual(version: Version, controller: &str, sys_root: &Path) -> Mount {
    let base = sys_root.join("fs/cgroup");
    Mount {
        version,
        root: "/".to_owned(),
        point: match version {
            Version::V1 => base.join(controller),
            Version::V2 => base,
        },
        options: String::new(),
    }
}

/// Told by files that the kernel makes only in the real root (v1) or everywhere but there (v2).
/// A path of `/` says nothing: inside a cgroup namespace everybody's path is `/`.
fn is_real_root(group: &Group) -> bool {
    match group.version {
        Version::V1 => group.file("release_agent").exists(),
        Version::V2 => !group.file("cgroup.events").exists(),
    }
}

/// Undoes mountinfo's `\040` for a space and the like.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match (code, after.get(3..)) {
            (Some(code), Some(tail)) => {
                out.push(char::from(code));
                rest = tail;
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::fixture::Tree;

    fn groups(tree: &Tree) -> Groups {
        let settings = tree.settings();
        let memberships = std::fs::read_to_string(settings.proc_root.join("self/cgroup")).unwrap();
        locate(&memberships, &settings.proc_root, &settings.sys_root).unwrap()
    }

    fn below_sys(tree: &Tree, group: Option<Group>) -> String {
        let root = tree.settings().sys_root;
        let dir = group.unwrap().dir;
        dir.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
    }

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_nested_v2_group_is_found_below_the_mount() {
        let tree = Tree::new()
            .file("proc/self/cgroup", "0::/kubepods/pod1/app\n")
            .file("proc/self/mountinfo", V2_MOUNT)
            .file("sys/fs/cgroup/kubepods/pod1/app/cgroup.events", "");
        let group = groups(&tree).memory.unwrap();
        let lineage: Vec<_> = group.lineage("memory.max").collect();
        assert_eq!(lineage.len(), 4, "{lineage:?}");
        let dir = below_sys(&tree, Some(group));
        assert_eq!(dir, "fs/cgroup/kubepods/pod1/app");
    }

    #[test]
    fn in_a_cgroup_namespace_the_mount_is_the_group() {
        let tree = Tree::new()
            .file("proc/self/cgroup", "0::/\n")
            .file("proc/self/mountinfo", V2_MOUNT)
            .file("sys/fs/cgroup/cgroup.events", "");
        assert_eq!(below_sys(&tree, groups(&tree).cpu), "fs/cgroup");
    }

    #[test]
    fn the_real_root_is_no_container() {
        let v2 = Tree::new()
            .file("proc/self/cgroup", "0::/\n")
            .file("proc/self/mountinfo", V2_MOUNT)
            .file("sys/fs/cgroup/cpu.stat", "usage_usec 1\n");
        assert_eq!(groups(&v2), Groups::default());
        let v1 = Tree::new()
            .file("proc/self/cgroup", "4:memory:/\n0::/\n")
            .file("sys/fs/cgroup/memory/release_agent", "");
        assert_eq!(groups(&v1), Groups::default());
    }

    #[test]
    fn v1_without_a_namespace_strips_what_the_mount_shows_already() {
        let mounts = "40 31 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
                      41 31 0:31 /docker/abc /odd\\040place ro - cgroup cgroup rw,memory\n";
        let tree = Tree::new()
            .file(
                "proc/self/cgroup",
                "3:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc/inner\n1:name=systemd:/docker/abc\n",
            )
            .file("proc/self/mountinfo", mounts)
            .file("sys/fs/cgroup/cpu,cpuacct/inner/cpu.stat", "")
            .file("sys/fs/cgroup/memory/memory.stat", "");
        let groups = groups(&tree);
        let dir = below_sys(&tree, groups.cpu.clone());
        assert_eq!(dir, "fs/cgroup/cpu,cpuacct/inner");
        assert_eq!(groups.cpu, groups.cpuacct);
        let memory = below_sys(&tree, groups.memory);
        assert_eq!(memory, "fs/cgroup/memory", "the usual place");
    }

    #[test]
    fn on_a_hybrid_machine_each_controller_is_where_it_says() {
        let mounts = "38 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let tree = Tree::new()
            .file("proc/self/cgroup", "4:memory:/a/b\n0::/a.service\n")
            .file("proc/self/mountinfo", mounts)
            .file("sys/fs/cgroup/memory/a/b/memory.stat", "")
            .file("sys/fs/cgroup/unified/a.service/cgroup.events", "");
        let groups = groups(&tree);
        let version = |group: &Option<Group>| group.as_ref().map(|group| group.version);
        assert_eq!(version(&groups.memory), Some(Version::V1));
        assert_eq!(version(&groups.cpu), Some(Version::V2));
    }

    #[test]
    fn a_neighbours_group_is_seen_through_its_own_root() {
        let mounts = "40 31 0:30 /../app /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let tree = Tree::new()
            .file("proc/7/cgroup", "0::/../app\n")
            .file("proc/7/mountinfo", mounts)
            .file("proc/7/root/sys/fs/cgroup/cgroup.events", "")
            .file("proc/8/cgroup", "0::/../app\n");
        let proc_root = tree.settings().proc_root;
        let group = locate_of(&proc_root.join("7")).cpu.unwrap();
        assert_eq!(group.dir, proc_root.join("7/root/sys/fs/cgroup"));
        assert!(locate_of(&proc_root.join("8")).is_empty());
    }

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c\\9"), "/a b\\c\\9");
    }
}
