//! Signals as something to wait for: the handlers note the signal and write a byte, the loop does the rest.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::c_int;
use signal_hook::{flag, low_level};

use crate::sys;

/// What the supervisor reacts to.
const HANDLED: [c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The handled signals that arrived and were not yet asked for.
pub(crate) struct Signals {
    /// Readable when one arrived.
    wake: UnixStream,
    arrived: [(c_int, Arc<AtomicBool>); HANDLED.len()],
}

impl Signals {
    /// Installs the handlers, whatever was ignored or blocked by whoever started us.
    pub(crate) fn install() -> io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let arrived = HANDLED.map(|signal| (signal, Arc::default()));
        for (signal, noted) in &arrived {
            // Handlers run in this order: once the byte is there, the note is too.
            flag::register(*signal, Arc::clone(noted))?;
            low_level::pipe::register(*signal, write.try_clone()?)?;
        }
        sys::unblock_signals();
        Ok(Signals { wake, arrived })
    }

    /// The signals that arrived since the last call; `rang` says that there are bytes to be taken. One may have come
    /// without us having looked for its byte: then we need not ask.
    ///
    /// The bytes are taken before the notes, so that a signal between the two is seen twice rather
    /// than never.
    pub(crate) fn take(&mut self, rang: bool) -> Vec<c_int> {
        if !rang && !self.arrived.iter().any(|(_, noted)| noted.load(Ordering::SeqCst)) {
            return Vec::new();
        }
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(64)) {}
        self.arrived
            .iter()
            .filter(|(_, noted)| noted.swap(false, Ordering::SeqCst))
            .map(|(signal, _)| *signal)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// `SIGTERM`, or the bare number of a signal without a name.
pub(crate) fn name(signal: c_int) -> String {
    match low_level::signal_name(signal) {
        Some(name) => name.into(),
        None => format!("signal {signal}"),
    }
}
