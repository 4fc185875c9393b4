//! A lock between processes that lasts for a moment and leaves nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sys;

/// An empty file beside another one, locked, and removed when this is dropped.
///
/// It may stay behind if we are killed, and does no harm then. A lock on the folder itself would leave nothing at
/// all, but everybody who may read the folder could hold it against us.
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock `PATH.lock`; `None` if somebody else has it.
    pub(crate) fn take(beside: &Path) -> io::Result<Option<Self>> {
        let mut path = beside.to_owned().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(flags).open(&path)?;
            if !sys::try_lock(&file)? {
                return Ok(None);
            }
            // The one who had it before us has removed it when it was his.
            if is_at(&file, &path) {
                return Ok(Some(Lock { path, _file: file }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What has something in it is not ours.
        if fs::symlink_metadata(&self.path).is_ok_and(|now| now.is_file() && now.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fcgi-spawn-lock-{test}-{}", std::process::id()))
    }

    #[test]
    fn there_is_one_at_a_time() {
        let (path, lock_path) = (beside("one"), beside("one").with_extension("lock"));
        let lock = Lock::take(&path).expect("taken").expect("nobody else has it");
        assert!(lock_path.exists());
        assert!(Lock::take(&path).expect("tried").is_none());
        drop(lock);
        assert!(!lock_path.exists());
        assert!(Lock::take(&path).expect("tried").is_some());
    }

    #[test]
    fn what_was_left_or_is_not_ours_does_no_harm() {
        let (path, lock_path) = (beside("left"), beside("left").with_extension("lock"));
        fs::write(&lock_path, "").expect("written");
        assert!(Lock::take(&path).expect("tried").is_some());
        assert!(!lock_path.exists());

        fs::write(&lock_path, "precious").expect("written");
        assert!(Lock::take(&path).expect("tried").is_some());
        assert_eq!(fs::read_to_string(&lock_path).expect("read"), "precious");
        fs::remove_file(&lock_path).expect("removed");

        std::os::unix::fs::symlink("/nonexistent", &lock_path).expect("linked");
        assert!(Lock::take(&path).is_err());
        fs::remove_file(&lock_path).expect("removed");
    }
}
