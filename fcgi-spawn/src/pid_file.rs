//! The pid file: a regular file, written whole or not at all, and gone again when we are.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::Error;
use crate::error::Quoted;

/// The file that is to hold our pid; removed when this is dropped, if our pid is what it holds.
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes nothing yet, but refuses at once what cannot be replaced by a pid file.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let path = Quoted(path.as_os_str());
                Err(Error::new(format!("cannot write pid file {path}: not a regular file")))
            }
            Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot_write(path, &error)),
            Ok(_) | Err(_) => Ok(PidFile { path: path.into() }),
        }
    }

    /// Writes our pid, as spawn-fcgi without a final newline.
    ///
    /// It is written beside and renamed into place: nobody reads half of it, and a symlink that has
    /// appeared meanwhile is replaced, not followed.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}", process::id()));
        let beside = PathBuf::from(beside);

        write_new(&beside).map_err(|error| cannot_write(&self.path, &error))?;
        fs::rename(&beside, &self.path).map_err(|error| {
            let _ = fs::remove_file(&beside);
            cannot_write(&self.path, &error)
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = fs::read(&self.path).is_ok_and(|held| held == our_pid().as_bytes());
        if ours {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("{}", Error::io("remove pid file", &self.path, &error));
            }
        }
    }
}

fn write_new(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(our_pid().as_bytes())
}

fn our_pid() -> String {
    process::id().to_string()
}

fn cannot_write(path: &Path, why: &io::Error) -> Error {
    Error::io("write pid file", path, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fcgi-spawn-pid-file-{test}-{}", process::id()))
    }

    #[test]
    fn holds_the_pid_until_dropped() {
        let path = path("holds");
        fs::write(&path, "an older and longer pid").expect("written");
        let pid_file = PidFile::new(&path).expect("may be written");
        pid_file.write().expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), our_pid());
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn is_left_to_who_wrote_it_last() {
        let path = path("last");
        let pid_file = PidFile::new(&path).expect("may be written");
        pid_file.write().expect("written");
        fs::write(&path, "1").expect("written");
        drop(pid_file);
        assert_eq!(fs::read_to_string(&path).expect("read"), "1");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_file_not_written_by_us_stays() {
        let path = path("stays");
        fs::write(&path, "1").expect("written");
        drop(PidFile::new(&path).expect("may be written"));
        assert_eq!(fs::read_to_string(&path).expect("read"), "1");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let link = path("link");
        std::os::unix::fs::symlink("/nonexistent", &link).expect("linked");
        for path in [link.as_path(), Path::new("/"), Path::new("/dev/null")] {
            let message = PidFile::new(path).err().expect("refused").to_string();
            let path = path.display();
            assert_eq!(message, format!("cannot write pid file '{path}': not a regular file"));
        }
        fs::remove_file(&link).expect("removed");
    }
}
