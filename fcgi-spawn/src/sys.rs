//! The system calls that std and socket2 do not have, each behind a safe function.
//!
//! The launcher has one thread. What would be wrong in a process with more of them (a umask changed
//! for a moment, a child forked while another thread holds a lock) is right here for that reason.

#![allow(unsafe_code)]

mod accounts;
mod clock;
mod directory;
mod entropy;
mod exec;
mod files;
mod limits;
mod memory;
mod open;
mod poll_set;
mod privileges;
mod signals;
mod sockets;
mod start;
mod stat;

use std::ffi::c_int;
use std::fmt;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

pub(crate) use accounts::{User, group_by_name, groups_of, user_by_id, user_by_name};
pub(crate) use clock::{monotonic, time_of_day};
pub(crate) use directory::Directory;
pub(crate) use entropy::unguessable;
pub(crate) use exec::{CStrings, Exec, Failure, KEPT, Launch, Progress, Step, environment, exec, launch, replace};
pub(crate) use files::{
    Handle, Owner, Status, change_directory, record_lock_of, try_lock, try_record_lock, umask, with_owner, with_umask,
};
pub(crate) use limits::allow_descriptors;
pub use memory::Memory;
pub(crate) use open::{open_at, open_directory};
pub(crate) use poll_set::PollSet;
pub(crate) use privileges::{Privileges, ids, is_root, is_set_uid};
pub(crate) use signals::{CallerSignals, Held, Restoration, expect_children, next_signal, signal_fd, wait_for_child};
pub(crate) use sockets::is_hung_up;
pub(crate) use stat::{Stat, content_of, directory_of, numbers_in};

/// A process we forked. Its group has the same number once it has called `setsid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(libc::pid_t);

impl Pid {
    #[cfg(test)]
    pub(crate) const fn for_test(pid: libc::pid_t) -> Self {
        Pid(pid)
    }

    pub(crate) fn ours() -> Self {
        // SAFETY: no arguments, cannot fail.
        Pid(unsafe { libc::getpid() })
    }

    #[cfg(test)]
    pub(crate) fn of(child: &std::process::Child) -> Self {
        Pid(child.id() as libc::pid_t)
    }

    /// A supervisor's, which may be the first process of a container.
    pub(crate) fn of_supervisor(pid: u32) -> Option<Self> {
        libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0).map(Pid)
    }

    /// Of a process that was handed over to us, if it can be one of ours.
    pub(crate) fn handed_over(pid: libc::pid_t) -> Option<Self> {
        (pid > 1).then_some(Pid(pid))
    }

    pub(crate) fn number(self) -> libc::pid_t {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which side of a fork we are on.
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

/// Forks a daemon: in the child we lead a session of our own, and of all descriptors only stdin,
/// stdout, stderr and `keep` are open.
///
/// An inherited descriptor that a daemon keeps open hangs the reader of its other end (debconf's
/// fd 3 is the famous one). The child must not return to code that owns one of the closed.
pub(crate) fn fork_daemon(keep: &[BorrowedFd<'_>]) -> io::Result<Fork> {
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: no arguments. It cannot fail: a child just forked leads no group.
            unsafe { libc::setsid() };
            for fd in inherited_descriptors() {
                if !keep.iter().any(|kept| kept.as_raw_fd() == fd) {
                    // SAFETY: its owner runs in the parent; nothing in this process uses it again.
                    unsafe { libc::close(fd) };
                }
            }
            Ok(Fork::Child)
        }
        pid => Ok(Fork::Parent(Pid(pid))),
    }
}

/// Forks a child that leads a process group, with these as its stdin, stdout and stderr.
pub(crate) fn fork_group(stdin: impl AsFd, output: impl AsFd) -> io::Result<Fork> {
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: numbers only. It cannot fail: a child just forked leads no session.
            unsafe { libc::setpgid(0, 0) };
            let redirected = redirect(stdin, io::stdin()).and_then(|()| redirect(&output, io::stdout()));
            match redirected.and_then(|()| redirect(&output, io::stderr())) {
                Ok(()) => Ok(Fork::Child),
                // SAFETY: it ends the process: what follows is for the parent only.
                Err(_) => unsafe { libc::_exit(127) },
            }
        }
        pid => Ok(Fork::Parent(Pid(pid))),
    }
}

