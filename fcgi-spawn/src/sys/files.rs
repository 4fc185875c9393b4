//! Files that are born with the owner and the mode they are meant to have.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use libc::c_long;

/// Whom a file belongs to; `None` leaves it to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// The umask.
pub(crate) fn umask() -> u32 {
    // SAFETY: any mode is valid, the call cannot fail. It can be looked at only by setting it.
    let umask = unsafe { libc::umask(0o777) };
    // SAFETY: as above.
    unsafe { libc::umask(umask) };
    umask
}

/// Runs `make` under this umask.
pub(crate) fn with_umask<T>(umask: u32, make: impl FnOnce() -> T) -> T {
    // SAFETY: any mode is valid, the call cannot fail.
    let caller = unsafe { libc::umask(umask) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(caller) };
    made
}

/// Runs `make` while the files it makes belong to `owner`. We still make them with all our rights:
/// without root's that is not possible in a directory of root's.
///
/// Where this is not allowed nothing is changed, and the files have to be [given](Handle::give) afterwards.
pub(crate) fn with_owner<T>(owner: Owner, make: impl FnOnce() -> T) -> T {
    if owner == Owner::default() {
        return make();
    }
    let Some(rights) = Capabilities::ours() else { return make() };
    let gid = owner.gid.map(set_file_gid);
    let uid = owner.uid.map(|uid| {
        let before = set_file_uid(uid);
        // Another uid than root's for files takes root's rights over files.
        rights.set();
        before
    });
    let made = make();
    if let Some(before) = uid {
        set_file_uid(before);
        rights.set();
    }
    if let Some(before) = gid {
        set_file_gid(before);
    }
    made
}

fn set_file_uid(uid: u32) -> u32 {
    // SAFETY: a number goes in, the former one comes out.
    unsafe { libc::setfsuid(uid) as u32 }
}

fn set_file_gid(gid: u32) -> u32 {
    // SAFETY: a number goes in, the former one comes out.
    unsafe { libc::setfsgid(gid) as u32 }
}

/// What capset(2) takes, in its version 3.
struct Capabilities([CapabilityData; 2]);

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Ourselves, in `_LINUX_CAPABILITY_VERSION_3`, which Linux 2.6.26 brought.
const OURSELVES: CapabilityHeader = CapabilityHeader { version: 0x2008_0522, pid: 0 };

impl Capabilities {
    fn ours() -> Option<Self> {
        let (mut header, mut data) = (OURSELVES, [CapabilityData::default(); 2]);
        // SAFETY: a header, and the two elements which that version writes; both outlive the call.
        let done: c_long = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
        (done == 0).then_some(Capabilities(data))
    }

    /// It only can fail where giving up and taking back one's rights is forbidden altogether.
    fn set(&self) {
        let mut header = OURSELVES;
        // SAFETY: a header, and the two elements which that version reads; both outlive the call.
        unsafe { libc::syscall(libc::SYS_capset, &raw mut header, self.0.as_ptr()) };
    }
}

/// A file that can be neither read nor written, but looked at and given away.
///
/// std cannot open it: with musl it takes `O_PATH` for an access mode, and away.
pub(crate) struct Handle(OwnedFd);

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        Handle(fd)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Handle {
    /// What it is.
    pub(crate) fn status(&self) -> io::Result<Status> {
        Status::of(&self.0)
    }

    /// Changes whom it belongs to.
    pub(crate) fn give(&self, owner: Owner) -> io::Result<()> {
        let unchanged = u32::MAX;
        let (uid, gid) = (owner.uid.unwrap_or(unchanged), owner.gid.unwrap_or(unchanged));
        // SAFETY: an open descriptor, and a string.
        match unsafe { libc::fchownat(self.0.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Changes its permissions. It needs `/proc`: there is no such system call for a handle.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    pub(crate) mode: u32,
    /// No hard link leads to it.
    pub(crate) has_one_name: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In bytes.
    pub(crate) size: u64,
}

impl Status {
    pub(crate) fn is_socket(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFSOCK
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// flock(2) without waiting: whether the lock is ours now.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: an open descriptor.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        },
        _ => Ok(true),
    }
}

/// A lock of fcntl(2) on the whole file, without waiting: whether it is ours now. It goes with the process, or as soon as
/// any descriptor of the file is closed, and stays across an exec.
pub(crate) fn try_record_lock(file: &File) -> io::Result<bool> {
    let lock = record(libc::F_WRLCK);
    // SAFETY: an open descriptor, and a lock that lives as long as the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) } {
        -1 => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => Ok(false),
            error => Err(error),
        },
        _ => Ok(true),
    }
}

/// The process that has such a lock, which only one that may write the file can have: 0 if it is in another namespace.
pub(crate) fn record_lock_of(file: &File) -> io::Result<Option<u32>> {
    let mut lock = record(libc::F_RDLCK);
    // SAFETY: an open descriptor, and room for what the call writes.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ if i32::from(lock.l_type) == libc::F_UNLCK => Ok(None),
        _ => Ok(Some(u32::try_from(lock.l_pid).unwrap_or_default())),
    }
}

fn record(kind: i32) -> libc::flock {
    // SAFETY: a struct of numbers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    lock
}

/// fchdir(2), which std lacks.
pub(crate) fn change_directory(directory: impl AsFd) -> io::Result<()> {
    // SAFETY: an open descriptor.
    match unsafe { libc::fchdir(directory.as_fd().as_raw_fd()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
