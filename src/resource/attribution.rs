//! Which processes serve a target: those that hold the socket that listens, or those that are called as
//! the settings say.

use super::process_table::{Pid, ProcessKey, ProcessTable, Unread, read};
use super::process_targets::ProcessMatch;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// They listen for somebody else, elsewhere: what they use says nothing of the runtime.
const FORWARDERS: [&str; 7] = [
    "docker-proxy",
    "rootlessport",
    "slirp4netns",
    "pasta",
    "kubectl",
    "socat",
    "ssh",
];

/// Holds the sockets of services that it starts, beside them.
const SOCKET_KEEPER: &str = "systemd";

/// Programs whose workers are not children but siblings of the process that listens: TGI's.
const LAUNCHERS: [&str; 1] = ["text-generation-launcher"];

/// The processes that serve a target, without their descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The oldest.
    pub(super) root: ProcessKey,
    pub(super) roots: Vec<Pid>,
}

/// Who holds which sockets.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_inode: HashMap<u64, Vec<Pid>>,
    /// Whether there are processes whose files we may not see: a holder may be among them.
    pub(super) some_refused: bool,
}

impl Holders {
    /// Looks through the open files of every process: some milliseconds for hundreds of them.
    pub(super) fn of(wanted: &HashSet<u64>, table: &ProcessTable) -> Self {
        let mut holders = Self::default();
        if wanted.is_empty() {
            return holders;
        }
        for pid in table.pids() {
            let folder = table.dir(pid).join("fd");
            let found = sockets(&folder, wanted, |inode| {
                holders.by_inode.entry(inode).or_default().push(pid);
            });
            holders.some_refused |= found == Err(Unread::Refused);
        }
        holders
    }

    /// Who serves by holding any of these sockets.
    pub(super) fn server(&self, inodes: &[u64], table: &ProcessTable) -> Option<Server> {
        let held = inodes.iter().filter_map(|inode| self.by_inode.get(inode));
        let named = held.flatten().filter_map(|pid| {
            let name = table.stat(*pid)?.name;
            Some((*pid, name))
        });
        let named: Vec<(Pid, String)> = named
            .filter(|(_, name)| !FORWARDERS.contains(&name.as_str()))
            .collect();
        let services = named.iter().filter(|(_, name)| name != SOCKET_KEEPER);
        let pids: Vec<Pid> = services.map(|(pid, _)| *pid).collect();
        let launched = tops(&pids, table).into_iter().map(|pid| {
            let parent = table.parent(pid).filter(|parent| {
                let program = program(&command_line(&table.dir(*parent)));
                program.is_some_and(|name| LAUNCHERS.contains(&name.as_str()))
            });
            parent.unwrap_or(pid)
        });
        server(launched.collect(), table)
    }
}

/// Who serves by being called so. Neither we nor those that started us are meant: our own command line
/// may well hold the words.
pub(super) fn called(
    wanted: &ProcessMatch,
    table: &ProcessTable,
    us: Option<Pid>,
) -> Option<Server> {
    let ours: Vec<Pid> = us
        .into_iter()
        .flat_map(|us| std::iter::once(us).chain(table.ancestors(us)))
        .collect();
    let others = table.pids().filter(|pid| !ours.contains(pid));
    let pids: Vec<Pid> = others
        .filter(|pid| fits(wanted, &table.dir(*pid)))
        .collect();
    server(tops(&pids, table), table)
}

fn fits(wanted: &ProcessMatch, process: &Path) -> bool {
    let command = command_line(process);
    let by_name = wanted.name.as_ref().is_none_or(|name| {
        let kernels = read(&process.join("comm")).unwrap_or_default();
        kernels.trim_end() == name || program(&command).is_some_and(|own| own == *name)
    });
    let by_command = wanted.command.as_ref();
    by_name && by_command.is_none_or(|text| command.join(" ").contains(text))
}

/// The words of the command line; none for a thread of the kernel.
fn command_line(process: &Path) -> Vec<String> {
    let text = read(&process.join("cmdline")).unwrap_or_default();
    let words = text.trim_end_matches('\0').split('\0');
    words.map(str::to_owned).collect()
}

fn program(command: &[String]) -> Option<String> {
    let name = Path::new(command.first()?).file_name()?;
    Some(name.to_str()?.to_owned())
}

/// Those of them that descend from none of the others.
fn tops(pids: &[Pid], table: &ProcessTable) -> Vec<Pid> {
    let is_below = |pid: Pid| {
        table
            .ancestors(pid)
            .iter()
            .any(|above| pids.contains(above))
    };
    let tops = pids.iter().copied().filter(|pid| !is_below(*pid));
    tops.collect()
}

