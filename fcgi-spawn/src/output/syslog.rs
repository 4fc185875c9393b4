//! The socket of the syslog daemon, spoken to without a library.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Error;
use crate::output::write_error::WriteError;

/// A connection to the daemon, made again after the daemon was restarted. No call waits.
pub(crate) struct Syslog {
    path: PathBuf,
    connection: Option<Connection>,
}

struct Connection {
    socket: Socket,
    /// A few daemons take a stream, in which a NUL ends each message.
    is_stream: bool,
}

impl Syslog {
    /// Where the daemon listens.
    pub(crate) const PATH: &'static str = "/dev/log";

    /// Connects to the daemon. One that does not accept now is tried again later.
    ///
    /// # Errors
    ///
    /// There is no daemon.
    pub(crate) fn connect(path: &Path) -> Result<Self, Error> {
        let connection = match Connection::new(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            connection => Some(connection.map_err(|error| failed(path, &error))?),
        };
        Ok(Syslog { path: path.into(), connection })
    }

    /// Connects anew; the old connection stays if that fails.
    pub(crate) fn reconnect(&mut self) -> Result<(), Error> {
        self.connection = Some(Connection::new(&self.path).map_err(|error| failed(&self.path, &error))?);
        Ok(())
    }

    /// Sends what there is room for of a message that ends in NUL, of which `written` bytes are sent; returns how many
    /// these are then. A message under way when the daemon is restarted is sent again.
    pub(crate) fn send(&mut self, message: &[u8], written: usize) -> Result<usize, WriteError> {
        if let Some(connection) = &self.connection {
            match connection.send(message, written) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(WriteError::Full),
                Err(error) if !is_gone(&error) && written == 0 => return Err(WriteError::Failed(error)),
                // Nor can half a message be followed by another.
                Err(_) => self.connection = None,
            }
        }
        let connection = self.connection.insert(Connection::new(&self.path).map_err(WriteError::Away)?);
        match connection.send(message, 0) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(WriteError::Full),
            Err(error) if !is_gone(&error) => Err(WriteError::Failed(error)),
            Err(error) => {
                self.connection = None;
                Err(WriteError::Away(error))
            }
        }
    }

    /// The descriptor to poll for room, if there is a connection.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(|connection| connection.socket.as_fd())
    }
}

impl Connection {
    /// `WouldBlock`: a stream's daemon has a full queue.
    fn new(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let connect = |kind| {
            let socket = Socket::new(Domain::UNIX, kind, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address) {
                // Sending has to wait until it is done.
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
                connected => connected.map(|()| socket),
            }
        };
        match connect(Type::DGRAM) {
            Ok(socket) => Ok(Connection { socket, is_stream: false }),
            Err(error) if is_other_kind(&error) => Ok(Connection { socket: connect(Type::STREAM)?, is_stream: true }),
            Err(error) => Err(error),
        }
    }

    fn send(&self, message: &[u8], written: usize) -> io::Result<usize> {
        let send = |bytes| self.socket.send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        match self.is_stream {
            true => Ok(written + send(&message[written..])?),
            // A datagram goes whole, and needs no end.
            false => send(message.strip_suffix(&[0]).unwrap_or(message)).map(|_| message.len()),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::io("connect to syslog", path, error)
}

/// Whether the daemon listens on another kind of socket.
fn is_other_kind(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

/// Whether the other end is closed.
fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn path(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("fcgi-spawn-syslog-{test}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn datagrams_have_no_end() {
        let path = path("datagrams");
        let daemon = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        assert_eq!(syslog.send(b"<27>it: oh\0", 0).expect("sent"), 11);
        let mut buffer = [0; 64];
        let len = daemon.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..len], b"<27>it: oh");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn restarted_daemon_is_found() {
        let path = path("restarted");
        let daemon = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        // Closing it is not enough while a child of another test has a copy.
        daemon.shutdown(std::net::Shutdown::Both).expect("shut down");
        drop(daemon);
        fs::remove_file(&path).expect("removed");
        assert!(matches!(syslog.send(b"one\0", 0), Err(WriteError::Away(_))));
        assert!(matches!(syslog.send(b"one\0", 0), Err(WriteError::Away(_))) && syslog.fd().is_none());
        let daemon = UnixDatagram::bind(&path).expect("bound again");
        assert_eq!(syslog.send(b"one\0", 0).expect("sent"), 4);
        assert_eq!(daemon.recv(&mut [0; 64]).expect("received"), 3);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn slow_daemon_is_not_waited_for() {
        let path = path("slow");
        let _daemon = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        let refused = (0..100_000).find_map(|_| syslog.send(&[b'x'; 1000], 0).err()).expect("it is full at last");
        assert!(matches!(refused, WriteError::Full), "{refused:?}");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn nul_ends_a_message_in_a_stream() {
        let path = path("stream");
        let daemon = UnixListener::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        assert_eq!(syslog.send(b"one\0", 1).expect("sent"), 4);
        let (mut connection, _) = daemon.accept().expect("accepted");
        drop(syslog);
        let mut got = Vec::new();
        connection.read_to_end(&mut got).expect("read");
        assert_eq!(got, b"ne\0");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn message_cut_by_the_end_of_a_stream_is_sent_again() {
        let path = path("cut");
        let daemon = UnixListener::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        let (first, _) = daemon.accept().expect("accepted");
        // Closing it is not enough while a child of another test has a copy.
        first.shutdown(std::net::Shutdown::Both).expect("shut down");
        assert_eq!(syslog.send(b"one\0", 2).expect("sent"), 4);
        let mut got = [0; 64];
        let (mut connection, _) = daemon.accept().expect("accepted");
        let len = connection.read(&mut got).expect("read");
        assert_eq!(&got[..len], b"one\0");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn stream_that_does_not_accept_is_not_waited_for() {
        let path = path("full");
        let daemon = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        daemon.bind(&SockAddr::unix(&path).expect("an address")).expect("bound");
        daemon.listen(0).expect("listening");
        let _first = UnixStream::connect(&path).expect("connected");
        let mut syslog = Syslog::connect(&path).expect("tried");
        assert!(syslog.fd().is_none());
        assert!(matches!(syslog.send(b"one\0", 0), Err(WriteError::Away(_))));
        daemon.accept().expect("accepted");
        assert_eq!(syslog.send(b"one\0", 0).expect("sent"), 4);
        fs::remove_file(&path).expect("removed");
    }
}
