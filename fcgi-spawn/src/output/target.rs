//! Where the log goes: a file, stderr or syslog. Nothing here waits, but for a disk.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::output::entry::Entry;
use crate::output::file::LogFile;
use crate::output::stream::Stream;
use crate::output::syslog::Syslog;
use crate::output::write_error::WriteError;
use crate::{Error, LogTo, sys};

pub(crate) enum Target {
    File(LogFile),
    Stderr(Stream),
    Syslog(Syslog),
    Nowhere,
}

impl Target {
    /// `given` is the descriptor to use for stderr, or for a file that is a descriptor: one that was handed over or
    /// kept, where another has its number now.
    pub(crate) fn open(to: &LogTo, given: Option<OwnedFd>) -> Result<Self, Error> {
        match to {
            LogTo::File(path) => Ok(Target::File(LogFile::open(path, given)?)),
            LogTo::Syslog(path) => Ok(Target::Syslog(Syslog::connect(path)?)),
            LogTo::Stderr => {
                let stream = given.map_or_else(Stream::stderr, Stream::shared);
                Ok(Target::Stderr(stream.map_err(|error| Error::io("open log", "stderr", &error))?))
            }
        }
    }

    /// Opens the log anew after a rotation; returns whether this is a log that can be reopened.
    pub(crate) fn reopen(&mut self) -> Result<bool, Error> {
        match self {
            Target::File(file) => file.reopen(),
            Target::Stderr(_) | Target::Nowhere => Ok(false),
            Target::Syslog(syslog) => syslog.reconnect().map(|()| true),
        }
    }

    /// The line in the form that is wanted here, if it is.
    pub(crate) fn format(&self, entry: &Entry<'_>, us: &str) -> Option<Vec<u8>> {
        match self {
            Target::File(_) => Some(entry.dated(sys::time_of_day())),
            Target::Stderr(_) => Some(entry.plain()),
            Target::Syslog(_) => Some(entry.syslog(us)),
            Target::Nowhere => None,
        }
    }

    /// Writes what there is room for of a line of which `written` bytes are written; returns how many these are then.
    pub(crate) fn write(&mut self, line: &[u8], written: usize) -> Result<usize, WriteError> {
        let stream = match self {
            Target::File(file) => &mut file.stream,
            Target::Stderr(stream) => stream,
            Target::Syslog(syslog) => return syslog.send(line, written),
            Target::Nowhere => return Ok(line.len()),
        };
        loop {
            match stream.write(&line[written..]) {
                Ok(0) => return Err(WriteError::Failed(ErrorKind::WriteZero.into())),
                Ok(more) => return Ok(written + more),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(WriteError::Full),
                Err(error) => return Err(WriteError::Failed(error)),
            }
        }
    }

    pub(crate) fn is_empty_file(&self) -> bool {
        matches!(self, Target::File(file) if file.is_empty())
    }

    /// The descriptor to poll for room.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Target::File(file) => Some(file.as_fd()),
            Target::Stderr(stream) => Some(stream.as_fd()),
            Target::Syslog(syslog) => syslog.fd(),
            Target::Nowhere => None,
        }
    }

    /// The descriptor that we were started with, if the log is one.
    pub(crate) fn given(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Target::File(file) if file.is_given() => Some(file.as_fd()),
            Target::Stderr(stream) => Some(stream.as_fd()),
            Target::File(_) | Target::Syslog(_) | Target::Nowhere => None,
        }
    }
}
