//! A descriptor to which lines are written without waiting, but for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::sys;
use crate::sys::For;

/// Between two tries at the end of the process.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Stream {
    file: File,
    kind: Kind,
}

/// How writing is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A regular file is written to: a slow disk cannot be told from a fast one.
    Regular,
    /// Each message says so.
    Socket,
    /// A pipe, terminal or device that we opened ourselves, non-blocking.
    Own,
    /// One that we could not open ourselves. Its flags are those of all processes that share it and stay as they are;
    /// it is polled before each write, which is one that a pipe takes at once.
    Shared,
}

impl Stream {
    /// Takes a descriptor that other processes may share. A pipe or terminal is opened anew, through /proc, for flags
    /// of our own.
    pub(crate) fn shared(given: OwnedFd) -> io::Result<Self> {
        let stream = Stream::new(given.into(), Kind::Shared)?;
        Ok(match stream.kind {
            Kind::Shared => match own_description(stream.as_fd()) {
                Some(file) => Stream { file, kind: Kind::Own },
                None => stream,
            },
            _ => stream,
        })
    }

    /// Takes a file that was opened non-blocking.
    pub(crate) fn own(file: File) -> io::Result<Self> {
        Stream::new(file, Kind::Own)
    }

    fn new(file: File, other: Kind) -> io::Result<Self> {
        let kind = match file.metadata()?.file_type() {
            kind if kind.is_file() => Kind::Regular,
            kind if kind.is_socket() => Kind::Socket,
            _ => other,
        };
        Ok(Stream { file, kind })
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Stream::shared(io::stderr().as_fd().try_clone_to_owned()?)
    }

    /// Writes to our stderr although no descriptor can be had, or looked at: as much as a pipe takes at once.
    pub(crate) fn write_to_stderr_as_it_is(bytes: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        match sys::poll(&[(stderr.as_fd(), For::Writing)], Some(Duration::ZERO))?[..] {
            [true] => stderr.lock().write_all(&bytes[..bytes.len().min(libc::PIPE_BUF)]),
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.kind == Kind::Regular
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_regular() && self.file.metadata().is_ok_and(|file| file.len() == 0)
    }

    /// Whether a write would block if other processes filled the pipe or terminal between the poll and the write.
    pub(crate) fn can_block(&self) -> bool {
        self.kind == Kind::Shared
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room; poll tells when there is.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Regular => self.file.write(bytes).map_err(|error| match error.kind() {
                // A mandatory lock; a regular file is always ready for poll.
                ErrorKind::WouldBlock => io::Error::from_raw_os_error(libc::EDEADLK),
                _ => error,
            }),
            Kind::Socket => SockRef::from(&self.file).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL),
            Kind::Own => self.file.write(bytes),
            Kind::Shared => match sys::poll(&[(self.as_fd(), For::Writing)], Some(Duration::ZERO))?[..] {
                [true] => self.file.write(&bytes[..bytes.len().min(libc::PIPE_BUF)]),
                _ => Err(ErrorKind::WouldBlock.into()),
            },
        }
    }

    /// Writes everything, or gives up after this time.
    pub(crate) fn write_within(&mut self, mut bytes: &[u8], time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // No poll: a terminal may be ready without room for a character.
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A description of our own of a pipe or terminal that other processes share: only on such a one may writing be made
/// non-blocking.
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
    fn full_pipe_or_socket_does_not_block() {
        let (_read, write) = sys::pipe().expect("a pipe");
        assert!(fill(Stream::new(write.into(), Kind::Shared).expect("a stream")) > 0);
        let (_read, write) = sys::pipe().expect("a pipe");
        assert!(fill(Stream::shared(write).expect("a stream")) > 0);
        let (_other, socket) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(fill(Stream::shared(socket.into()).expect("a stream")) > 0);
    }

    #[test]
    fn shared_pipe_takes_no_more_than_it_has_room_for() {
        let (_read, write) = sys::pipe().expect("a pipe");
        let mut stream = Stream::new(write.into(), Kind::Shared).expect("a stream");
        assert_eq!(stream.write(&[b'x'; 100_000]).expect("written"), libc::PIPE_BUF);
        assert!(stream.can_block());
    }

    #[test]
    fn shared_flags_stay_as_they_are() {
        let (_read, write) = sys::pipe().expect("a pipe");
        let stream = Stream::shared(write.try_clone().expect("a copy")).expect("a stream");
        assert!(!stream.can_block() && fill(stream) > 0);
        let flags = |fd: BorrowedFd<'_>| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("it is open");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim().to_owned();
            i32::from_str_radix(&flags, 8).expect("octal")
        };
        assert_eq!(flags(write.as_fd()) & libc::O_NONBLOCK, 0);
    }

    #[test]
    fn last_write_ends_in_time() {
        let (_read, write) = sys::pipe().expect("a pipe");
        let mut stream = Stream::shared(write).expect("a stream");
        let time = Duration::from_millis(50);
        let begun = Instant::now();
        assert!(stream.write_within(b"short", time).is_ok());
        let error = stream.write_within(&vec![b'x'; 1 << 20], time).expect_err("it is full");
        assert!(error.kind() == ErrorKind::WouldBlock && begun.elapsed() >= time);
    }
}
