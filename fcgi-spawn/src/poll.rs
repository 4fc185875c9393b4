//! What the supervisor sleeps on: descriptors, each with the name of who wants to know, and the first deadline.
//!
//! A `Poll` lives for one turn of the loop. Everybody adds what he waits for now, `wait` sleeps, and says whose
//! turn it is; nothing has to be taken back when somebody is done.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::sys::{self, For};

/// One turn's descriptors and deadline. `S` tells the sources apart.
pub(crate) struct Poll<'a, S> {
    waits: Vec<(BorrowedFd<'a>, For, S)>,
    deadline: Option<Instant>,
}

impl<'a, S: Copy> Poll<'a, S> {
    pub(crate) fn new() -> Self {
        Poll { waits: Vec::new(), deadline: None }
    }

    /// Wakes up when `fd` has something to read or its other end is gone.
    pub(crate) fn readable(&mut self, fd: &'a impl AsFd, source: S) {
        self.waits.push((fd.as_fd(), For::Reading, source));
    }

    /// Wakes up when `fd` takes something.
    pub(crate) fn writable(&mut self, fd: &'a impl AsFd, source: S) {
        self.waits.push((fd.as_fd(), For::Writing, source));
    }

    /// Wakes up at this time at the latest; of several the first counts.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = self.deadline.into_iter().chain(deadline).min();
    }

    /// Sleeps, and gives the sources that are ready in the order in which they were added: none after a deadline or a
    /// signal.
    pub(crate) fn wait(self) -> io::Result<Vec<S>> {
        let timeout = self.deadline.map(|then| then.saturating_duration_since(Instant::now()));
        let fds: Vec<_> = self.waits.iter().map(|(fd, what, _)| (*fd, *what)).collect();
        let ready = sys::poll(&fds, timeout)?;
        Ok(self.waits.iter().zip(ready).filter(|(_, ready)| *ready).map(|((_, _, source), _)| *source).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_ready_ones_are_named() {
        let (quiet, _held) = UnixStream::pair().expect("a pair");
        let (loud, mut other) = UnixStream::pair().expect("a pair");
        let (gone, closed) = UnixStream::pair().expect("a pair");
        other.write_all(b"x").expect("written");
        drop(closed);

        let mut poll = Poll::new();
        poll.readable(&quiet, "quiet");
        poll.readable(&loud, "loud");
        poll.writable(&quiet, "may be written");
        poll.readable(&gone, "gone");
        assert_eq!(poll.wait().expect("polled"), ["loud", "may be written", "gone"]);
    }

    #[test]
    fn the_first_deadline_counts() {
        let (quiet, _held) = UnixStream::pair().expect("a pair");
        let now = Instant::now();
        let mut poll = Poll::new();
        poll.readable(&quiet, ());
        poll.until(Some(now + Duration::from_secs(1000)));
        poll.until(None);
        poll.until(Some(now + Duration::from_millis(1)));
        assert_eq!(poll.wait().expect("polled"), []);
    }
}
