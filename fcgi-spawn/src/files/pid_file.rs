//! The pid file: a regular file, written whole or not at all, and gone again when we are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{self, Path, PathBuf};
use std::process;

use crate::Error;
use crate::error::Quoted;
use crate::files::folders::Folders;

/// The file that is to hold our pid, or our workers'; removed when this is dropped, if it still holds them.
pub(crate) struct PidFile {
    path: PathBuf,
    /// The new file beside it, until it is complete.
    beside: Option<(File, PathBuf)>,
    pids: String,
    folders: Folders,
}

impl PidFile {
    /// Refuses at once what cannot be written, or is there and no regular file. What is there stays for now.
    pub(crate) fn new(path: &Path, mkdir: bool) -> Result<Self, Error> {
        let failed = |error| Error::io("write pid file", path, &error);
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let path = Quoted(path.as_os_str());
                return Err(Error::new(format!("cannot write pid file {path}: not a regular file")));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
        let folders = if mkdir { Folders::above(path).map_err(failed)? } else { Folders::default() };
        // The working directory may be another when it is written.
        let path = path::absolute(path).map_err(failed)?;
        let beside = create_beside(&path).map_err(failed)?;
        Ok(PidFile { path, beside: Some(beside), pids: String::new(), folders })
    }

    /// The file that whoever was here before has written.
    pub(crate) fn adopt(path: &Path, pids: String, made: usize) -> Result<Self, Error> {
        let path = path::absolute(path).map_err(|error| Error::io("write pid file", path, &error))?;
        let folders = Folders::adopt(&path, made);
        Ok(PidFile { path, beside: None, pids, folders })
    }

    /// The folders that were made for it.
    pub(crate) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Writes the pids, one a line, as spawn-fcgi without a final newline.
    ///
    /// The file is renamed into place: nobody reads half of it, and a symlink that has appeared
    /// meanwhile is replaced, not followed.
    pub(crate) fn write(&mut self, pids: &str) -> Result<(), Error> {
        let Some((mut file, beside)) = self.beside.take() else { return Ok(()) };
        let written = file.write_all(pids.as_bytes()).and_then(|()| fs::rename(&beside, &self.path));
        match written {
            Ok(()) => {
                self.pids = pids.into();
                Ok(())
            }
            Err(error) => {
                let failed = Error::io("write pid file", &self.path, &error);
                self.beside = Some((file, beside));
                Err(failed)
            }
        }
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(self) {
        mem::forget(self);
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some((_, beside)) = &self.beside {
            let _ = fs::remove_file(beside);
            return;
        }
        let ours = fs::read(&self.path).is_ok_and(|held| held == self.pids.as_bytes());
        if ours {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("{}", Error::io("remove pid file", &self.path, &error));
            }
        }
    }
}

/// A new file in the same folder. Another of the same name is the remains of somebody who was killed.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let pid = process::id();
    let mut number = 0;
    loop {
        let mut beside = path.to_owned().into_os_string();
        beside.push(format!(".{pid}.{number}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => number += 1,
            opened => return opened.map(|file| (file, beside.into())),
        }
    }
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
        let mut pid_file = PidFile::new(&path, false).expect("may be written");
        pid_file.write("12\n13").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "12\n13");
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn is_left_to_who_wrote_it_last() {
        let path = path("last");
        let mut pid_file = PidFile::new(&path, false).expect("may be written");
        pid_file.write("12").expect("written");
        fs::write(&path, "1").expect("written");
        drop(pid_file);
        assert_eq!(fs::read_to_string(&path).expect("read"), "1");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_file_not_written_by_us_stays() {
        let path = path("stays");
        fs::write(&path, "1").expect("written");
        drop(PidFile::new(&path, false).expect("may be written"));
        assert_eq!(fs::read_to_string(&path).expect("read"), "1");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let link = path("link");
        std::os::unix::fs::symlink("/nonexistent", &link).expect("linked");
        for path in [link.as_path(), Path::new("/"), Path::new("/dev/null")] {
            let message = PidFile::new(path, false).err().expect("refused").to_string();
            let path = path.display();
            assert_eq!(message, format!("cannot write pid file '{path}': not a regular file"));
        }
        fs::remove_file(&link).expect("removed");
    }
}
