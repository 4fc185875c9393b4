//! The pid file: a regular file, written whole or not at all, and gone again when we are.

use std::io;
use std::path::Path;
use std::process;

use crate::Error;
use crate::files::atomic_file::{AtomicFile, FileMode};
use crate::files::directories::Directories;
use crate::files::place::Place;

/// The file for our pid, or our workers', with the mode that spawn-fcgi gives it. It is removed when this is dropped, if
/// it is still the one we wrote.
pub(crate) struct PidFile {
    file: AtomicFile,
    directories: Directories,
}

impl PidFile {
    /// Refuses a path whose directory does not exist and is not to be made. Nothing is made.
    pub(crate) fn check(path: &Path, mkdir: bool) -> Result<(), Error> {
        match Place::of(path) {
            Err(error) if !mkdir => Err(failed(path, &error)),
            _ => Ok(()),
        }
    }

    /// Refuses at once what cannot be written, or exists and is not a regular file. What exists stays for now.
    pub(crate) fn new(path: &Path, mkdir: bool) -> Result<Self, Error> {
        let make = || -> io::Result<Self> {
            let (place, directories) = match mkdir {
                true => Directories::above(path)?,
                false => (Place::of(path)?, Directories::default()),
            };
            Ok(PidFile { file: AtomicFile::new(place, FileMode::LessUmask)?, directories })
        };
        make().map_err(|error| failed(path, &error))
    }

    /// The file that a predecessor in this process wrote, if it still has our pid, and so many directories above it.
    pub(crate) fn adopt(path: &Path, made: usize) -> Result<Self, Error> {
        let adopt = || -> io::Result<Self> {
            let pid = process::id().to_string();
            let file = AtomicFile::adopt(Place::of(path)?, FileMode::LessUmask, pid.as_bytes())?;
            Ok(PidFile { file, directories: Directories::adopt(path, made) })
        };
        adopt().map_err(|error| Error::io("take over pid file", path, &error))
    }

    /// How many directories were made for it.
    pub(crate) fn made(&self) -> usize {
        self.directories.count()
    }

    /// Writes the pids, one a line, as spawn-fcgi without a final newline.
    pub(crate) fn write(&mut self, pids: &str) -> Result<(), Error> {
        self.file.write(pids.as_bytes()).map_err(|error| failed(self.file.path(), &error))
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) {
        self.file.keep();
        self.directories.keep();
    }

    /// Leaves everything to another process that has it too.
    pub(crate) fn leave(mut self) {
        self.file.leave();
        self.directories.keep();
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::io("write pid file", path, error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::scratch::Scratch;

    #[test]
    fn holds_the_pid_until_dropped() {
        let scratch = Scratch::new();
        let path = scratch.path("a/b/pid");
        let mut pid_file = PidFile::new(&path, true).expect("may be written");
        fs::write(&path, "an older and longer pid").expect("written");
        pid_file.write("12\n13").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "12\n13");
        drop(pid_file);
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn stays_with_its_directories_if_kept() {
        let scratch = Scratch::new();
        let path = scratch.path("a/pid");
        let mut pid_file = PidFile::new(&path, true).expect("may be written");
        pid_file.write("12").expect("written");
        pid_file.keep();
        assert_eq!(fs::read_to_string(&path).expect("read"), "12");
    }

    #[test]
    fn of_a_predecessor_is_removed_if_it_has_our_pid() {
        let scratch = Scratch::new();
        let path = scratch.path("pid");
        let adopt = || PidFile::adopt(&path, 0).expect("a directory");
        let ours = process::id().to_string();
        for other in ["1".into(), format!("{ours}1"), ours[1..].into(), String::new()] {
            fs::write(&path, &other).expect("written");
            drop(adopt());
            assert!(path.exists(), "{other}");
        }
        fs::write(&path, &ours).expect("written");
        fs::hard_link(&path, scratch.path("other")).expect("linked");
        drop(adopt());
        assert!(path.exists());
        fs::remove_file(scratch.path("other")).expect("removed");
        drop(adopt());
        assert!(!path.exists());
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let scratch = Scratch::new();
        let [link, socket] = ["link", "socket"].map(|name| scratch.path(name));
        std::os::unix::fs::symlink("/nonexistent", &link).expect("linked");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        let refusal = |path: &Path| PidFile::new(path, false).err().expect("refused").to_string();
        for path in [&link, &socket, Path::new("/tmp"), Path::new("/dev/null")] {
            let message = format!("cannot write pid file '{}': not a regular file", path.display());
            assert_eq!(refusal(path), message);
        }
        for path in ["/", "/tmp/", "/tmp/..", "."] {
            assert_eq!(refusal(Path::new(path)), format!("cannot write pid file '{path}': Is a directory"));
        }
    }
}
