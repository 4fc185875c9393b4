use std::fs::{File, Permissions};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::{Address, sys};

/// The listening socket of an application: one it was started with, or one it bound itself.
///
/// It may be shared with sibling processes and with the web server, so it is never shut down, and its flags and
/// timeouts are never changed. A unix socket that was bound here is removed from the file system on drop, if the path
/// still names it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    bound: Option<BoundPath>,
}

/// The file of a unix socket that we made: its path, and which file it then was.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// The mode of a unix socket: for its user and its group.
    pub const MODE: u32 = 0o660;

    /// Connections that may wait, as far as the kernel's `somaxconn` allows.
    const BACKLOG: i32 = 1024;

    /// Takes over the listening socket on descriptor 0, as web servers and spawn-fcgi leave it there; `None` when
    /// descriptor 0 is anything else.
    ///
    /// # Errors
    /// Those of duplicating the descriptor.
    pub fn from_stdin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !is_listening(&SockRef::from(&stdin)) {
            return Ok(None);
        }
        let socket = Socket::from(stdin.as_fd().try_clone_to_owned()?);
        Self::prepare(socket).map(Some)
    }

    /// Takes over the listening socket that systemd passes with a `.socket` unit, on descriptor 3: if `LISTEN_PID` names
    /// this process and `LISTEN_FDS` is at least 1; else `None`.
    ///
    /// The socket is not passed on to child processes. Neither are the two variables, unless the program has started
    /// threads before.
    ///
    /// # Errors
    /// `InvalidInput` when `LISTEN_FDS` is no number, when it is more than one (a server has one socket, whose unit can
    /// say `BindIPv6Only=both`), or when descriptor 3 is no listening stream socket.
    pub fn from_systemd() -> io::Result<Option<Self>> {
        const FIRST: RawFd = 3;
        let variable = |name| env::var_os(name).unwrap_or_default();
        let (pid, fds) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
        if pid.to_str() != Some(&process::id().to_string()) || fds.is_empty() {
            return Ok(None);
        }
        let invalid = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let Some(count) = fds.to_str().and_then(|fds| fds.parse::<u32>().ok()) else {
            return invalid(format!("LISTEN_FDS={fds:?} is no number"));
        };
        sys::forget_variables(&["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]);
        match count {
            0 => return Ok(None),
            1 => {}
            more => return invalid(format!("LISTEN_FDS={more}, but one program serves one socket")),
        }
        let socket = Socket::from(sys::inherited(FIRST)?);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !is_stream || !is_listening(&SockRef::from(&socket)) {
            return invalid(format!("descriptor {FIRST} is no listening stream socket"));
        }
        Self::prepare(socket).map(Some)
    }

    /// Binds `address` and listens on it.
    ///
    /// A unix socket on which no process listens any more is replaced; one on which a process listens, and any other
    /// file, is left alone. Its mode is 0660, whatever the umask, before the first connection can be made. Of several
    /// programs that bind one path at the same moment one succeeds.
    ///
    /// # Errors
    /// Those of the look-up of a host name and of the system calls; `AddrInUse` when another process listens there or a
    /// file that is no socket is in the way.
    pub fn bind(address: &Address) -> io::Result<Self> {
        Self::bind_with(address, Self::MODE, None)
    }

    /// Does what [`bind`](Self::bind) does, and gives the file of a unix socket this mode and this group, by number. A
    /// group needs root, or to be one of the user's own.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    pub fn bind_with(address: &Address, mode: u32, group: Option<u32>) -> io::Result<Self> {
        match address {
            Address::Unix(path) => Self::bind_unix(path, mode, group),
            Address::Tcp(_) => {
                let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in address.resolve()? {
                    match Self::bind_tcp(&address.into()) {
                        Ok(listener) => return Ok(listener),
                        Err(e) => error = e,
                    }
                }
                Err(error)
            }
        }
    }

    /// The next connection and its peer's address; blocks until there is one.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SockAddr)> {
        self.socket.accept()
    }

    /// Removes the file of a unix socket that we made, unless another took its place.
    pub(crate) fn remove_file(&self) {
        let Some(bound) = &self.bound else { return };
        let still_ours =
            fs::symlink_metadata(&bound.path).is_ok_and(|file| (file.dev(), file.ino()) == (bound.device, bound.inode));
        if still_ours {
            if let Err(error) = fs::remove_file(&bound.path) {
                log::warn!("cannot remove socket '{}': {error}", bound.path.display());
            }
        }
    }

    fn bind_tcp(address: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(address)?;
        socket.listen(Self::BACKLOG)?;
        Self::prepare(socket)
    }

    fn bind_unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        let address = Address::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if Address::is_abstract(path) {
            socket.bind(&address)?;
            socket.listen(Self::BACKLOG)?;
            return Ok(Self { socket, bound: None });
        }
        // Until it listens it looks like a stale one to the next program.
        let _alone = lock_folder_of(path);
        remove_stale(path, &address)?;
        socket.bind(&address)?;
        let file = fs::symlink_metadata(path)?;
        let bound = BoundPath { path: path.into(), device: file.dev(), inode: file.ino() };
        let listener = Self { socket, bound: Some(bound) };
        if group.is_some() {
            chown(path, None, group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        listener.socket.listen(Self::BACKLOG)?;
        Ok(listener)
    }

    /// Sets what every connection of a TCP listener inherits: without TCP_NODELAY an answer in several writes waits
    /// 40 ms for the peer's delayed acknowledgement.
    fn prepare(socket: Socket) -> io::Result<Self> {
        if socket.local_addr()?.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Self { socket, bound: None })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

/// The test of the specification, section 2.2, made exact: getpeername fails with ENOTCONN, and the socket listens.
fn is_listening(socket: &SockRef<'_>) -> bool {
    let not_connected = socket.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected);
    not_connected && socket.is_listener().unwrap_or(false)
}

