//! The listening socket: unix, abstract or TCP.

use std::ffi::OsString;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use socket2::{SockAddr, Socket, Type};

use crate::files::page::Listening;
use crate::handover::Handover;
use crate::socket::backlog::{self, BACKLOG, listen};
use crate::socket::bind_error::BindError;
use crate::socket::inherited;
use crate::socket::socket_file::{Access, SocketFile};
use crate::sys::{self, Owner};
use crate::{Address, Config, Error};

/// The permissions of a unix socket, if nothing else is said, less the umask.
const MODE: u32 = 0o660;

/// A listening stream socket.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    /// A unix socket's file, removed when this is dropped.
    pub(crate) file: Option<SocketFile>,
    /// Where we have bound it ourselves.
    bound: Option<Address>,
    backlog: u32,
}

impl Listener {
    /// Binds the socket that is meant. A unix socket's file belongs to `owner` from its first moment.
    ///
    /// # Errors
    ///
    /// Whatever was made is undone.
    pub(crate) fn bind(config: &Config, owner: Owner) -> Result<Self, Error> {
        if let Some(backlog) = config.backlog {
            backlog::report_cap(backlog);
        }
        let backlog = config.backlog.unwrap_or(BACKLOG);
        let bound = match &config.address {
            Address::Inherited(fd) => return inherited::duplicate(*fd).map(Listener::given),
            Address::Unix(path) => {
                let mode = config.socket_mode.unwrap_or_else(|| MODE & !sys::umask());
                let bound = SocketFile::bind(path, root_of(config), config.mkdir, Access { owner, mode }, backlog);
                bound.map(|(socket, file)| (socket, Some(file)))
            }
            Address::Tcp(_) | Address::Abstract(_) => bind(&config.address, backlog).map(|socket| (socket, None)),
        };
        let (socket, file) = bound.map_err(|refused| refused.into_error(&config.address, root_of(config)))?;
        Ok(Listener { socket, file, bound: Some(config.address.clone()), backlog })
    }

    /// A socket that we were started with.
    pub(crate) fn given(socket: Socket) -> Self {
        Listener { socket, file: None, bound: None, backlog: BACKLOG }
    }

    /// The socket that a predecessor has left open; its file is [taken over](Self::adopt_file) next.
    pub(crate) fn adopt(config: &Config, state: &Handover) -> Result<Self, Error> {
        let socket = state.listener.and_then(sys::take_inherited).map(Socket::from);
        let socket = socket.filter(|socket| socket.is_listener().unwrap_or(true));
        let socket = socket.ok_or_else(|| Error::new("no listening socket was handed over"))?;
        let bound = Some(config.address.clone()).filter(|address| !matches!(address, Address::Inherited(_)));
        Ok(Listener { socket, file: None, bound, backlog: config.backlog.unwrap_or(BACKLOG) })
    }

    /// The socket's file that a predecessor has made, if it has.
    pub(crate) fn adopt_file(&mut self, config: &Config, state: &Handover) -> Result<(), Error> {
        if let (Address::Unix(path), Some(identity)) = (&config.address, state.socket_file) {
            self.file = Some(SocketFile::adopt(path, root_of(config), identity, state.made[0])?);
        }
        Ok(())
    }

    /// Whether no client can connect any more because a worker, which shares the socket, has shut it down.
    pub(crate) fn is_shut_down(&self) -> bool {
        // A unix socket that was shut down still counts as listening, and a TCP socket may have been connected since.
        sys::is_hung_up(&self.socket) || !self.socket.is_listener().unwrap_or(true)
    }

    /// Whether clients can connect, in a word.
    pub(crate) fn listening(&self) -> Listening {
        match &self.file {
            _ if self.is_shut_down() => Listening::Down,
            Some(file) if !file.is_there() => Listening::Gone,
            _ => Listening::Up,
        }
    }

    /// Lets others bind the same path: no client finds this socket any more. Whether it had a path of ours.
    pub(crate) fn unlink(&mut self) -> bool {
        let file = self.file.as_mut().filter(|file| file.identity().is_some());
        file.map(SocketFile::unlink).is_some()
    }

