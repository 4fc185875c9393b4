//! A directory that is held open, and what is done in it by name: no path is looked up a second time.

use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use libc::c_int;

use super::files::{Handle, Status, change_directory};

/// A directory, whatever happens to its path meanwhile.
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// The root directory.
    pub(crate) fn root() -> io::Result<Self> {
        Self::open_at(libc::AT_FDCWD, c"/")
    }

    /// The working directory.
    pub(crate) fn working() -> io::Result<Self> {
        Self::open_at(libc::AT_FDCWD, c".")
    }

    /// The one of this name in it; a symlink is not followed.
    pub(crate) fn directory(&self, name: &CStr) -> io::Result<Self> {
        Self::open_at(self.0.as_raw_fd(), name)
    }

    /// `O_DIRECTORY` also mounts what autofs has there.
    fn open_at(directory: RawFd, name: &CStr) -> io::Result<Self> {
        open_at(directory, name, libc::O_PATH | libc::O_DIRECTORY, 0).map(Directory)
    }

    /// Another descriptor of it.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Directory)
    }

    /// A handle on whatever has this name, a symlink included.
    pub(crate) fn handle(&self, name: &CStr) -> io::Result<Handle> {
        open_at(self.0.as_raw_fd(), name, libc::O_PATH, 0).map(Handle::from)
    }

    /// Opens a file without following a symlink or waiting for the other end of a FIFO. What it is has to be looked at.
    pub(crate) fn file(&self, name: &CStr, flags: c_int, mode: u32) -> io::Result<File> {
        open_at(self.0.as_raw_fd(), name, flags | libc::O_NONBLOCK | libc::O_NOCTTY, mode).map(File::from)
    }

    /// What has this name, a symlink included.
    pub(crate) fn status_of(&self, name: &CStr) -> io::Result<Status> {
        Status::at(self.0.as_raw_fd(), name, libc::AT_SYMLINK_NOFOLLOW)
    }

    /// What it is itself.
    pub(crate) fn status(&self) -> io::Result<Status> {
        Status::of(&self.0)
    }

    /// Gives what is called `from` the name `to`, in the place of what has it.
    pub(crate) fn rename(&self, from: &CStr, to: &CStr) -> io::Result<()> {
        let directory = self.0.as_raw_fd();
        // SAFETY: an open descriptor, and strings that outlive the call.
        done(unsafe { libc::renameat(directory, from.as_ptr(), directory, to.as_ptr()) })
    }

    /// Removes a name, if it is not a directory's.
    pub(crate) fn remove(&self, name: &CStr) -> io::Result<()> {
        // SAFETY: an open descriptor, and a string that outlives the call.
        done(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) })
    }

    /// Makes a directory.
    pub(crate) fn make_directory(&self, name: &CStr, mode: u32) -> io::Result<()> {
        // SAFETY: an open descriptor, and a string that outlives the call.
        done(unsafe { libc::mkdirat(self.0.as_raw_fd(), name.as_ptr(), mode as libc::mode_t) })
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self, name: &CStr) -> io::Result<()> {
        // SAFETY: an open descriptor, and a string that outlives the call.
        done(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) })
    }

    /// Makes it the working directory.
    pub(crate) fn enter(&self) -> io::Result<()> {
        match change_directory(&self.0) {
            // Before Linux 3.5 such a descriptor will not do.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                change_directory(self.file(c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?)
            }
            entered => entered,
        }
    }

    /// A path that leads there, in this process and where there is `/proc`.
    pub(crate) fn path_in_proc(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// At most so many of the names in it; none without `/proc`.
    pub(crate) fn names(&self, limit: usize) -> Vec<OsString> {
        let entries = fs::read_dir(self.path_in_proc());
        entries.into_iter().flatten().take(limit).filter_map(|entry| Some(entry.ok()?.file_name())).collect()
    }
}

/// openat(2). What is opened closes on exec, and a symlink that the name is of is not followed.
fn open_at(directory: RawFd, name: &CStr, flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: the number is an open descriptor or stands for the working directory; the string outlives the call.
    match unsafe { libc::openat(directory, name.as_ptr(), flags, mode as libc::c_uint) } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) && flags & libc::O_PATH != 0 => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "a unix socket needs Linux 2.6.39 or later"))
            }
            error => Err(error),
        },
        // SAFETY: it was opened just now, and nothing else knows of it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

impl Handle {
    /// Where a symlink leads.
    pub(crate) fn read_link(&self) -> io::Result<CString> {
        let mut target = vec![0_u8; libc::PATH_MAX as usize];
        let (fd, room) = (self.as_fd().as_raw_fd(), target.len());
        // SAFETY: an open descriptor, a string, and as much room as is said.
        match unsafe { libc::readlinkat(fd, c"".as_ptr(), target.as_mut_ptr().cast(), room) } {
            -1 => Err(io::Error::last_os_error()),
            len => {
                target.truncate(len as usize);
                CString::new(target).map_err(io::Error::from)
            }
        }
    }
}

impl Status {
    fn at(directory: RawFd, name: &CStr, flags: c_int) -> io::Result<Self> {
        let mut status = MaybeUninit::<libc::stat64>::uninit();
        // SAFETY: an open descriptor, a string, and a place of the size the call writes.
        done(unsafe { libc::fstatat64(directory, name.as_ptr(), status.as_mut_ptr(), flags) })?;
        // SAFETY: written just now.
        let status = unsafe { status.assume_init() };
        Ok(Status {
            identity: (status.st_dev, status.st_ino),
            mode: status.st_mode,
            has_one_name: status.st_nlink == 1,
            uid: status.st_uid,
            gid: status.st_gid,
            size: status.st_size as u64,
        })
    }

    /// Of what is open: also of a handle on a kernel before 3.6, whose fstat refuses one.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Self::at(file.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    }
}

fn done(result: c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
