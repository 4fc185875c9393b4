//! A FastCGI connection, seen from the web server's side.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use crate::deadline::PATIENCE;
use crate::wire::{Record, Response};

/// A connection to an application. No read or write waits longer than [`PATIENCE`].
#[derive(Debug)]
pub struct Connection(Stream);

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        Connection(Stream::Unix(stream))
    }
}

impl From<TcpStream> for Connection {
    fn from(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        // What a test writes in two pieces is to arrive in two pieces.
        stream.set_nodelay(true).expect("TCP has no-delay");
        Connection(Stream::Tcp(stream))
    }
}

impl Connection {
    /// Writes all of `bytes`.
    ///
    /// # Panics
    /// When the other side does not take them.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.write_all(bytes).expect("the application did not take what was sent");
    }

    /// Says that nothing more will be sent.
    #[track_caller]
    pub fn end_sending(&mut self) {
        self.shutdown(Shutdown::Write).expect("the connection is still there");
    }

    /// A second handle on the same connection.
    pub fn try_clone(&self) -> io::Result<Connection> {
        Ok(Connection(match &self.0 {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
        }))
    }

    /// Ends one direction or both, also for other handles.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.0 {
            Stream::Unix(stream) => stream.shutdown(how),
            Stream::Tcp(stream) => stream.shutdown(how),
        }
    }

    /// The next record.
    ///
    /// # Panics
    /// When the connection ends or stays silent instead.
    #[track_caller]
    pub fn record(&mut self) -> Record {
        let record = Record::read(self).expect("no record could be read");
        record.expect("the application closed the connection instead of sending a record")
    }

    /// The response to request `id`, up to its END_REQUEST.
    ///
    /// # Panics
    /// When there is none, or when anything else comes: a record of another id, or not what a response is made of.
    #[track_caller]
    pub fn response(&mut self, id: u16) -> Response {
        Response::read(self, id).unwrap_or_else(|error| panic!("no response to request {id}: {error}"))
    }

    /// Waits until the application closes, and fails when it sends anything before.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        match self.read_to_end(&mut rest) {
            // A reset means closed, too: the application may close while our bytes are still unread.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection was not closed: {error}"),
        }
        assert!(rest.is_empty(), "{} unexpected bytes before the close: {rest:?}", rest.len());
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match &mut self.0 {
                Stream::Unix(stream) => stream.read(buffer),
                Stream::Tcp(stream) => stream.read(buffer),
            };
            // A read with a timeout is not restarted by the kernel when another thread of the tests forks.
            if !matches!(&result, Err(error) if error.kind() == ErrorKind::Interrupted) {
                return result;
            }
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
