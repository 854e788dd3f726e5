//! Whose processes are looked for, and which were found: written by whoever knows the targets and by the
//! sampler, read by the sampler and by whoever wants to know what a run used.

use super::process_table::{Pid, ProcessKey};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How a process is told from others by what it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessMatch {
    /// The program's name, without its folder.
    pub name: Option<String>,
    /// Text that the command line contains, its words parted by blanks.
    pub command: Option<String>,
}

/// A target, as far as it takes to find who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTarget {
    /// The target's name.
    pub name: Arc<str>,
    /// Host name or address of its URL, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port of its URL.
    pub port: u16,
    /// The Unix socket of its URL, instead of host and port.
    pub socket: Option<PathBuf>,
    /// By what to find it instead of the socket that listens there.
    pub process: Option<ProcessMatch>,
}

/// The processes that serve one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessTree {
    /// The oldest of those that listen.
    pub(super) root: ProcessKey,
    /// Those that listen and all of their descendants.
    pub(super) members: Vec<Pid>,
}

/// The targets to look for, and what was found of them. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct ProcessTargets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: RwLock<Arc<[ProcessTarget]>>,
    found: RwLock<HashMap<Arc<str>, Arc<ProcessTree>>>,
}

impl ProcessTargets {
    /// From now on exactly these are looked for.
    pub fn set(&self, targets: Vec<ProcessTarget>) {
        let mut found = self.0.found.write();
        found.retain(|name, _| targets.iter().any(|target| target.name == *name));
        *self.0.wanted.write() = targets.into();
    }

    pub(super) fn wanted(&self) -> Arc<[ProcessTarget]> {
        self.0.wanted.read().clone()
    }

    /// The processes that served the target at the last sample.
    pub(super) fn found(&self, target: &str) -> Option<Arc<ProcessTree>> {
        self.0.found.read().get(target).cloned()
    }

    pub(super) fn set_found(&self, target: &Arc<str>, tree: Option<ProcessTree>) {
        let mut found = self.0.found.write();
        match tree {
            None => {
                found.remove(target);
            }
            Some(tree) if found.get(target).is_some_and(|known| **known == tree) => {}
            Some(tree) => {
                found.insert(target.clone(), Arc::new(tree));
            }
        }
    }
}
