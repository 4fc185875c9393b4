//! The file of a unix socket: it comes into being with its final owner and mode, takes the place of a dead one at
//! most, and is gone again when we are.

use std::io::{self, ErrorKind};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Error;
use crate::files::directories::Directories;
use crate::files::lock::Lock;
use crate::files::place::{Place, twice};
use crate::process::root;
use crate::socket::backlog::listen;
use crate::socket::bind_error::BindError;
use crate::sys::{self, Handle, Owner, Status};

/// Which users may connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) owner: Owner,
    pub(crate) mode: u32,
}

/// The file of a bound unix socket, removed when this is dropped, unless another took its place.
///
/// It is reached by the directory that was opened when the socket was bound, in a chroot and outside of it.
pub(crate) struct SocketFile {
    place: Place,
    /// Device and inode, as long as the file is ours to remove. The kernel gives the number to no other file while the
    /// socket is open.
    identity: Option<(u64, u64)>,
    access: Access,
    directories: Directories,
}

impl SocketFile {
    /// Binds a socket to `path` inside `root` and listens.
    pub(crate) fn bind(
        path: &Path,
        root: Option<&Path>,
        mkdir: bool,
        access: Access,
        backlog: u32,
    ) -> Result<(Socket, Self), BindError> {
        let bind = || {
            let (place, directories) = match mkdir {
                true => Directories::above(path)?,
                false => {
                    let place = Place::of(path).map_err(|error| match error.kind() {
                        ErrorKind::NotFound => BindError::NoDirectory,
                        _ => BindError::Io(error),
                    })?;
                    (place, Directories::default())
                }
            };
            let mut file = SocketFile { place, identity: None, access, directories };
            // A path that is typed shows in `ss -l`, so it is taken where no other user can make it lead elsewhere.
            let typed = file.place.is_reliable().then_some(path);
            file.bind_at(typed, backlog).map(|socket| (socket, file))
        };
        root::within(root, bind).map_err(BindError::Root)?
    }

    /// Binds another socket to the same place, for the one that was shut down.
    pub(crate) fn bind_anew(&mut self, backlog: u32) -> Result<Socket, BindError> {
        self.bind_at(None, backlog)
    }

    /// Binds by a path, if there is one, or else by the name in the directory.
    ///
    /// A socket that is bound but does not listen yet looks dead to every other process, so it happens under a lock:
    /// of two launchers at a time one is told that it came too late.
    fn bind_at(&mut self, path: Option<&Path>, backlog: u32) -> Result<Socket, BindError> {
        let Some(_lock) = Lock::take(&self.place)? else { return Err(BindError::BeingBound) };
        remove_stale(&self.place)?;
        let Access { owner, mode } = self.access;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let bind = |path: &Path| {
            let address = SockAddr::unix(path)?;
            sys::with_umask(!mode & 0o777, || sys::with_owner(owner, || socket.bind(&address)))
        };
        match path {
            Some(path) => bind(path)?,
            None => self.place.within(bind)?,
        }
        let look = || self.place.handle().and_then(|file| Ok((file.status()?.identity, file)));
        let opened = twice(look);
        let (identity, file) = opened.inspect_err(|_| drop(self.place.remove()))?;
        // From here on it is ours to remove, wherever we go.
        self.identity = Some(identity);
        settle(&file, self.access)?;
        listen(&socket, backlog)?;
        Ok(socket)
    }

    /// The file that a predecessor has made.
    pub(crate) fn adopt(path: &Path, root: Option<&Path>, identity: (u64, u64), made: usize) -> Result<Self, Error> {
        let found = root::within(root, || {
            let place = Place::of(path)?;
            let status = place.status()?.filter(|status| status.identity == identity);
            Ok((place, status, Directories::adopt(path, made)))
        })?;
        let (place, status, directories) = found.map_err(|error: io::Error| Error::io("find", path, &error))?;
        let access = Access {
            owner: Owner { uid: status.map(|status| status.uid), gid: status.map(|status| status.gid) },
            mode: status.map_or(0o600, |status: Status| status.mode & 0o777),
        };
        Ok(SocketFile { place, identity: Some(identity), access, directories })
    }

    /// Whether clients find it, as far as that can be seen.
    pub(crate) fn is_there(&self) -> bool {
        self.identity.is_none_or(|identity| self.place.has(identity))
    }

    /// Removes the file; the socket stays open, and the directories stay until this is dropped.
    pub(crate) fn unlink(&mut self) {
        if let Some(identity) = self.identity.take() {
            self.place.remove_file(identity);
        }
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }

    /// How many directories were made for it.
    pub(crate) fn made(&self) -> usize {
        self.directories.count()
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) {
        self.identity = None;
        self.directories.keep();
    }

    /// Removes the file, unless a process that has got the socket from us listens on it.
    pub(crate) fn remove_if_dead(self) {
        if !twice(|| is_dead(&self.place)).unwrap_or(false) {
            self.keep();
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(identity) = self.identity else { return };
        self.place.remove_file(identity);
    }
}

/// Makes the file what it is meant to be where the kernel did not make it so: in a directory that hands down its group
/// or an access list, or without the right to make files for others. No client can connect yet.
fn settle(file: &Handle, access: Access) -> Result<(), BindError> {
    let now = file.status()?;
    let Access { owner, mode } = access;
    let owned = owner.uid.is_none_or(|uid| uid == now.uid) && owner.gid.is_none_or(|gid| gid == now.gid);
    if owned && now.mode & 0o777 == mode {
        return Ok(());
    }
    // A process that may write to the directory has put something else there.
    if !now.is_socket() || !now.has_one_name {
        return Err(BindError::NotASocket);
    }
    file.give(owner)?;
    file.set_mode(mode)?;
    Ok(())
}

/// Removes the socket that a dead process left. Anything else there stays untouched.
fn remove_stale(place: &Place) -> Result<(), BindError> {
    match place.status()? {
        None => Ok(()),
        Some(status) if !status.is_socket() => Err(BindError::NotASocket),
        Some(_) if is_dead(place)? => Ok(place.remove()?),
        Some(_) => Err(BindError::InUse),
    }
}

/// Tries whether no process listens, without waiting for a place in a full queue.
///
/// # Errors
///
/// Not ours to connect to, or no stream socket: we cannot know.
fn is_dead(place: &Place) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match place.within(|name| socket.connect(&SockAddr::unix(name)?)) {
        Ok(()) => Ok(false),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(true),
            // Its queue is full, so there is a listener.
            ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        },
    }
}
