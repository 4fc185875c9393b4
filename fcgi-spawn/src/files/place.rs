//! Where a file is: the directory that it is in, held open, and its name there.
//!
//! The directory is looked up once. Whatever a worker puts in the place of the directory afterwards, a symlink included,
//! we go on in the one that was opened.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::files::walk::{self, Created, Reached};
use crate::sys::{Directory, Handle, Status};

/// A name in a directory that is held open.
pub(crate) struct Place {
    directory: Directory,
    name: CString,
    path: PathBuf,
    is_reliable: bool,
}

impl Place {
    /// Opens the directory of this path.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::walk(path, None)
    }

    /// The same; directories that do not exist are made, if they are to be.
    pub(super) fn walk(path: &Path, made: Option<&mut Vec<Created>>) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let begin = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (above, name) = bytes.split_at(begin);
        if matches!(name, b"" | b"." | b"..") {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        let Reached { directory, is_reliable } = walk::walk(Path::new(OsStr::from_bytes(above)), made)?;
        Ok(Place { directory, name: CString::new(name)?, path: path.to_owned(), is_reliable })
    }

    /// The same with something appended to the name.
    pub(super) fn with_suffix(&self, suffix: &str) -> io::Result<Self> {
        let append = |name: &[u8]| [name, suffix.as_bytes()].concat();
        let path = PathBuf::from(OsStr::from_bytes(&append(self.path.as_os_str().as_bytes())));
        let name = CString::new(append(self.name.to_bytes()))?;
        Ok(Place { directory: self.directory.try_clone()?, name, path, is_reliable: self.is_reliable })
    }

    /// As it was named, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path leads there as long as neither root nor we ourselves change that.
    pub(crate) fn is_reliable(&self) -> bool {
        self.is_reliable
    }

    /// What is there, a symlink included.
    pub(crate) fn status(&self) -> io::Result<Option<Status>> {
        match twice(|| self.directory.status_of(&self.name)) {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this file, by its device and inode, is there, as far as that can be seen.
    pub(crate) fn has(&self, file: (u64, u64)) -> bool {
        self.status().map_or(true, |there| there.is_some_and(|there| there.identity == file))
    }

    /// A handle on what is there.
    pub(crate) fn handle(&self) -> io::Result<Handle> {
        twice(|| self.directory.handle(&self.name))
    }

    /// Opens the regular file that is there. Nothing else is waited for, read or followed.
    pub(crate) fn open(&self) -> io::Result<File> {
        let file = match self.directory.file(&self.name, libc::O_RDONLY, 0) {
            // What O_NOFOLLOW makes of a symlink, and the kernel of a socket.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Err(not_regular()),
            opened => opened?,
        };
        if Status::of(&file)?.is_regular() { Ok(file) } else { Err(not_regular()) }
    }

    /// Opens a file for writing and leaves its content as it is; `flags` may create it.
    pub(super) fn open_to_write(&self, flags: i32, mode: u32) -> io::Result<File> {
        self.directory.file(&self.name, flags | libc::O_WRONLY, mode)
    }

    /// Removes the name of what is there, if it is not a directory.
    pub(crate) fn remove(&self) -> io::Result<()> {
        twice(|| self.directory.remove(&self.name))
    }

    /// Removes what is there if it is this file; that it stays is reported.
    pub(crate) fn remove_file(&self, file: (u64, u64)) {
        let removed = match self.status() {
            Ok(Some(there)) if there.identity == file => self.remove(),
            there => there.map(drop),
        };
        self.report(removed);
    }

    /// Removes the directory that is there, if it is empty; that it stays for another reason is reported.
    pub(super) fn remove_directory(&self) {
        let removed = twice(|| self.directory.remove_directory(&self.name));
        self.report(removed.or_else(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Ok(()),
            _ => Err(error),
        }));
    }

    fn report(&self, removed: io::Result<()>) {
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("{}", Error::io("remove", &self.path, &error));
            }
            _ => {}
        }
    }

    /// Puts what is at another place of the same directory here, in the place of what is here.
    pub(super) fn replace_by(&self, other: &Place) -> io::Result<()> {
        self.directory.rename(&other.name, &self.name)
    }

    /// The places in the same directory whose names begin with ours; not all of them if there are very many names.
    pub(super) fn longer_names(&self) -> impl Iterator<Item = String> {
        /// A worker that fills the directory must not delay a start.
        const LIMIT: usize = 10_000;
        let name = self.name.to_string_lossy().into_owned();
        let names = self.directory.names(LIMIT).into_iter().filter_map(|name| name.into_string().ok());
        names.filter_map(move |other| other.strip_prefix(&name).map(str::to_owned))
    }

    /// Runs something in the directory, for a system call that knows no other way to a file in it than its path.
    pub(crate) fn within<T>(&self, run: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let name = Path::new(OsStr::from_bytes(self.name.to_bytes()));
        match Directory::working() {
            Ok(before) => {
                self.directory.enter()?;
                let done = run(name);
                before.enter()?;
                done
            }
            // We may not search it, so there would be no way back.
            Err(_) => run(&self.directory.path_in_proc().join(name)),
        }
    }
}

/// Why a file is neither read nor replaced.
pub(crate) fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

impl From<Created> for Place {
    fn from(made: Created) -> Self {
        Place { directory: made.parent, name: made.name, path: made.path, is_reliable: false }
    }
}

/// What is not removed stays for ever, so a failure that may pass is tried once more.
pub(crate) fn twice<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    call().or_else(|error| if error.kind() == ErrorKind::NotFound { Err(error) } else { call() })
}
