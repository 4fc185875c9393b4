use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

use socket2::Socket;

/// The socket of a connection as its two users see it: the body that reads, the response that writes.
///
/// What the one learns the other must know: after an abort no more output is wanted but the end of the request, and
/// after something fatal nothing is sent at all.
pub(crate) struct Wire<'c> {
    socket: &'c Socket,
    aborted: Cell<bool>,
    broken: Cell<bool>,
}

impl<'c> Wire<'c> {
    pub(crate) fn new(socket: &'c Socket) -> Self {
        Self { socket, aborted: Cell::new(false), broken: Cell::new(false) }
    }

    /// Says whether the request under way was aborted by its web server.
    pub(crate) fn set_aborted(&self, aborted: bool) {
        self.aborted.set(aborted);
    }

    /// Whether output of the request under way is still wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.aborted.get() && !self.broken.get()
    }

    /// Says that the connection is lost: whatever would still be sent fails with `ConnectionAborted`.
    pub(crate) fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Reads what is there; 0 is the end of the input.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&mut &*self.socket).read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.inspect_err(|_| self.set_broken()),
            }
        }
    }

    /// Sends whole records.
    pub(crate) fn write(&self, records: &[u8]) -> io::Result<()> {
        self.write_vectored(&mut [IoSlice::new(records)])
    }

    /// Sends whole records, gathered from `slices`, with as few calls as the socket allows.
    pub(crate) fn write_vectored(&self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        if self.broken.get() {
            return Err(aborted("the connection is lost"));
        }
        IoSlice::advance_slices(&mut slices, 0); // drops empty ones
        while !slices.is_empty() {
            let written = match slices {
                [slice] => (&mut &*self.socket).write(slice),
                _ => (&mut &*self.socket).write_vectored(slices),
            };
            match written {
                Ok(0) => break,
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.set_broken();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// How a request ends that its web server gave up.
pub(crate) fn aborted(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, why)
}
