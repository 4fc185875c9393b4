//! Bytes to send, from wherever they come.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use super::usage;
use crate::error::{Error, Reason};

/// How much of a body of unknown length is read to find it out.
const AHEAD: usize = 1024 * 1024;

/// So much is read at once.
pub(super) const PIECE: usize = 32 * 1024;

/// A file from where it is now, behind what was read of it ahead, or bytes alone.
#[derive(Debug, Default)]
pub(super) struct Body {
    ahead: Vec<u8>,
    file: Option<File>,
    /// Of both; `None` is for a pipe.
    length: Option<u64>,
}

impl Body {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Body { length: Some(bytes.len() as u64), ahead: bytes, file: None }
    }

    /// From where the file is now to its end.
    pub(super) fn file(mut file: File) -> Result<Self, Error> {
        let about = file.metadata().map_err(|error| unreadable(&error))?;
        let length = match io::Seek::stream_position(&mut file) {
            Ok(at) if about.is_file() => Some(about.len().saturating_sub(at)),
            _ => None,
        };
        Ok(Body { ahead: Vec::new(), file: Some(file), length })
    }

    pub(super) fn stdin() -> Result<Self, Error> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| unreadable(&error))?;
        Body::file(stdin.into())
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// What to wait for before more can be had of it.
    pub(super) fn source(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| self.ahead.is_empty())
    }

    /// What to wait for before [`measure`](Self::measure), until it is known how long the body is, or that it is long.
    pub(super) fn unmeasured(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| self.length.is_none() && self.ahead.len() <= AHEAD)
    }

    /// Reads some of it ahead.
    pub(super) fn measure(&mut self) -> Result<(), Error> {
        let mut piece = vec![0; PIECE];
        let count = read(self.file.as_ref(), &mut piece)?;
        self.ahead.extend_from_slice(&piece[..count]);
        if count == 0 {
            *self = Body::bytes(std::mem::take(&mut self.ahead));
        }
        Ok(())
    }

    /// Its next bytes, at most a piece, with as much room as `room` says in front of them. No bytes are its end.
    pub(super) fn next(&mut self, room: usize) -> Result<Vec<u8>, Error> {
        let most = self.length.map_or(PIECE, |left| usize::try_from(left).map_or(PIECE, |left| left.min(PIECE)));
        let mut bytes = vec![0; room + most];
        let count = match self.ahead.len().min(most) {
            0 => read(self.file.as_ref(), &mut bytes[room..])?,
            count => {
                bytes[room..][..count].copy_from_slice(&self.ahead[..count]);
                self.ahead.drain(..count);
                count
            }
        };
        if count == 0 && self.length.is_some_and(|left| left > 0) {
            return Err(usage("the body became shorter while it was read"));
        }
        self.length = self.length.map(|left| left - count as u64);
        bytes.truncate(room + count);
        Ok(bytes)
    }
}

fn read(file: Option<&File>, bytes: &mut [u8]) -> Result<usize, Error> {
    let Some(mut file) = file else { return Ok(0) };
    loop {
        match file.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            count => return count.map_err(|error| unreadable(&error)),
        }
    }
}

fn unreadable(why: &io::Error) -> Error {
    usage(format!("cannot read the body: {}", Reason(why)))
}
