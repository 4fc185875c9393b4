//! What poll(2) tells of a socket, and std does not ask for.

use std::os::fd::{AsFd, AsRawFd};

/// Whether nothing more can come in, because this end or the other one was shut down.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    let mut polled = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one element, which outlives the call; its descriptor is borrowed, so open.
    let ready = unsafe { libc::poll(&raw mut polled, 1, 0) };
    ready == 1 && polled.revents & (libc::POLLRDHUP | libc::POLLHUP) != 0
}
