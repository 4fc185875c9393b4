//! How workers say that they serve: a byte into one socket for all, of which the kernel says who has sent it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use crate::sys::{self, Pid};

/// Our end of the socket.
pub(crate) struct Ready(Socket);

impl Ready {
    /// Our end and the workers', under a number that is out of the way of programs which count on low ones.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::DGRAM, None)?;
        ours.set_nonblocking(true)?;
        ours.set_passcred(true)?;
        Ok((Ready(ours), sys::out_of_the_way(theirs.as_fd())?))
    }

    /// Takes our end over from whoever was this process before an exec.
    pub(crate) fn adopt(ours: OwnedFd) -> Self {
        Ready(ours.into())
    }

    /// Those that have said so since the last time, or the first of them, and by which byte.
    pub(crate) fn heard(&self) -> Vec<(Pid, u8)> {
        const AT_ONCE: usize = 64;
        (0..AT_ONCE).map_while(|_| sys::receive_sender(&self.0)).flatten().collect()
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::process::{self, Command, Stdio};

    use super::*;

    #[test]
    fn the_kernel_says_who_it_was() {
        let (ready, theirs) = Ready::new().expect("a pair");
        assert_eq!(ready.heard(), []);
        let mut child = Command::new("/bin/sh");
        child.args(["-c", "printf x"]).stdout(Stdio::from(theirs.try_clone().expect("a duplicate")));
        let mut child = child.spawn().expect("sh exists");
        child.wait().expect("it ends");
        File::from(theirs).write_all(b"x").expect("written");
        let pids: Vec<u32> = ready.heard().iter().filter_map(|(pid, _)| u32::try_from(pid.number()).ok()).collect();
        assert_eq!(pids, [child.id(), process::id()]);
        assert_eq!(ready.heard(), []);
    }
}
