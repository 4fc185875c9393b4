//! Descriptors that the kernel watches: of however many, only those cost anything that have something to be read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How many are named at once. Those that are left are first the next time.
const MOST: usize = 256;

/// Readable when one of its descriptors is. A descriptor leaves it when it is closed, unless a copy is open elsewhere.
#[derive(Debug)]
pub(crate) struct PollSet(OwnedFd);

impl PollSet {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a number goes in, a number or -1 comes out.
        match unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: it was just made, and is ours.
            fd => Ok(PollSet(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }

    /// Watches a descriptor, which has this name; whether the kernel does.
    pub(crate) fn add(&self, fd: impl AsFd, name: u64) -> bool {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: name };
        let (set, fd) = (self.0.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: numbers, and a structure that is copied; both descriptors are borrowed, so open.
        unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) == 0 }
    }

    /// Watches it no longer.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let (set, fd) = (self.0.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: numbers, and a structure that is not read; both descriptors are borrowed, so open.
        unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_DEL, fd, &raw mut event) };
    }

    /// The names, in order, of those that have something to be read or whose other end is gone; perhaps also of one that
    /// was closed. `None` if the kernel does not say.
    pub(crate) fn ready(&self) -> Option<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        // SAFETY: an array and its length, which outlives the call.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), MOST as libc::c_int, 0) };
        let mut names: Vec<u64> = events.get(..usize::try_from(count).ok()?)?.iter().map(|event| event.u64).collect();
        names.sort_unstable();
        Some(names)
    }
}

impl AsFd for PollSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_ready_ones_are_named() {
        let set = PollSet::new().expect("made");
        let (quiet, _held) = UnixStream::pair().expect("a pair");
        let (loud, mut other) = UnixStream::pair().expect("a pair");
        let (gone, closed) = UnixStream::pair().expect("a pair");
        assert!(set.add(&loud, 7) && set.add(&quiet, 6) && set.add(&gone, 5));
        assert!(!set.add(&loud, 8), "it is there");
        assert_eq!(set.ready(), Some(vec![]));
        other.write_all(b"x").expect("written");
        drop(closed);
        assert_eq!(set.ready(), Some(vec![5, 7]));
        assert!(crate::sys::is_readable_within(&set, std::time::Duration::ZERO));
        set.remove(&loud);
        drop(gone);
        assert_eq!(set.ready(), Some(vec![]));
    }

    /// More than are named at once all have their turn.
    #[test]
    fn many_take_turns() {
        let set = PollSet::new().expect("made");
        let pairs: Vec<_> = (0..300).map(|_| UnixStream::pair().expect("a pair")).collect();
        for (name, (ours, theirs)) in pairs.iter().enumerate() {
            assert!(set.add(ours, name as u64));
            (&*theirs).write_all(b"x").expect("written");
        }
        let mut seen: Vec<u64> = (0..2).flat_map(|_| set.ready().expect("named")).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 300);
    }
}
