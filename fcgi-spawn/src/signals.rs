//! Signals as something to wait for: they stay blocked and are read from a descriptor, so that nothing is ever
//! interrupted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::c_int;
use signal_hook::low_level;

use crate::sys;

/// What the supervisor reacts to.
const HANDLED: [c_int; 9] = [
    libc::SIGCHLD,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Blocked and never read: a write beyond the limit of a file's size fails then, and neither ends the process nor wakes it.
const HELD: c_int = libc::SIGXFSZ;

/// Readable when one of them has arrived.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Has them wait for us from here on, whatever the process that started us ignored or blocked.
    pub(crate) fn expect() -> io::Result<Self> {
        sys::signal_fd(&HANDLED, HELD).map(Signals)
    }

    /// Those that arrived since the last call. Of several that are the same one counts.
    pub(crate) fn take(&self) -> Vec<c_int> {
        std::iter::from_fn(|| sys::next_signal(self)).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `SIGTERM`, or the bare number of a signal without a name.
pub(crate) fn name(signal: c_int) -> String {
    match low_level::signal_name(signal) {
        Some(name) => name.into(),
        None => format!("signal {signal}"),
    }
}
