//! The listening socket: bound with its final mode, and gone again when we are.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::Reason;
use crate::{Address, Error, sys};

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// What a unix socket's mode lacks besides what the caller's umask takes away: it is 0660 at most.
const UMASK: libc::mode_t = 0o117;

/// A listening stream socket.
pub(crate) struct Listener {
    socket: Socket,
    /// A unix socket's file, removed when this is dropped.
    _file: Option<SocketFile>,
}

impl Listener {
    pub(crate) fn bind(address: &Address) -> Result<Self, Error> {
        let bound = match address {
            Address::Unix(path) => bind_unix(path),
            Address::Tcp(tcp) => bind_tcp(&(*tcp).into()),
        };
        let listening = bound.and_then(|listener| {
            listener.socket.listen(BACKLOG)?;
            Ok(listener)
        });
        listening.map_err(|refused| Error::new(format!("cannot bind {address}: {refused}")))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why we do not listen.
enum Refused {
    InUse,
    NotASocket,
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Io(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::InUse => f.write_str("already in use"),
            Refused::NotASocket => f.write_str("exists and is not a socket"),
            Refused::Io(error) => Reason(error).fmt(f),
        }
    }
}

fn bind_tcp(address: &SockAddr) -> Result<Listener, Refused> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    // Connections of the last run that linger in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.bind(address)?;
    Ok(Listener { socket, _file: None })
}

fn bind_unix(path: &Path) -> Result<Listener, Refused> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A chmod afterwards would leave a moment in which others may connect.
    let bind = || sys::with_umask(UMASK, || socket.bind(&address));
    match bind() {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path)?;
            bind()?;
        }
        bound => bound?,
    }
    let file = SocketFile::at(path)?;
    Ok(Listener { socket, _file: Some(file) })
}

/// Removes the socket that a dead process left at `path`. Anything else there stays untouched.
fn remove_stale(path: &Path) -> Result<(), Refused> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Refused::NotASocket);
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // Its queue is full, so there is somebody.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Refused::InUse),
        // Not ours to connect to, or no stream socket: we cannot know that it is stale.
        Err(error) => Err(Refused::Io(error)),
        Ok(()) => Err(Refused::InUse),
    }
}

/// Tries whether somebody listens, without waiting for a place in a full queue.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// The file of a bound unix socket, removed when this is dropped, unless another took its place.
struct SocketFile {
    path: PathBuf,
    /// Device and inode. The kernel gives the number to nobody else while the socket is open.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.into(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("{}", Error::io("remove", &self.path, &error));
            }
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    /// A folder of its own for each test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("fcgi-spawn-listener-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a new folder");
            Folder(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }

        #[track_caller]
        fn check_refused(&self, why: &str) {
            let path = self.socket();
            let before = identity(&path).expect("something is there");
            let refused = Listener::bind(&Address::Unix(path.clone()));
            let message = refused.err().expect("refused").to_string();
            assert_eq!(message, format!("cannot bind '{}': {why}", path.display()));
            assert_eq!(identity(&path).expect("it is still there"), before);
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_unix_socket_accepts_and_is_removed() {
        let folder = Folder::new("accepts");
        let path = folder.socket();
        let listener = Listener::bind(&Address::Unix(path.clone())).expect("bound");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o117, 0, "{mode:o}");
        UnixStream::connect(&path).expect("it listens");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.socket();
        drop(UnixListener::bind(&path).expect("bound"));
        let _listener = Listener::bind(&Address::Unix(path.clone())).expect("bound again");
        UnixStream::connect(&path).expect("it listens");
    }

    #[test]
    fn what_is_in_use_or_no_stream_socket_stays() {
        let folder = Folder::new("stays");
        let path = folder.socket();

        let live = UnixListener::bind(&path).expect("bound");
        folder.check_refused("already in use");
        drop(live);
        fs::remove_file(&path).expect("removed");

        let datagrams = UnixDatagram::bind(&path).expect("bound");
        folder.check_refused("Protocol wrong type for socket");
        drop(datagrams);
        fs::remove_file(&path).expect("removed");

        fs::write(&path, "precious").expect("written");
        folder.check_refused("exists and is not a socket");
        fs::remove_file(&path).expect("removed");

        std::os::unix::fs::symlink("elsewhere", &path).expect("linked");
        folder.check_refused("exists and is not a socket");
    }

    #[test]
    fn a_socket_that_took_our_place_is_left_alone() {
        let folder = Folder::new("replaced");
        let path = folder.socket();
        let listener = Listener::bind(&Address::Unix(path.clone())).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("bound");
        drop(listener);
        UnixStream::connect(&path).expect("the other one listens");
    }

    #[test]
    fn tcp_says_why_not() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = Address::Tcp(taken.local_addr().expect("it has one"));
        let message = Listener::bind(&address).err().expect("refused").to_string();
        // musl has other words for it than glibc.
        let in_use = io::Error::from_raw_os_error(libc::EADDRINUSE);
        assert_eq!(message, format!("cannot bind {address}: {}", Reason(&in_use)));
    }
}