/// Forks a process that is not our child: the program that we become does not have to reap it.
pub(crate) fn fork_orphan() -> io::Result<Fork> {
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => match unsafe { libc::fork() } {
            0 => Ok(Fork::Child),
            -1 => {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
                // SAFETY: it ends the process, which has nothing to clean up.
                unsafe { libc::_exit(errno) }
            }
            // SAFETY: as above.
            _ => unsafe { libc::_exit(0) },
        },
        pid => match reap_pid(Pid(pid))?.code() {
            Some(0) => Ok(Fork::Parent(Pid(pid))),
            errno => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EAGAIN))),
        },
    }
}

/// Closes the descriptor 0, which nothing reads any more.
pub(crate) fn close_stdin() {
    // SAFETY: std takes it for granted that 0 is open, but does not own it; we do not read.
    unsafe { libc::close(libc::STDIN_FILENO) };
}

/// Ends the process at once.
pub(crate) fn exit_now() -> ! {
    // SAFETY: nothing is run on the way out.
    unsafe { libc::_exit(0) }
}

/// Sees to it that no descriptor but stdin, stdout and stderr survives an exec. All that we open
/// ourselves is marked as it is made; this is for what we were started with.
pub(crate) fn close_inherited_on_exec() {
    for fd in inherited_descriptors() {
        // SAFETY: the call takes any number and says EBADF to one that is not open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// The open descriptors above stderr, and perhaps some that are not open any more.
/// close_range would be shorter, but old kernels lack it.
fn inherited_descriptors() -> Vec<RawFd> {
    let above_stderr = libc::STDERR_FILENO + 1;
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        return numbers.filter(|fd| *fd >= above_stderr).collect();
    }
    // SAFETY: a number goes in, a number or -1 comes out.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    (above_stderr..limit.clamp(1024, 65_536) as RawFd).collect()
}

/// Makes the descriptor of `stream` another name for what `file` is.
pub(crate) fn redirect(file: impl AsFd, stream: impl AsFd) -> io::Result<()> {
    let (file, stream) = (file.as_fd().as_raw_fd(), stream.as_fd().as_raw_fd());
    // SAFETY: both are borrowed, so both are open, and `stream` stays so: it changes in one step.
    match unsafe { libc::dup2(file, stream) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What a descriptor is watched for. That its other end is gone counts as either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Reading,
    Writing,
    /// That a listening socket was shut down, and not for connections.
    Hangup,
}

/// Sleeps until one of `fds` is ready, the time is over or a signal arrives; says which are ready.
pub(crate) fn poll(fds: &[(BorrowedFd<'_>, For)], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    // Rounded up: woken before the deadline we would only ask again.
    let milliseconds = match timeout {
        Some(timeout) => timeout.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int,
        None => -1,
    };
    let polled = |(fd, what): &(BorrowedFd<'_>, For)| {
        let events = match what {
            For::Reading => libc::POLLIN,
            For::Writing => libc::POLLOUT,
            For::Hangup => libc::POLLRDHUP,
        };
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
    };
    let mut polled: Vec<_> = fds.iter().map(polled).collect();
    // SAFETY: an array and its length, which outlives the call; its descriptors are borrowed, so open.
    if unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        polled.iter_mut().for_each(|polled| polled.revents = 0);
    }
    Ok(polled.iter().map(|polled| polled.revents != 0).collect())
}

/// The next child that ended, if there is one, reaped.
pub(crate) fn reap() -> Option<(Pid, ExitStatus)> {
    wait(-1, libc::WNOHANG).ok().filter(|(pid, _)| pid.0 != 0)
}

/// How this child ended, if it has, reaped.
pub(crate) fn reap_if_ended(pid: Pid) -> Option<ExitStatus> {
    wait(pid.0, libc::WNOHANG).ok().filter(|(pid, _)| pid.0 != 0).map(|(_, status)| status)
}

/// Whether this child of ours has not ended. What has ended stays to be reaped.
pub(crate) fn is_running(pid: Pid) -> bool {
    has_ended(pid).is_ok_and(|ended| !ended)
}

/// Whether it is a child of ours, which may have ended.
pub(crate) fn is_child(pid: Pid) -> bool {
    has_ended(pid).is_ok()
}

fn has_ended(pid: Pid) -> io::Result<bool> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: room for what the call writes.
    while unsafe { libc::waitid(libc::P_PID, pid.0 as libc::id_t, info.as_mut_ptr(), options) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: zeroes, or what the call has written; both are valid.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills this in, or leaves the zero if the child has not ended.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Waits until this child has ended.
pub(crate) fn reap_pid(pid: Pid) -> io::Result<ExitStatus> {
    loop {
        match wait(pid.0, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended.map(|(_, status)| status),
        }
    }
}

fn wait(pid: libc::pid_t, options: c_int) -> io::Result<(Pid, ExitStatus)> {
    let mut status = 0;
    // SAFETY: `status` outlives the call, which writes nothing else.
    match unsafe { libc::waitpid(pid, &mut status, options) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok((Pid(pid), ExitStatus::from_raw(status))),
    }
}

/// A pipe whose ends close on exec: what is read from without waiting, and what is written to.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for the two numbers that the call writes.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let [read, write] = ends.map(|end| {
        // SAFETY: just opened, and nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(end) }
    });
    // SAFETY: an open descriptor; each end of a pipe has flags of its own.
    if unsafe { libc::fcntl(read.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok((read, write))
}

/// Has a descriptor survive an exec, or not; returns its number. If that fails the successor finds it missing.
pub(crate) fn survive_exec(fd: BorrowedFd<'_>, survives: bool) -> RawFd {
    let flags = if survives { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: an open descriptor and its flags.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags) };
    fd.as_raw_fd()
}

/// A descriptor of our own for one that was left open when we were executed.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes any number and says EBADF to one that is not open.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: just made, and nothing else owns it.
        own => Ok(unsafe { OwnedFd::from_raw_fd(own) }),
    }
}

