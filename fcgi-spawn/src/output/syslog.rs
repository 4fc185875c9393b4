//! The socket of the syslog daemon, spoken to without a library.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// A connection to the daemon, made again when the daemon was.
pub(crate) struct Syslog {
    path: PathBuf,
    connection: Connection,
}

struct Connection {
    socket: Socket,
    /// A few daemons take a stream, in which a NUL ends each message.
    is_stream: bool,
}

impl Syslog {
    /// Where the daemon listens.
    pub(crate) const PATH: &'static str = "/dev/log";

    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Syslog { path: path.into(), connection: Connection::new(path)? })
    }

    /// Connects anew.
    pub(crate) fn reconnect(&mut self) -> io::Result<()> {
        self.connection = Connection::new(&self.path)?;
        Ok(())
    }

    /// The message in the form that the connection wants.
    pub(crate) fn ended(&self, mut message: Vec<u8>) -> Vec<u8> {
        if self.connection.is_stream {
            message.push(0);
        }
        message
    }

    /// Sends what there is room for, without waiting. A daemon that has been started again is found again.
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<usize> {
        match self.connection.send(message) {
            Err(error) if is_gone(&error) => {
                self.reconnect()?;
                self.connection.send(message)
            }
            sent => sent,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Syslog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

impl Connection {
    fn new(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let connect = |kind| {
            let socket = Socket::new(Domain::UNIX, kind, None)?;
            socket.connect(&address)?;
            Ok(socket)
        };
        match connect(Type::DGRAM) {
            Ok(socket) => Ok(Connection { socket, is_stream: false }),
            Err(error) if is_other_kind(&error) => Ok(Connection { socket: connect(Type::STREAM)?, is_stream: true }),
            Err(error) => Err(error),
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<usize> {
        let sent = self.socket.send_with_flags(message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)?;
        // A datagram goes whole.
        Ok(if self.is_stream { sent } else { message.len() })
    }
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
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fcgi-spawn-syslog-{test}-{}", std::process::id()))
    }

    #[test]
    fn a_daemon_that_takes_datagrams() {
        let path = path("datagrams");
        let daemon = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        let message = syslog.ended(b"<27>it: oh".to_vec());
        assert_eq!(syslog.send(&message).expect("sent"), message.len());
        let mut buffer = [0; 64];
        let len = daemon.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..len], b"<27>it: oh");

        drop(daemon);
        fs::remove_file(&path).expect("removed");
        // A child of another test may have a copy of the daemon's socket, until it executes its program.
        let begun = Instant::now();
        while syslog.send(b"lost").is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing is there that takes it");
            thread::sleep(Duration::from_millis(1));
        }
        let daemon = UnixDatagram::bind(&path).expect("bound again");
        syslog.send(b"again").expect("sent");
        assert_eq!(daemon.recv(&mut buffer).expect("received"), 5);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_daemon_that_is_slow_is_not_waited_for() {
        let path = path("slow");
        let _daemon = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        let refused = (0..100_000).find_map(|_| syslog.send(&[b'x'; 1000]).err()).expect("it is full at last");
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_daemon_that_takes_a_stream() {
        let path = path("stream");
        let daemon = UnixListener::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        let message = syslog.ended(b"one".to_vec());
        assert_eq!(syslog.send(&message).expect("sent"), 4);
        let (mut connection, _) = daemon.accept().expect("accepted");
        drop(syslog);
        let mut got = Vec::new();
        connection.read_to_end(&mut got).expect("read");
        assert_eq!(got, b"one\0");
        fs::remove_file(&path).expect("removed");
    }
}
