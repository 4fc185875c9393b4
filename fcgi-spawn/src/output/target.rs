//! Where the log goes: a file, stderr or syslog. Nothing here waits, but for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use socket2::SockRef;

use crate::output::entry::Entry;
use crate::output::syslog::Syslog;
use crate::sys::For;
use crate::{Error, LogTo, sys};

pub(crate) enum Target {
    File { path: PathBuf, stream: Stream },
    Stderr(Stream),
    Syslog(Syslog),
}

impl Target {
    /// `stderr` is the one that was handed over to us, which is not ours in the background.
    pub(crate) fn open(to: &LogTo, stderr: Option<OwnedFd>) -> Result<Self, Error> {
        match to {
            LogTo::File(path) => {
                let failed = |error| Error::io("open log", path, &error);
                // The working directory may be another when it is opened again.
                let path = path::absolute(path).map_err(failed)?;
                let stream = Stream::open(&path).map_err(failed)?;
                Ok(Target::File { path, stream })
            }
            LogTo::Syslog(path) => {
                let syslog = Syslog::connect(path).map_err(|error| Error::io("connect to syslog", path, &error))?;
                Ok(Target::Syslog(syslog))
            }
            LogTo::Stderr => {
                let stream = stderr.map_or_else(Stream::stderr, |fd| Stream::new(fd.into()));
                let stream = stream.map_err(|error| Error::io("open log", "stderr", &error))?;
                Ok(Target::Stderr(stream))
            }
        }
    }

    /// Opens it anew: whoever rotates logs has moved the old file away.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        match self {
            Target::File { path, stream } => {
                *stream = Stream::open(path).map_err(|error| Error::io("open log", &*path, &error))?;
                Ok(())
            }
            Target::Stderr(_) => Ok(()),
            Target::Syslog(syslog) => {
                let done = syslog.reconnect();
                done.map_err(|error| Error::io("connect to syslog", syslog.path(), &error))
            }
        }
    }

    /// The line in the form that is wanted here.
    pub(crate) fn format(&self, entry: &Entry<'_>, us: &str) -> Vec<u8> {
        match self {
            Target::File { .. } => entry.dated(sys::time_of_day()),
            Target::Stderr(_) => entry.plain(),
            Target::Syslog(syslog) => syslog.ended(entry.syslog(us)),
        }
    }

    /// Writes what there is room for now.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::File { stream, .. } | Target::Stderr(stream) => stream.write(bytes),
            Target::Syslog(syslog) => syslog.send(bytes),
        }
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Target::File { stream, .. } | Target::Stderr(stream) => stream.file.as_fd(),
            Target::Syslog(syslog) => syslog.as_fd(),
        }
    }
}

/// A descriptor that lines are written to.
pub(crate) struct Stream {
    file: File,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A regular file: there is no telling whether a disk is slow.
    Regular,
    Socket,
    /// A pipe, a terminal, another device.
    Other,
}

impl Stream {
    /// Opens a file for lines at its end; it is made if there is none. A named pipe need not have a reader.
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        match fs::metadata(path) {
            Ok(there) if there.file_type().is_fifo() => options.read(true).write(true),
            _ => options.append(true).create(true).mode(0o640),
        };
        Stream::new(options.custom_flags(libc::O_NOCTTY).open(path)?)
    }

    fn stderr() -> io::Result<Self> {
        let given = io::stderr().as_fd().try_clone_to_owned()?;
        Stream::new(own_description(given.as_fd()).unwrap_or(given.into()))
    }

    fn new(file: File) -> io::Result<Self> {
        let kind = match file.metadata()?.file_type() {
            kind if kind.is_file() => Kind::Regular,
            kind if kind.is_socket() => Kind::Socket,
            _ => Kind::Other,
        };
        Ok(Stream { file, kind })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Regular => self.file.write(bytes),
            Kind::Socket => SockRef::from(&self.file).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL),
            // A pipe that can be written to takes a line of at most PIPE_BUF bytes at once.
            Kind::Other => match sys::poll(&[(self.file.as_fd(), For::Writing)], Some(Duration::ZERO))?[..] {
                [true] => self.file.write(bytes),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            },
        }
    }
}

/// A description of our own for a pipe or terminal that others share with us: only on such a one may writing be made
/// not to block. Without it, and where others write too, a look before each write has to do.
fn own_description(given: BorrowedFd<'_>) -> Option<File> {
    let path = format!("/proc/self/fd/{}", given.as_raw_fd());
    let kind = fs::metadata(&path).ok()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return None;
    }
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn fill(mut stream: Stream) -> usize {
        let line = [b'x'; 1000];
        let mut lines = 0;
        loop {
            match stream.write(&line) {
                Ok(written) => assert_eq!(written, line.len()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return lines;
                }
            }
            lines += 1;
            assert!(lines < 10_000, "it is never full");
        }
    }

    #[test]
    fn a_full_pipe_or_socket_is_not_waited_for() {
        let (_read, write) = sys::pipe().expect("a pipe");
        assert!(fill(Stream::new(write.into()).expect("a stream")) > 0);
        let (_other, socket) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let socket: OwnedFd = socket.into();
        assert!(fill(Stream::new(socket.into()).expect("a stream")) > 0);
    }

    #[test]
    fn a_pipe_is_shared_without_its_flags() {
        let (_read, write) = sys::pipe().expect("a pipe");
        let own = own_description(write.as_fd()).expect("ours to open");
        assert!(fill(Stream::new(own).expect("a stream")) > 0);
        let flags = |fd: BorrowedFd<'_>| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("it is open");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim().to_owned();
            i32::from_str_radix(&flags, 8).expect("octal")
        };
        assert_eq!(flags(write.as_fd()) & libc::O_NONBLOCK, 0);
    }
}
