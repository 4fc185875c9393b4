//! The listening socket: unix, abstract or TCP.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{SockAddr, Socket, Type};

use crate::error::Reason;
use crate::socket::inherited;
use crate::socket::socket_file::{Access, SocketFile};
use crate::sys::{self, Owner};
use crate::takeover::handover::State;
use crate::{Address, Config, Error};

/// How many connections may wait to be accepted, if nothing else is said.
const BACKLOG: u32 = 1024;

/// The permissions of a unix socket, if nothing else is said, less the umask.
const MODE: u32 = 0o660;

/// A listening stream socket.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    /// A unix socket's file, removed when this is dropped.
    pub(crate) file: Option<SocketFile>,
}

impl Listener {
    /// Binds the socket that is meant. A unix socket's file belongs to `owner` from its first moment.
    ///
    /// # Errors
    ///
    /// Whatever was made is undone.
    pub(crate) fn bind(config: &Config, owner: Owner) -> Result<Self, Error> {
        if let Some(backlog) = config.backlog {
            report_cap(backlog);
        }
        let backlog = config.backlog.unwrap_or(BACKLOG);
        let bound = match &config.address {
            Address::Tcp(address) => bind(&SockAddr::from(*address), backlog),
            Address::Abstract(name) => {
                let mut path = OsString::from("\0");
                path.push(name);
                SockAddr::unix(path).map_err(Refused::from).and_then(|address| bind(&address, backlog))
            }
            Address::Inherited(fd) => match inherited::duplicate(*fd) {
                Ok(socket) => Ok(Listener { socket, file: None }),
                Err(error) => return Err(error),
            },
            Address::Unix(path) => {
                let mode = config.socket_mode.unwrap_or_else(|| MODE & !sys::umask());
                let root = config.chroot.as_deref().filter(|_| !config.socket_outside);
                let bound = SocketFile::bind(path, root, config.mkdir, Access { owner, mode }, backlog);
                bound.map(|(socket, file)| Listener { socket, file: Some(file) })
            }
        };
        bound.map_err(|refused| match refused {
            Refused::Root(error) => error,
            refused => Error::new(format!("cannot bind {}: {refused}", config.address)),
        })
    }
}

impl Listener {
    /// The socket that whoever was here before has left open.
    pub(crate) fn adopt(config: &Config, state: &State) -> Result<Self, Error> {
        let socket = state.listener.and_then(sys::take_inherited).map(Socket::from);
        let socket = socket.filter(|socket| socket.is_listener().unwrap_or(false));
        let socket = socket.ok_or_else(|| Error::new("no listening socket was handed over"))?;
        let file = match (&config.address, state.socket_file) {
            (Address::Unix(path), Some(identity)) => {
                let root = config.chroot.as_deref().filter(|_| !config.socket_outside);
                Some(SocketFile::adopt(path, root, identity, state.made.0)?)
            }
            _ => None,
        };
        Ok(Listener { socket, file })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(address: &SockAddr, backlog: u32) -> Result<Listener, Refused> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if !address.is_unix() {
        // Connections of the last run that linger in TIME_WAIT must not keep us from starting.
        socket.set_reuse_address(true)?;
    }
    socket.bind(address)?;
    listen(&socket, backlog)?;
    Ok(Listener { socket, file: None })
}

pub(crate) fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Says so if the kernel will make do with less than was asked for.
fn report_cap(backlog: u32) {
    let cap = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|cap| cap.trim().parse().ok());
    if let Some(cap) = cap.filter(|cap: &u32| backlog > *cap) {
        log::warn!("-b {backlog}: the kernel allows {cap} (net.core.somaxconn)");
    }
}

/// Why we do not listen.
pub(crate) enum Refused {
    InUse,
    /// By another launcher.
    BeingBound,
    NotASocket,
    NoFolder,
    /// Not bound, because the root directory could not be changed.
    Root(Error),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => Refused::InUse,
            _ => Refused::Io(error),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::InUse => f.write_str("already in use"),
            Refused::BeingBound => f.write_str("already in use by another launcher that is just starting"),
            Refused::NotASocket => f.write_str("exists and is not a socket"),
            Refused::NoFolder => f.write_str("No such file or directory (--mkdir makes its folder)"),
            Refused::Root(error) => error.fmt(f),
            Refused::Io(error) => Reason(error).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;

    fn listener(address: Address) -> Result<Listener, Error> {
        Listener::bind(&Config::new(address, Vec::new()), Owner::default())
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
    }

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
            let refused = listener(Address::Unix(path.clone()));
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
        let listener = listener(Address::Unix(path.clone())).expect("bound");
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
        let begun = Instant::now();
        let _listener = loop {
            match listener(Address::Unix(path.clone())) {
                Ok(listener) => break listener,
                // A child that another test has just forked has a descriptor of it until it executes its program.
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
            }
        };
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
        let listener = listener(Address::Unix(path.clone())).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("bound");
        drop(listener);
        UnixStream::connect(&path).expect("the other one listens");
    }

    #[test]
    fn tcp_says_why_not() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = Address::Tcp(taken.local_addr().expect("it has one"));
        let message = listener(address.clone()).err().expect("refused").to_string();
        assert_eq!(message, format!("cannot bind {address}: already in use"));
    }
}
