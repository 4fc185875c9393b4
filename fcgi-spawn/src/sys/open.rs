//! Files opened by the descriptor of their directory.

use std::ffi::{CString, OsStr, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A directory to open files in; permission to search it is enough.
///
/// Before Linux 2.6.39, which brought `O_PATH`, it also has to be readable.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a string that outlives the call; no file is created, so there is no mode.
    match unsafe { libc::open(path.as_ptr(), flags) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: opened just now, and owned by nothing else.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// openat(2): the file `name` in `directory`, closed on exec. `mode` is that of a file that is created, less the umask.
pub(crate) fn open_at(directory: impl AsFd, name: &OsStr, flags: c_int, mode: u32) -> io::Result<File> {
    let name = CString::new(name.as_bytes())?;
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: an open descriptor, a string that outlives the call, and a mode.
    match unsafe { libc::openat64(directory, name.as_ptr(), flags | libc::O_CLOEXEC, mode) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: opened just now, and owned by nothing else.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}
