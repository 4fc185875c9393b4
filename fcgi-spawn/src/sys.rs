//! The system calls that std and socket2 do not have, each behind a safe function.
//!
//! The launcher has one thread. What would be wrong in a process with more of them (a umask changed
//! for a moment, a child forked while another thread holds a lock) is right here for that reason.

#![allow(unsafe_code)]

mod accounts;
mod exec;
mod files;
mod privileges;
mod signals;

use std::ffi::c_int;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

pub(crate) use accounts::{User, group_by_name, groups_of, user_by_id, user_by_name};
pub(crate) use exec::{CStrings, Exec, REPORT_LEN, Step, environment, exec, fork_exec, read_report};
pub(crate) use files::{Handle, Owner, change_directory, open_path, try_lock, umask, with_owner, with_umask};
pub(crate) use privileges::{Privileges, ids, is_root, is_set_uid};
pub(crate) use signals::{CallerSignals, expect_children, unblock_signals, wait_for_child};

/// A process we forked. Its group has the same number once it has called `setsid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(libc::pid_t);

impl Pid {
    #[cfg(test)]
    pub(crate) const fn for_test(pid: libc::pid_t) -> Self {
        Pid(pid)
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
/// An inherited descriptor that a daemon keeps open hangs whoever reads its other end (debconf's
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
                    // SAFETY: whoever owns it runs in the parent; nothing in this process uses it again.
                    unsafe { libc::close(fd) };
                }
            }
            Ok(Fork::Child)
        }
        pid => Ok(Fork::Parent(Pid(pid))),
    }
}

/// Forks a process that is not our child: whoever we become does not have to reap it.
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

/// Closes the descriptor 0, which nobody reads any more.
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

/// Sleeps until `fd` is readable, the time is over or a signal arrives.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<()> {
    // Rounded up: woken before the deadline we would only ask again.
    let milliseconds = match timeout {
        Some(timeout) => timeout.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int,
        None => -1,
    };
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, of which we say that it is one, and it outlives the call.
    if unsafe { libc::poll(&mut poll, 1, milliseconds) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// The next child that ended, if there is one, reaped.
pub(crate) fn reap() -> Option<(Pid, ExitStatus)> {
    wait(-1, libc::WNOHANG).ok().filter(|(pid, _)| pid.0 != 0)
}

/// How this child ended, if it has, reaped.
pub(crate) fn reap_if_ended(pid: Pid) -> Option<ExitStatus> {
    wait(pid.0, libc::WNOHANG).ok().filter(|(pid, _)| pid.0 != 0).map(|(_, status)| status)
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

/// Sends a signal to the child's whole process group. That it has gone already is no error.
pub(crate) fn signal_group(pid: Pid, signal: c_int) {
    // SAFETY: numbers only; a child not yet reaped keeps its number from being given to another group.
    unsafe { libc::kill(-pid.0, signal) };
}
