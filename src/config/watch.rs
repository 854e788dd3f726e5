//! Notices that the file has become another, by its content: a mounted ConfigMap is a chain of
//! links that is swapped as a whole, its file's times and numbers say nothing, and some file
//! systems send no events. Comparing a few kilobytes every few seconds costs nothing.

use std::io;
use std::path::PathBuf;

/// A file and what it held last. Asking is up to the caller.
#[derive(Clone, Debug)]
pub struct Watched {
    path: PathBuf,
    /// `None` where it could not be read yet.
    known: Option<String>,
    /// Seen once. It counts when it is seen again, since an editor may have written only half.
    pending: Option<String>,
}

impl Watched {
    /// Watches `path`. What it holds at this moment is no change.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            known: std::fs::read_to_string(&path).ok(),
            path,
            pending: None,
        }
    }

    /// The new content, once, when two calls in a row have found it. A file that is not there is
    /// no change: it is between two versions.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is not text. The next call asks again.
    pub fn changed(&mut self) -> io::Result<Option<String>> {
        let found = match std::fs::read_to_string(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.pending = None;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if self.known.as_ref() == Some(&found) {
            self.pending = None;
            return Ok(None);
        }
        if self.pending.as_ref() != Some(&found) {
            self.pending = Some(found);
            return Ok(None);
        }
        self.pending = None;
        self.known = Some(found.clone());
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("sonde-watch-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_change_is_told_once_and_only_when_it_has_settled() {
        let folder = folder("settled");
        let path = folder.join("sonde.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watched = Watched::new(&path);
        assert_eq!(watched.changed().unwrap(), None);
        std::fs::write(&path, "tw").unwrap();
        assert_eq!(watched.changed().unwrap(), None);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(watched.changed().unwrap(), None);
        assert_eq!(watched.changed().unwrap().as_deref(), Some("two"));
        assert_eq!(watched.changed().unwrap(), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watched.changed().unwrap(), None);
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The way in which a kubelet updates a ConfigMap: `..data` is a link that is renamed over.
    #[cfg(unix)]
    #[test]
    fn a_swapped_link_is_a_change() {
        use std::os::unix::fs::symlink;
        let folder = folder("link");
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("sonde.yaml"), text).unwrap();
        }
        symlink("v1", folder.join("..data")).unwrap();
        symlink("..data/sonde.yaml", folder.join("sonde.yaml")).unwrap();
        let mut watched = Watched::new(folder.join("sonde.yaml"));
        assert_eq!(watched.changed().unwrap(), None);
        symlink("v2", folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        watched.changed().unwrap();
        assert_eq!(watched.changed().unwrap().as_deref(), Some("two"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
