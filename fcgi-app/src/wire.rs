use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

use socket2::Socket;

use crate::Limits;
use crate::clock::{Clock, Deadline};
use crate::slot::{Slot, State};

/// The socket of a connection as its two users see it: the body that reads, the response that writes.
///
/// What the one learns the other must know: after an abort no more output is wanted but the end of the request, and
/// after something fatal nothing is sent at all. Each wait for the peer is published with its deadline.
pub(crate) struct Wire<'c> {
    socket: &'c Socket,
    slot: &'c Slot,
    clock: &'c Clock,
    limits: &'c Limits,
    aborted: Cell<bool>,
    broken: Cell<bool>,
}

impl<'c> Wire<'c> {
    pub(crate) fn new(socket: &'c Socket, slot: &'c Slot, clock: &'c Clock, limits: &'c Limits) -> Self {
        Self { socket, slot, clock, limits, aborted: Cell::new(false), broken: Cell::new(false) }
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

    /// Reads what is there of a body, with the limit of silence; 0 is the end of the input.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_until(self.clock.deadline(self.limits.silence), buffer)
    }

    /// Reads what is there, waiting until a deadline; 0 is the end of the input.
    pub(crate) fn read_until(&self, deadline: Deadline, buffer: &mut [u8]) -> io::Result<usize> {
        self.slot.set(State::Busy(deadline));
        let read = self.read_idle(buffer);
        self.slot.set(State::Busy(Deadline::NEVER));
        read
    }

    /// Reads what is there, without publishing that it waits.
    pub(crate) fn read_idle(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = (&mut &*self.socket).read(buffer);
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(1..) => return read,
                Ok(_) | Err(_) => {
                    self.check_time()?;
                    return read.inspect_err(|_| self.set_broken());
                }
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
            self.slot.set(State::Busy(self.clock.deadline(self.limits.write_time)));
            let written = match slices {
                [slice] => (&mut &*self.socket).write(slice),
                _ => (&mut &*self.socket).write_vectored(slices),
            };
            self.slot.set(State::Busy(Deadline::NEVER));
            match written {
                Ok(0) => {
                    self.set_broken();
                    return Err(ErrorKind::WriteZero.into());
                }
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.set_broken();
                    self.check_time()?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// An end or error that the housekeeper brought about is a time limit that was over.
    fn check_time(&self) -> io::Result<()> {
        if !self.slot.is_timed_out() {
            return Ok(());
        }
        self.set_broken();
        Err(io::Error::new(ErrorKind::TimedOut, "a time limit was over"))
    }
}

/// How a request ends that its web server gave up.
pub(crate) fn aborted(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, why)
}
