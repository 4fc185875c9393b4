//! What the supervisor sleeps on: descriptors, each with the name of who wants to know, and the first deadline.
//!
//! A `Poll` lives for one turn of the loop. Each source is added with what it waits for now, `wait` sleeps, and returns
//! those that are ready; nothing has to be taken back when a source is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Reason;
use crate::sys::{self, For};

/// Between two looks where the kernel does not wait for us.
const LOOK: Duration = Duration::from_millis(100);

/// Whether that was reported.
static REPORTED: AtomicBool = AtomicBool::new(false);

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

    /// Wakes up when the socket `fd` is shut down.
    pub(crate) fn hung_up(&mut self, fd: &'a impl AsFd, source: S) {
        self.waits.push((fd.as_fd(), For::Hangup, source));
    }

    /// Wakes up at this time at the latest; of several the first counts.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = self.deadline.into_iter().chain(deadline).min();
    }

    /// Sleeps, and gives the sources that are ready in the order in which they were added: none after a deadline or a
    /// signal. Their readers never block: where the kernel refuses to wait, for want of memory or by a limit, it looks
    /// every 100 ms, and reports that once: no shortage ends the caller.
    pub(crate) fn wait(self) -> Vec<S> {
        self.wait_by(sys::poll)
    }

    fn wait_by(self, poll: impl Fn(&[(BorrowedFd<'_>, For)], Option<Duration>) -> io::Result<Vec<bool>>) -> Vec<S> {
        let (descriptors, timeout) = (self.descriptors(), self.timeout());
        let ready = poll(&descriptors, timeout).unwrap_or_else(|error| {
            if !REPORTED.swap(true, Ordering::Relaxed) {
                log::error!("cannot wait for events: {}; looking every 100ms", Reason(&error));
            }
            thread::sleep(timeout.map_or(LOOK, |timeout| timeout.min(LOOK)));
            // One descriptor takes no memory. What cannot be looked at may be ready.
            let look = |one| poll(&[one], Some(Duration::ZERO)).map_or(true, |ready| ready == [true]);
            descriptors.iter().map(|one| look(*one)).collect()
        });
        self.sources(ready)
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'a>, For)> {
        self.waits.iter().map(|(fd, what, _)| (*fd, *what)).collect()
    }

    fn timeout(&self) -> Option<Duration> {
        self.deadline.map(|then| then.saturating_duration_since(Instant::now()))
    }

    fn sources(&self, ready: Vec<bool>) -> Vec<S> {
        self.waits.iter().zip(ready).filter(|(_, ready)| *ready).map(|((_, _, source), _)| *source).collect()
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
        assert_eq!(poll.wait(), ["loud", "may be written", "gone"]);
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
        assert_eq!(poll.wait(), []);
    }

    /// As ENOMEM for many descriptors, or RLIMIT_NOFILE below their number.
    #[test]
    fn each_is_looked_at_where_all_are_refused() {
        let (quiet, _held) = UnixStream::pair().expect("a pair");
        let (loud, mut other) = UnixStream::pair().expect("a pair");
        other.write_all(b"x").expect("written");
        let poll = || {
            let mut poll = Poll::new();
            poll.readable(&quiet, "quiet");
            poll.readable(&loud, "loud");
            poll
        };
        let refuse = |most: usize| {
            move |fds: &[(BorrowedFd<'_>, For)], timeout| match fds.len() > most {
                true => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
                false => sys::poll(fds, timeout),
            }
        };
        let begin = Instant::now();
        assert_eq!(poll().wait_by(refuse(1)), ["loud"]);
        assert_eq!(poll().wait_by(refuse(0)), ["quiet", "loud"], "either may be");
        assert!(begin.elapsed() >= 2 * LOOK, "it spins");
    }

    #[test]
    fn a_deadline_is_kept_where_waiting_is_refused() {
        let begin = Instant::now();
        let mut poll = Poll::<()>::new();
        poll.until(Some(begin + LOOK / 10));
        poll.wait_by(|_, _| Err(io::Error::from_raw_os_error(libc::EAGAIN)));
        assert!(begin.elapsed() >= LOOK / 10);
    }
}
