//! Folders that did not exist.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::unix::fs::DirBuilderExt;
use std::path::{self, Path, PathBuf};

/// The folders we made, removed when this is dropped if nothing is in them.
#[derive(Default)]
pub(crate) struct Folders(Vec<PathBuf>);

impl Folders {
    /// Makes all folders above `path` that do not exist; everybody may enter them, but for the umask.
    pub(crate) fn above(path: &Path) -> io::Result<Self> {
        let mut made = Folders::default();
        // The working directory may be another when they are removed.
        let path = path::absolute(path)?;
        let all: Vec<_> = path.ancestors().skip(1).collect();
        for folder in all.into_iter().rev() {
            match DirBuilder::new().mode(0o755).create(folder) {
                Ok(()) => made.0.push(folder.into()),
                // There is something. If it is no folder the next step says so.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                // Not ours to make one in, or a file system that may not be written to: it may exist.
                Err(_) if folder.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// So many above `path`, an absolute one, which were made before this process took over.
    pub(crate) fn adopt(path: &Path, count: usize) -> Self {
        let made: Vec<_> = path.ancestors().skip(1).take(count).map(Path::to_owned).collect();
        Folders(made.into_iter().rev().collect())
    }

    pub(crate) fn list(&self) -> &[PathBuf] {
        &self.0
    }

    /// Removes those that are empty.
    pub(crate) fn remove(&mut self) {
        for folder in mem::take(&mut self.0).iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed() {
        let there = std::env::temp_dir().join(format!("fcgi-spawn-folders-{}", std::process::id()));
        fs::create_dir(&there).expect("a new folder");
        let made = Folders::above(&there.join("a/b/c")).expect("made");
        assert!(there.join("a/b").is_dir() && !there.join("a/b/c").exists());
        drop(made);
        assert!(there.is_dir() && !there.join("a").exists());

        let made = Folders::above(&there.join("a/b/c")).expect("made");
        fs::write(there.join("a/kept"), "").expect("written");
        drop(made);
        assert!(there.join("a/kept").exists() && !there.join("a/b").exists());

        let error = Folders::above(&there.join("a/kept/b/c")).err().expect("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
        fs::remove_dir_all(&there).expect("removed");
    }
}
