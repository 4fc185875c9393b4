//! A connection to the application: the system calls, one each.

use std::io;
use std::time::Duration;

use fcgi_proto::ResponseDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;

/// A connection and how far its answers have been read.
pub(super) struct Connection {
    socket: Socket,
    pub(super) decoder: ResponseDecoder,
    /// Requests that ended on it.
    pub(super) served: u64,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, decoder: ResponseDecoder::new(), served: 0 }
    }

    /// Whether the application has closed it, or has sent what nobody asked for: then nothing more is to be sent on it.
    pub(super) fn has_ended(&self) -> bool {
        recv(&self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) != Err(Errno::AGAIN)
    }

    /// Sends as much as the system takes at once: an application that sends has to be read from, or both would wait for
    /// each other.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Waits for the next bytes; 0 at the end of the input, [`WouldBlock`](io::ErrorKind::WouldBlock) when none came in
    /// time.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                done => return Ok(done?.0),
            }
        }
    }

    /// Waits until more can be sent or something can be received, and says whether it is the latter; `None` when neither
    /// came to pass in time.
    pub(super) fn wait_for_either(&self, time: Duration) -> io::Result<Option<bool>> {
        let time = Timespec::try_from(time).ok();
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN | PollFlags::OUT)];
        loop {
            match poll(&mut socket, time.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(socket[0].revents() != PollFlags::OUT)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
