//! How many connections may wait to be accepted.

use std::{fs, io};

use socket2::Socket;

/// If nothing else is said.
pub(crate) const BACKLOG: u32 = 1024;

pub(crate) fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Says so if the kernel will make do with less than was asked for.
pub(crate) fn report_cap(backlog: u32) {
    let cap = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|cap| cap.trim().parse().ok());
    if let Some(cap) = cap.filter(|cap: &u32| backlog > *cap) {
        log::warn!("-b {backlog}: the kernel allows {cap} (net.core.somaxconn)");
    }
}