fn server(mut roots: Vec<Pid>, table: &ProcessTable) -> Option<Server> {
    roots.sort_unstable();
    roots.dedup();
    let keys = roots
        .iter()
        .filter_map(|pid| Some(table.stat(*pid)?.key(*pid)));
    let root = keys.min()?;
    Some(Server { root, roots })
}

/// Tells which of the wanted sockets are among the open files of `folder`. That they may be listed does
/// not mean that it may be seen what they are.
fn sockets(folder: &Path, wanted: &HashSet<u64>, mut found: impl FnMut(u64)) -> Result<(), Unread> {
    let mut refused = false;
    for entry in std::fs::read_dir(folder)?.flatten() {
        match std::fs::read_link(entry.path()) {
            Ok(link) => {
                let inode = inode(&link).filter(|inode| wanted.contains(inode));
                inode.into_iter().for_each(&mut found);
            }
            Err(error) => refused |= Unread::from(error) == Unread::Refused,
        }
    }
    match refused {
        true => Err(Unread::Refused),
        false => Ok(()),
    }
}

/// Reads `socket:[551]`.
fn inode(link: &Path) -> Option<u64> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;

    fn table(tree: &Tree) -> ProcessTable {
        let mut table = ProcessTable::new(&tree.settings().proc_root);
        table.refresh().unwrap();
        table
    }

    fn roots(tree: &Tree, inodes: &[u64]) -> Option<Vec<Pid>> {
        let table = table(tree);
        let holders = Holders::of(&inodes.iter().copied().collect(), &table);
        Some(holders.server(inodes, &table)?.roots)
    }

    #[test]
    fn workers_that_inherit_the_socket_are_not_taken_for_servers_of_their_own() {
        let tree = Tree::new();
        tree.process(5, 1, "server", 0.0);
        tree.process(6, 5, "worker", 0.0);
        tree.process(7, 1, "other", 0.0);
        for (pid, inode) in [(5, 80), (6, 80), (7, 81)] {
            tree.socket(pid, inode);
        }
        assert_eq!(roots(&tree, &[80]), Some(vec![5]));
        assert_eq!(roots(&tree, &[80, 81]), Some(vec![5, 7]), "a shared port");
        assert_eq!(roots(&tree, &[82]), None);
    }

    #[test]
    fn files_that_may_not_be_seen_are_told_from_files_that_are_none() {
        let tree = Tree::new();
        tree.process(5, 1, "server", 0.0);
        tree.socket(5, 80);
        let holders = || Holders::of(&HashSet::from([81]), &table(&tree));
        assert!(!holders().some_refused);
        // What is no link cannot be read as one, by the tests' root neither.
        tree.write("proc/5/fd/7", "");
        assert!(holders().some_refused);
    }

    #[test]
    fn who_listens_for_others_serves_nothing() {
        let tree = Tree::new();
        tree.process(1, 0, "systemd", 0.0);
        tree.process(5, 1, "ollama", 0.0);
        tree.process(6, 1, "docker-proxy", 0.0);
        for (pid, inode) in [(1, 80), (5, 80), (6, 81)] {
            tree.socket(pid, inode);
        }
        assert_eq!(roots(&tree, &[80]), Some(vec![5]));
        assert_eq!(roots(&tree, &[81]), None);
    }

    #[test]
    fn a_launcher_counts_with_all_that_it_has_launched() {
        let tree = Tree::new();
        tree.process(4, 1, "text-generation-launcher", 0.0);
        tree.process(5, 4, "text-generation-router", 0.0);
        tree.process(6, 4, "python3", 0.0);
        tree.socket(5, 80);
        assert_eq!(roots(&tree, &[80]), Some(vec![4]));
    }

    #[test]
    fn a_process_is_found_by_what_it_is_called_and_we_are_not_meant() {
        let tree = Tree::new();
        tree.process(3, 1, "sh", 0.0);
        tree.process(4, 3, "sonde", 0.0);
        tree.process(5, 1, "vllm", 0.0);
        tree.process(6, 5, "vllm", 0.0);
        tree.write("proc/7/stat", "torn");
        let table = table(&tree);
        let find = |name: Option<&str>, command: Option<&str>| {
            let wanted = ProcessMatch {
                name: name.map(str::to_owned),
                command: command.map(str::to_owned),
            };
            Some(called(&wanted, &table, Some(4))?.roots)
        };
        assert_eq!(find(Some("vllm"), None), Some(vec![5]));
        assert_eq!(find(Some("vllm"), Some("vllm --serve")), Some(vec![5]));
        assert_eq!(find(None, Some("--serve")), Some(vec![5]));
        assert_eq!(find(Some("vllm"), Some("--port")), None);
        assert_eq!(find(Some("sonde"), None), None);
    }
}