/// Holds the folder of a socket until dropped, if it can be read: other programs of this library wait meanwhile, each for
/// the few calls that binding takes.
fn lock_folder_of(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).ok()?;
    let begun = Instant::now();
    while !sys::lock(folder.as_fd()).ok()? {
        if begun.elapsed() > Duration::from_secs(1) {
            // It is held for something else.
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Some(folder)
}

/// Removes a unix socket at `path` that refuses connections: what an application that was killed leaves behind.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let in_use = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => return in_use("a file that is no socket is in the way"),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => in_use("another process listens there"),
        Err(error) => Err(error),
        Ok(()) => in_use("another process listens there"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A path of its own, with nothing there; removed on drop.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let name = format!("listener-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            Self(env::temp_dir().join(name))
        }

        fn bind(&self) -> io::Result<Listener> {
            Listener::bind(&Address::Unix(self.0.clone()))
        }

        /// That the path is refused, and is what it was.
        #[track_caller]
        fn is_refused(&self, words: &str) {
            let before = fs::symlink_metadata(&self.0).expect("a file");
            let error = self.bind().expect_err("refused");
            assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::AddrInUse, words.to_owned()));
            let after = fs::symlink_metadata(&self.0).expect("a file");
            assert_eq!((before.ino(), before.dev()), (after.ino(), after.dev()));
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let place = Place::new();
        drop(UnixListener::bind(&place.0).expect("bound"));
        assert!(place.0.exists(), "std leaves the file");
        let listener = place.bind().expect("replaced");
        let _client = UnixStream::connect(&place.0).expect("it listens");
        listener.accept().expect("the client's connection");
        drop(listener);
        assert!(!place.0.exists(), "its file is removed on drop");
    }

    #[test]
    fn a_socket_on_which_another_listens_is_refused() {
        let place = Place::new();
        let other = UnixListener::bind(&place.0).expect("bound");
        place.is_refused("another process listens there");
        UnixStream::connect(&place.0).expect("the other still listens");
        drop(other);
    }

    /// A connection would have to wait there: that nothing answers at once is no sign of death.
    #[test]
    fn a_socket_whose_backlog_is_full_is_refused() {
        let place = Place::new();
        let other = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        other.bind(&SockAddr::unix(&place.0).expect("short enough")).expect("bound");
        other.listen(0).expect("it listens");
        let _first = UnixStream::connect(&place.0).expect("one may wait");
        place.is_refused("another process listens there");
    }

    #[test]
    fn a_file_that_is_no_socket_is_refused() {
        let place = Place::new();
        fs::write(&place.0, "precious").expect("written");
        place.is_refused("a file that is no socket is in the way");
        assert_eq!(fs::read(&place.0).expect("it is there"), b"precious");
        fs::remove_file(&place.0).expect("removed");
        symlink("/nowhere", &place.0).expect("a link");
        place.is_refused("a file that is no socket is in the way");
    }

    #[test]
    fn the_mode_is_not_left_to_the_umask() {
        let mode = |place: &Place| fs::symlink_metadata(&place.0).expect("a socket").mode() & 0o7777;
        let place = Place::new();
        let listener = place.bind().expect("bound");
        assert_eq!(mode(&place), 0o660);
        drop(listener);
        let _listener = Listener::bind_with(&Address::Unix(place.0.clone()), 0o606, None).expect("bound");
        assert_eq!(mode(&place), 0o606);
    }

    /// A stale socket is there, and all find it so.
    #[test]
    fn of_programs_that_bind_at_the_same_moment_one_succeeds() {
        for _ in 0..20 {
            let place = Place::new();
            drop(UnixListener::bind(&place.0).expect("bound"));
            let bound: Vec<_> = thread::scope(|scope| {
                let binding: Vec<_> = (0..8).map(|_| scope.spawn(|| place.bind())).collect();
                binding.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            let kinds: Vec<_> =
                lost.iter().map(|lost| lost.as_ref().map_err(io::Error::kind).expect_err("lost")).collect();
            assert_eq!((won.len(), kinds), (1, vec![io::ErrorKind::AddrInUse; 7]));
            UnixStream::connect(&place.0).expect("the winner listens");
        }
    }

    #[test]
    fn a_name_that_is_no_file() {
        let address = Address::Unix(format!("@fcgi-app-{}", process::id()).into());
        let listener = Listener::bind(&address).expect("bound");
        assert_eq!(Listener::bind(&address).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        let Address::Unix(path) = &address else { unreachable!("it is one") };
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        client.connect(&Address::unix(path).expect("short enough")).expect("it listens");
        listener.accept().expect("the client's connection");
    }

    #[test]
    fn a_file_that_took_the_socket_s_place_stays() {
        let place = Place::new();
        let listener = place.bind().expect("bound");
        fs::remove_file(&place.0).expect("removed");
        let _other = UnixListener::bind(&place.0).expect("bound");
        drop(listener);
        UnixStream::connect(&place.0).expect("the other's file is there");
    }
}
