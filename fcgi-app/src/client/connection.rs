use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fcgi_proto::{ResponseDecoder, ResponseEvent};
use socket2::{Domain, Socket, Type};

use super::{Error, Records};
use crate::{Address, sys};

/// A connection to an application, and what was read from it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Given only what it takes without waiting: an application that sends has to be read from, or both would wait for
    /// each other.
    socket: Socket,
    decoder: ResponseDecoder,
    buffer: Box<[u8]>,
    /// What of the buffer was read and not yet used.
    unread: Range<usize>,
    timeout: Duration,
    until: Option<Instant>,
}

/// What happened; of contents, where they are.
pub(super) enum Event {
    Stdout(Range<usize>),
    Stderr(Range<usize>),
    End(fcgi_proto::EndRequest),
}

impl Connection {
    const BUFFER: usize = 32 << 10;

    pub(super) fn open(address: &Address, timeout: Duration) -> Result<Self, Error> {
        let socket = connect(address, timeout).map_err(|error| match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::TimedOut,
            _ => Error::Connect(address.clone(), error),
        })?;
        let buffer = vec![0; Self::BUFFER].into();
        Ok(Self { socket, decoder: ResponseDecoder::new(), buffer, unread: 0..0, timeout, until: None })
    }

    /// How long a single wait may last, and when all of them are over.
    pub(super) fn set_times(&mut self, timeout: Duration, until: Option<Instant>) {
        (self.timeout, self.until) = (timeout, until);
    }

    /// Whether a connection that was kept is as it was left: nothing came, not even its end.
    pub(super) fn is_quiet(&self) -> bool {
        let readable = sys::poll_readable(&[self.socket.as_fd()], Some(Duration::ZERO));
        self.unread.is_empty() && readable.is_ok_and(|readable| !readable[0])
    }

    /// The bytes of a content that an event has named.
    pub(super) fn content(&self, at: Range<usize>) -> &[u8] {
        &self.buffer[at]
    }

    /// The next event, as long as the request that `records` are of is under way.
    pub(super) fn next(&mut self, records: &mut Records<'_>) -> Result<Event, Error> {
        loop {
            let mut rest = &self.buffer[self.unread.clone()];
            let event = self.decoder.next(&mut rest).map_err(Error::Protocol)?;
            self.unread.start = self.unread.end - rest.len();
            let content = |content: &[u8]| self.unread.start - content.len()..self.unread.start;
            return Ok(match event {
                Some(
                    ResponseEvent::Stdout { id, .. }
                    | ResponseEvent::StdoutEnd { id }
                    | ResponseEvent::Stderr { id, .. }
                    | ResponseEvent::StderrEnd { id }
                    | ResponseEvent::End { id, .. },
                ) if id != Records::ID => return Err(Error::UnknownId(id)),
                Some(ResponseEvent::Stdout { content: bytes, .. }) => Event::Stdout(content(bytes)),
                Some(ResponseEvent::Stderr { content: bytes, .. }) => Event::Stderr(content(bytes)),
                Some(ResponseEvent::End { end, .. }) => Event::End(end),
                Some(ResponseEvent::StdoutEnd { .. } | ResponseEvent::StderrEnd { .. }) => continue,
                // Answers to questions we did not ask.
                Some(ResponseEvent::Values(_) | ResponseEvent::UnknownType(_)) => continue,
                None => {
                    self.unread = 0..self.exchange(records)?;
                    continue;
                }
            });
        }
    }

    /// Sends what can be sent of the request, until something was received into the buffer.
    fn exchange(&mut self, records: &mut Records<'_>) -> Result<usize, Error> {
        loop {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::TimedOut);
            }
            let blocked = self.upload(records)?;
            match (&self.socket).read(&mut self.buffer) {
                Ok(0) => return Err(Error::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(blocked)?,
                Err(error) => return Err(Error::Lost(error)),
            }
        }
    }

    /// Sends as much as the socket takes; `true` if there is more.
    fn upload(&self, records: &mut Records<'_>) -> Result<bool, Error> {
        loop {
            let unsent = records.unsent().map_err(Error::Body)?;
            if unsent.is_empty() {
                return Ok(false);
            }
            match (&self.socket).write(unsent) {
                Ok(written) => records.sent(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                // It closed, which does not mean that it did not answer: what we read tells.
                Err(_) => return Ok(false),
            }
        }
    }

    fn wait(&self, for_room: bool) -> Result<(), Error> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = left.map_or(self.timeout, |left| left.min(self.timeout));
        match sys::poll_socket(self.socket.as_fd(), for_room, time) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::TimedOut),
            Err(error) => Err(Error::Lost(error)),
        }
    }
}

/// Connects, and waits so long for a place in the application's queue.
fn connect(address: &Address, timeout: Duration) -> io::Result<Socket> {
    let socket = match address {
        Address::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // This is what bounds connect() while the queue is full.
            socket.set_write_timeout(Some(timeout))?;
            let address = Address::unix(path)?;
            while let Err(error) = socket.connect(&address) {
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            socket
        }
        Address::Tcp(_) => connect_tcp(address, timeout)?,
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Connects to the first of the host's addresses that can be reached.
fn connect_tcp(address: &Address, timeout: Duration) -> io::Result<Socket> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in address.resolve()? {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        match socket.connect_timeout(&address.into(), timeout) {
            Ok(()) => {
                socket.set_tcp_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
