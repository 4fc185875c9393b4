//! The system calls that std and socket2 do not have, each behind a safe function.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

/// What a descriptor is watched for. That its other end is gone counts as either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Reading,
    Writing,
}

/// Sleeps until a descriptor is ready or a signal arrives; returns the names of those that are ready, in their order.
pub(crate) fn poll<S: Copy>(waits: &[(BorrowedFd<'_>, For, S)]) -> io::Result<Vec<S>> {
    let polled = |(fd, what, _): &(BorrowedFd<'_>, For, S)| {
        let events = match what {
            For::Reading => libc::POLLIN,
            For::Writing => libc::POLLOUT,
        };
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
    };
    let mut polled: Vec<_> = waits.iter().map(polled).collect();
    // SAFETY: an array and its length, which outlives the call; its descriptors are borrowed, so open.
    if unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) } == -1 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Vec::new()) } else { Err(error) };
    }
    let ready = waits.iter().zip(polled).filter(|(_, polled)| polled.revents != 0);
    Ok(ready.map(|((_, _, name), _)| *name).collect())
}

/// What is said when the time is over, and the exit status then.
static LATE: OnceLock<(String, c_int)> = OnceLock::new();

/// Ends the process after this time, wherever it is then, with a line on stderr. Of several calls the first one counts.
pub(crate) fn end_after(time: Duration, line: String, status: c_int) {
    extern "C" fn end(_: c_int) {
        let (line, status) = LATE.get().map_or(("", 1), |(line, status)| (line, *status));
        // SAFETY: a string and its length; the call may be made by a handler.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
        // SAFETY: it does not return.
        unsafe { libc::_exit(status) }
    }
    if LATE.set((line, status)).is_err() {
        return;
    }
    let handler: extern "C" fn(c_int) = end;
    // SAFETY: the handler makes system calls only.
    unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
    unblock(libc::SIGALRM);
    // No time at all would never be over.
    let microseconds = time.subsec_micros().max(u32::from(time.as_secs() == 0));
    let value = libc::timeval { tv_sec: time.as_secs() as _, tv_usec: microseconds as _ };
    let timer = libc::itimerval { it_value: value, it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 } };
    // SAFETY: an initialised timer that outlives the call; nobody wants to know what it was before.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}

fn unblock(signal: c_int) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: it writes the whole set and cannot fail.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: written just now.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: an initialised set, and a signal's number.
    unsafe { libc::sigaddset(&mut set, signal) };
    // SAFETY: an initialised set; nobody wants to know what was blocked before.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_ready_ones_are_named() {
        let (quiet, _held) = UnixStream::pair().expect("a pair");
        let (loud, mut other) = UnixStream::pair().expect("a pair");
        let (gone, closed) = UnixStream::pair().expect("a pair");
        other.write_all(b"x").expect("written");
        drop(closed);
        let ready = poll(&[
            (quiet.as_fd(), For::Reading, "quiet"),
            (loud.as_fd(), For::Reading, "loud"),
            (quiet.as_fd(), For::Writing, "may be written"),
            (gone.as_fd(), For::Reading, "gone"),
        ]);
        assert_eq!(ready.expect("polled"), ["loud", "may be written", "gone"]);
    }
}
