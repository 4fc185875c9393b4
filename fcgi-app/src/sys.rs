//! The system calls std and socket2 do not offer.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{env, fs, io};

/// The signal that makes a thread return from a system call: one that programs ignore by default and leave alone.
const INTERRUPT: libc::c_int = libc::SIGURG;

extern "C" fn do_nothing(_signal: libc::c_int) {}

/// Installs the handler of [`interrupt`]'s signal: one that does nothing, and does not restart system calls.
pub(crate) fn install_interrupt() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction: no flags (so no SA_RESTART), an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` is valid and outlives the call; its handler only returns, which any signal handler may.
    match unsafe { libc::sigaction(INTERRUPT, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets [`interrupt`] reach the calling thread, whatever mask the process was started with.
pub(crate) fn unblock_interrupt() {
    // SAFETY: all-zero bytes are a valid signal set; it is made empty again below.
    let mut set: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: `set` is a valid signal set.
    unsafe { libc::sigemptyset(&mut set) };
    // SAFETY: `set` is a valid signal set, and the signal a valid one.
    unsafe { libc::sigaddset(&mut set, INTERRUPT) };
    // SAFETY: `set` is a valid signal set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut()) };
}

/// Waits until some of `fds` can be read from, at most `timeout`; says which.
pub(crate) fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let timeout = timeout.map_or(-1, milliseconds);
    // SAFETY: `polled` is a valid array of its length, and all descriptors in it are borrowed, so open.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    match ready {
        -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        _ => Ok(polled.iter().map(|fd| fd.revents != 0).collect()),
    }
}

/// Waits until a socket can be read from or, if that is wanted, written to, at most `timeout`; `false` if it cannot. A
/// signal may end the wait early.
pub(crate) fn poll_socket(fd: BorrowedFd<'_>, for_room: bool, timeout: Duration) -> io::Result<bool> {
    let events = if for_room { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: `polled` is one valid entry, and its descriptor is borrowed, so open.
    match unsafe { libc::poll(&mut polled, 1, milliseconds(timeout)) } {
        -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        ready => Ok(ready != 0),
    }
}

/// What a wait for a peer has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// There is something to be read.
    pub(crate) input: bool,
    /// The peer sends nothing more; whether it still reads is not known.
    pub(crate) end_of_input: bool,
    /// The connection is over in both directions.
    pub(crate) hang_up: bool,
}

/// Waits for what its peer does to a connection, for input and its end only if these are wanted. Without a connection it
/// sleeps. A signal may end the wait early.
pub(crate) fn wait_for_peer(
    fd: Option<BorrowedFd<'_>>,
    for_input: bool,
    for_end: bool,
    timeout: Option<Duration>,
) -> io::Result<Found> {
    let wanted = |is_wanted, event| if is_wanted { event } else { 0 };
    let events = wanted(for_input, libc::POLLIN) | wanted(for_end, libc::POLLRDHUP);
    // Of an entry with a negative descriptor poll takes no notice.
    let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
    let mut polled = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: `polled` is one valid entry, and its descriptor is borrowed, so open, or none.
    match unsafe { libc::poll(&mut polled, 1, timeout.map_or(-1, milliseconds)) } {
        -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        -1 => Ok(Found::default()),
        _ => Ok(Found {
            input: polled.revents & libc::POLLIN != 0,
            end_of_input: polled.revents & libc::POLLRDHUP != 0,
            hang_up: polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
        }),
    }
}

/// Checks that there are addresses for a thread with a stack of so many bytes, and for what std allocates when it runs: that
/// ends the process where it fails.
pub(crate) fn check_room_for_thread(stack: usize) -> io::Result<()> {
    /// An alternative stack for signals, guard pages, what belongs to a thread.
    const MORE: usize = 256 << 10;
    let len = stack.saturating_add(MORE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice, which nothing refers to.
    let room = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if room == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping was made above with this length, and nothing refers to it.
    unsafe { libc::munmap(room, len) };
    Ok(())
}

/// Takes the lock of an open file or folder; `false` if another has it. Closing the descriptor ends it.
pub(crate) fn lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: flock takes no pointers, and the descriptor is borrowed, so open.
    match unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(true),
        _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads what is there of a connection.
///
/// This and [`write`] are the calls for files: those for sockets, by which std and socket2 do it, are tried and refused first
/// before each of them on i686 before Linux 4.3, where they are parts of socketcall(2).
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is valid for writes of its length, and the descriptor is borrowed, so open.
    let read = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes what a connection takes at once of some slices. SIGPIPE has to be ignored, as it is in a Rust program.
pub(crate) fn write(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    const MOST: usize = libc::UIO_MAXIOV as usize;
    let written = match slices {
        // SAFETY: `slice` is valid for reads of its length, and the descriptor is borrowed, so open.
        [slice] => unsafe { libc::write(fd.as_raw_fd(), slice.as_ptr().cast(), slice.len()) },
        _ => {
            let count = slices.len().min(MOST) as libc::c_int;
            // SAFETY: an `IoSlice` is an `iovec`, there are at least `count`, and the descriptor is borrowed, so open.
            unsafe { libc::writev(fd.as_raw_fd(), slices.as_ptr().cast(), count) }
        }
    };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Looks at what a socket has to be read, without waiting and without taking it.
pub(crate) fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: `buffer` is valid for writes of its length, and the descriptor is borrowed, so open.
    let read = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Rounded up: a wait that ends too early would be begun again and again.
fn milliseconds(time: Duration) -> libc::c_int {
    time.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX)
}

/// Makes a thread of this process return from a blocking system call with EINTR, if it is in one.
pub(crate) fn interrupt(thread: &JoinHandle<()>) {
    // SAFETY: the id belongs to a thread that was not joined or detached, as its handle exists.
    unsafe { libc::pthread_kill(thread.as_pthread_t() as libc::pthread_t, INTERRUPT) };
}

/// A descriptor of our own for one that the process was started with, which itself no longer survives an exec.
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; one that is no open descriptor is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it for us.
        ours => Ok(unsafe { OwnedFd::from_raw_fd(ours) }),
    }
}

/// Takes variables out of the environment, so that no child gets them; not if the program has other threads already,
/// since those may be reading it.
pub(crate) fn forget_variables(names: &[&str]) {
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    for name in names.iter().filter(|_| alone) {
        // SAFETY: this thread is the only one, so nobody reads the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}