/// Takes over a descriptor that was left open for us when we were executed, if it is open.
pub(crate) fn take_inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call takes any number and says EBADF to one that is not open.
    if fd <= libc::STDERR_FILENO || unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return None;
    }
    // SAFETY: it is open, and above those that std knows of; it is ours since we were executed, and is taken once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether there is a process in the group of this number, zombies included.
pub(crate) fn has_group(leader: Pid) -> bool {
    // SAFETY: numbers only; no signal is sent.
    unsafe { libc::kill(-leader.0, 0) == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) }
}

/// The size of a page of memory.
pub(crate) fn page_size() -> u64 {
    // SAFETY: a number goes in, a number comes out.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Whether there is something to be read, or the other end is gone, now or within this time.
pub(crate) fn is_readable_within(fd: impl AsFd, time: Duration) -> bool {
    poll(&[(fd.as_fd(), For::Reading)], Some(time)).is_ok_and(|ready| ready == [true])
}

/// Sends a signal to the child's whole process group. That it has gone already is no error.
///
/// # Errors
///
/// None of its processes may be signalled by us.
pub(crate) fn signal_group(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: numbers only; a child not yet reaped keeps its number from being given to another group.
    match unsafe { libc::kill(-pid.0, signal) } {
        -1 => match io::Error::last_os_error() {
            // Before its setsid it has no group of its own; and the number of one that is reaped may be another's.
            error if error.raw_os_error() == Some(libc::ESRCH) && is_running(pid) => signal_process(pid, signal),
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// Sends a signal to a process alone: a child that runs, or a supervisor that is known to.
pub(crate) fn signal_process(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: numbers only; see above.
    match unsafe { libc::kill(pid.0, signal) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
