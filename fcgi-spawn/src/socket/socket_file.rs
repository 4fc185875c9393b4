//! The file of a unix socket: it comes into being with its final owner and mode, takes the place of a dead one at
//! most, and is gone again when we are.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::unix::fs::FileTypeExt;
use std::path::{self, Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Error;
use crate::files::folders::Folders;
use crate::files::lock::Lock;
use crate::process::root;
use crate::socket::listener::{Refused, listen};
use crate::sys::{self, Handle, Owner};

/// Who may connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) owner: Owner,
    pub(crate) mode: u32,
}

/// The file of a bound unix socket, removed when this is dropped, unless another took its place.
pub(crate) struct SocketFile {
    /// Where the path begins, if not at our own root directory.
    root: Option<PathBuf>,
    path: PathBuf,
    /// Device and inode. The kernel gives the number to nobody else while the socket is open.
    identity: (u64, u64),
    folders: Folders,
}

impl SocketFile {
    /// Binds a socket to `path` inside `root` and listens.
    ///
    /// A socket that is bound but does not listen yet looks dead to everybody else, so it happens under a lock:
    /// of two launchers at a time one is told that it came too late.
    pub(crate) fn bind(
        path: &Path,
        root: Option<&Path>,
        mkdir: bool,
        access: Access,
        backlog: u32,
    ) -> Result<(Socket, Self), Refused> {
        let bind = || {
            let folders = if mkdir { Folders::above(path)? } else { Folders::default() };
            let lock = Lock::take(path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => Refused::NoFolder,
                _ => Refused::Io(error),
            })?;
            let Some(_lock) = lock else { return Err(Refused::BeingBound) };
            remove_stale(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            let address = SockAddr::unix(path)?;
            sys::with_umask(!access.mode & 0o777, || sys::with_owner(access.owner, || socket.bind(&address)))?;
            let opened = sys::open_path(path).and_then(|file| Ok((file.identity()?, file)));
            let (identity, file) = opened.inspect_err(|_| drop(fs::remove_file(path)))?;
            // From here on it is ours to remove, wherever we go.
            let ours = SocketFile { root: None, path: path::absolute(path)?, identity, folders };
            settle(&file, access)?;
            listen(&socket, backlog)?;
            Ok((socket, ours))
        };
        let (socket, mut file) = root::within(root, bind).map_err(Refused::Root)??;
        file.root = root.map(Path::to_owned);
        Ok((socket, file))
    }

    /// The file that whoever was here before has made.
    pub(crate) fn adopt(path: &Path, root: Option<&Path>, identity: (u64, u64), made: usize) -> Result<Self, Error> {
        let absolute = || path::absolute(path).map_err(|error| Error::io("find", path, &error));
        let path = root::within(root, absolute)??;
        let folders = Folders::adopt(&path, made);
        Ok(SocketFile { root: root.map(Path::to_owned), path, identity, folders })
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The folders that were made for it.
    pub(crate) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(self) {
        mem::forget(self);
    }

    /// Removes the file, unless somebody listens on it who has got the socket from us. The working
    /// directory may be another one afterwards.
    pub(crate) fn remove_if_dead(self) {
        let probe = || match (self.path.parent(), self.path.file_name()) {
            (Some(folder), Some(name)) => {
                // From there it is short enough for an address, even if what was typed was relative.
                env::set_current_dir(folder)?;
                is_dead(Path::new(name))
            }
            _ => is_dead(&self.path),
        };
        match root::within(self.root.as_deref(), probe) {
            Ok(Ok(true)) => drop(self),
            _ => self.keep(),
        }
    }

    fn remove(&mut self) {
        let now = sys::open_path(&self.path).and_then(|file| file.identity());
        if now.is_ok_and(|now| now == self.identity) {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("{}", Error::io("remove", &self.path, &error));
            }
        }
        self.folders.remove();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let root = self.root.take();
        if let Err(error) = root::within(root.as_deref(), || self.remove()) {
            log::warn!("{error}");
        }
    }
}

/// Sees to it that the file is as it is meant to be where the kernel did not make it so: in a folder that
/// hands down its group or an access list, or without the right to make files for others. Nobody can connect yet.
fn settle(file: &Handle, access: Access) -> Result<(), Refused> {
    let now = file.status()?;
    let Access { owner, mode } = access;
    let owned = owner.uid.is_none_or(|uid| uid == now.uid) && owner.gid.is_none_or(|gid| gid == now.gid);
    if owned && now.mode & 0o777 == mode {
        return Ok(());
    }
    // Somebody who may write to the folder has put something else there.
    if !now.is_socket() || !now.has_one_name {
        return Err(Refused::NotASocket);
    }
    file.give(owner)?;
    file.set_mode(mode)?;
    Ok(())
}

/// Removes the socket that a dead process left at `path`. Anything else there stays untouched.
fn remove_stale(path: &Path) -> Result<(), Refused> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(Refused::NotASocket),
        Ok(_) if is_dead(path)? => Ok(fs::remove_file(path)?),
        Ok(_) => Err(Refused::InUse),
    }
}

/// Tries whether nobody listens, without waiting for a place in a full queue.
///
/// # Errors
///
/// Not ours to connect to, or no stream socket: we cannot know.
fn is_dead(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(false),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(true),
            // Its queue is full, so there is somebody.
            ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        },
    }
}