    /// Turns away the clients of a TCP socket that we have bound, all at once; those of a unix socket do not find it.
    pub(crate) fn turn_away(&mut self) {
        if self.bound.take_if(|address| matches!(address, Address::Tcp(_))).is_some() {
            // A worker may have done so before.
            let _ = self.socket.shutdown(Shutdown::Read);
        }
    }

    /// Whether we have bound it ourselves.
    pub(crate) fn is_ours(&self) -> bool {
        self.bound.is_some()
    }

    /// Binds another socket to the same address, with the same owner and mode, and listens. Workers still have the old
    /// one and have to be replaced.
    ///
    /// # Errors
    ///
    /// We were started with the socket, or the kernel refuses; the old one stays.
    pub(crate) fn bind_anew(&mut self) -> Result<(), Error> {
        let Some(address) = &self.bound else {
            let what = "it was bound by another process, which has to bind it anew and start fcgi-spawn again";
            return Err(Error::new(what));
        };
        let socket = match &mut self.file {
            Some(file) => file.bind_anew(self.backlog),
            None => bind(address, self.backlog),
        };
        self.socket = socket.map_err(|refused| refused.into_error(address, None))?;
        Ok(())
    }
}

/// Inside of what the path of the socket is meant.
fn root_of(config: &Config) -> Option<&Path> {
    config.chroot.as_deref().filter(|_| !config.socket_outside)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(address: &Address, backlog: u32) -> Result<Socket, BindError> {
    let address = match address {
        Address::Tcp(address) => SockAddr::from(*address),
        Address::Abstract(name) => {
            let mut path = OsString::from("\0");
            path.push(name);
            SockAddr::unix(path)?
        }
        Address::Unix(path) => SockAddr::unix(path)?,
        Address::Inherited(_) => return Err(BindError::InUse),
    };
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if !address.is_unix() {
        // Connections of the last run that linger in TIME_WAIT must not keep us from starting.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::time::{Duration, Instant};
    use std::{fs, io};

    use super::*;
    use crate::files::scratch::{Scratch, names_in};

    fn listener(address: Address) -> Result<Listener, Error> {
        Listener::bind(&Config::new(address, Vec::new()), Owner::default())
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
    }

    #[track_caller]
    fn check_refused(path: &Path, why: &str) {
        let before = identity(path).expect("something is there");
        let refused = listener(Address::Unix(path.to_owned()));
        let message = refused.err().expect("refused").to_string();
        let want = format!("cannot bind '{}': {why}", path.display());
        assert!(message.starts_with(&want), "{message}");
        assert_eq!(identity(path).expect("it is still there"), before);
    }

    #[test]
    fn a_unix_socket_accepts_and_is_removed() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let listener = listener(Address::Unix(path.clone())).expect("bound");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o117, 0, "{mode:o}");
        UnixStream::connect(&path).expect("it listens");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
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
        let scratch = Scratch::new();
        let path = scratch.path("s");

        let live = UnixListener::bind(&path).expect("bound");
        check_refused(&path, "already in use by pid");
        drop(live);
        fs::remove_file(&path).expect("removed");

        let datagrams = UnixDatagram::bind(&path).expect("bound");
        check_refused(&path, "Protocol wrong type for socket");
        drop(datagrams);
        fs::remove_file(&path).expect("removed");

        fs::write(&path, "precious").expect("written");
        check_refused(&path, "exists and is not a socket");
        fs::remove_file(&path).expect("removed");

        std::os::unix::fs::symlink("elsewhere", &path).expect("linked");
        check_refused(&path, "exists and is not a socket");
    }

    #[test]
    fn a_socket_that_took_our_place_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
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
        let (want, us) = (format!("cannot bind {address}: already in use by pid"), std::process::id().to_string());
        assert!(message.starts_with(&want) && message.contains(&us), "{message}");
    }

    #[test]
    fn a_socket_stays_in_the_directory_that_was_opened() {
        let scratch = Scratch::new();
        let [there, moved, others] = ["there", "moved", "others"].map(|name| scratch.path(name));
        [&there, &others].into_iter().for_each(|path| fs::create_dir(path).expect("made"));
        let mut listener = listener(Address::Unix(there.join("s"))).expect("bound");
        fs::rename(&there, &moved).expect("moved");
        std::os::unix::fs::symlink(&others, &there).expect("linked");
        let _other = UnixListener::bind(others.join("s")).expect("bound");
        listener.socket.shutdown(Shutdown::Read).expect("shut down");
        listener.bind_anew().expect("bound");
        UnixStream::connect(moved.join("s")).expect("it listens");
        drop(listener);
        assert_eq!((names_in(&moved), names_in(&others)), (vec![], vec!["s".into()]));
    }

    #[test]
    fn a_path_that_others_can_change_is_not_bound_by_its_path() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("a/b")).expect("made");
        fs::set_permissions(scratch.path("a"), fs::Permissions::from_mode(0o777)).expect("set");
        for (path, shown) in [(scratch.path("a/b/s"), "s".into()), (scratch.path("s"), scratch.path("s"))] {
            let listener = listener(Address::Unix(path.clone())).expect("bound");
            let address = listener.socket.local_addr().expect("it has one");
            assert_eq!(address.as_pathname().expect("a path"), shown);
            UnixStream::connect(&path).expect("it listens");
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[track_caller]
    fn check_shut_down(address: Address, reaches: impl Fn() -> io::Result<()>) {
        use std::net::Shutdown;
        for how in [Shutdown::Read, Shutdown::Both] {
            let mut listener = listener(address.clone()).expect("bound");
            reaches().expect("it listens");
            // Reaching it has left a connection that waits.
            assert!(!listener.is_shut_down());
            let workers = listener.socket.try_clone().expect("a copy");
            workers.shutdown(Shutdown::Write).expect("no harm");
            assert!(!listener.is_shut_down() && reaches().is_ok());
            workers.shutdown(how).expect("shut down");
            assert!(listener.is_shut_down() && reaches().is_err());
            listener.bind_anew().expect("bound");
            assert!(!listener.is_shut_down());
            reaches().expect("it listens");
        }
    }

    #[test]
    fn a_unix_socket_that_was_shut_down_is_bound_anew() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        check_shut_down(Address::Unix(path.clone()), || UnixStream::connect(&path).map(drop));
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn a_unix_socket_that_is_bound_anew_has_the_same_owner_and_mode() {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let mut config = Config::new(Address::Unix(path.clone()), Vec::new());
        config.socket_mode = Some(0o606);
        let nobody = (sys::ids().0 == 0).then_some(65534);
        let mut listener = Listener::bind(&config, Owner { uid: nobody, gid: nobody }).expect("bound");
        let shown = || fs::metadata(&path).map(|now| (now.uid(), now.gid(), now.mode())).expect("there");
        let before = shown();
        assert_eq!(before.2 & 0o777, 0o606);
        listener.bind_anew().expect_err("it still listens");
        listener.socket.shutdown(Shutdown::Read).expect("shut down");
        listener.bind_anew().expect("bound");
        assert_eq!(shown(), before);
    }

    #[test]
    fn a_tcp_socket_that_was_shut_down_is_bound_anew() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = free.local_addr().expect("it has one");
        drop(free);
        check_shut_down(Address::Tcp(address), || std::net::TcpStream::connect(address).map(drop));
    }

    #[test]
    fn a_tcp_socket_that_a_worker_connected_elsewhere_is_bound_anew() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = free.local_addr().expect("it has one");
        drop(free);
        let mut listener = listener(Address::Tcp(address)).expect("bound");
        listener.socket.shutdown(Shutdown::Read).expect("shut down");
        // Linux 6.18 refuses it.
        if let Err(error) = listener.socket.connect(&other.local_addr().expect("it has one").into()) {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
        assert!(listener.is_shut_down());
        listener.bind_anew().expect("bound");
        std::net::TcpStream::connect(address).expect("it listens");
    }

    #[test]
    fn a_given_socket_is_not_bound_anew() {
        let given = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut listener = Listener::given(given.into());
        listener.socket.shutdown(Shutdown::Read).expect("shut down");
        assert!(listener.is_shut_down());
        let why = listener.bind_anew().expect_err("refused").to_string();
        assert_eq!(why, "it was bound by another process, which has to bind it anew and start fcgi-spawn again");
    }
}
