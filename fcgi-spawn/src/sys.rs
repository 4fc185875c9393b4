//! The system calls that std and socket2 do not have, each behind a safe function.
//!
//! The launcher has one thread. What would be wrong in a process with more of them (a umask changed
//! for a moment, a child forked while another thread holds a lock) is right here for that reason.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::time::Duration;

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

/// Runs `make` while files are made without the permissions in `without`, beyond those the caller's
/// umask takes away.
pub(crate) fn with_umask<T>(without: libc::mode_t, make: impl FnOnce() -> T) -> T {
    // SAFETY: any mode is valid, the call cannot fail.
    let caller = unsafe { libc::umask(0o777) };
    // SAFETY: as above.
    unsafe { libc::umask(caller | without) };
    let made = make();
    // SAFETY: as above.
    unsafe { libc::umask(caller) };
    made
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

/// Blocks no signal, whatever whoever started us had blocked.
pub(crate) fn unblock_signals() {
    set_mask(&signal_set(libc::sigemptyset));
}

fn signal_set(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `fill` is sigemptyset or sigfillset: they write the whole set and cannot fail.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: written just now.
    unsafe { set.assume_init() }
}

/// Sets the signal mask and returns what it was.
fn set_mask(mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `mask` is initialised, and `before` is the size the call writes.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, before.as_mut_ptr()) };
    // SAFETY: written just now: with SIG_SETMASK and valid pointers the call cannot fail.
    unsafe { before.assume_init() }
}

/// A program and its arguments in the form `execv` wants.
pub(crate) struct Argv {
    /// One for each word and a null pointer; they point into `words`.
    pointers: Vec<*const c_char>,
    /// Never changed or moved out of: a CString's bytes stay where they are when the `Vec` moves.
    words: Vec<CString>,
}

impl Argv {
    /// # Panics
    ///
    /// If there is no word, not even the program's.
    pub(crate) fn new(words: Vec<CString>) -> Self {
        assert!(!words.is_empty(), "Config has a program");
        let pointers = words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        Argv { pointers, words }
    }

    pub(crate) fn program(&self) -> &CString {
        &self.words[0]
    }
}

/// What a forked child needs to become a worker; nothing is left to be looked up, built or opened.
pub(crate) struct Exec<'a> {
    pub(crate) argv: &'a Argv,
    /// Becomes the child's fd 0. It is not fd 0 here: that is our own stdin.
    pub(crate) listener: BorrowedFd<'a>,
    /// Becomes its stdout and stderr; otherwise it keeps ours.
    pub(crate) output: Option<BorrowedFd<'a>>,
    /// Hears of a step that failed, as [`REPORT_LEN`] bytes, and is closed by a successful exec.
    pub(crate) report: BorrowedFd<'a>,
}

/// The steps on the way from a plan to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Fork,
    Listener,
    Session,
    Output,
    ParentDeathSignal,
    Exec,
}

/// A [`Step`] and the `errno` it failed with, in our own byte order.
pub(crate) const REPORT_LEN: usize = 1 + size_of::<c_int>();

/// What a child wrote to its `report`.
pub(crate) fn read_report([step, errno @ ..]: [u8; REPORT_LEN]) -> (Step, io::Error) {
    use Step::{Exec, Fork, Listener, Output, ParentDeathSignal, Session};
    let steps = [Fork, Listener, Session, Output, ParentDeathSignal, Exec];
    let step = steps.into_iter().find(|known| *known as u8 == step);
    let errno = io::Error::from_raw_os_error(c_int::from_ne_bytes(errno));
    (step.expect("a child reports nothing but a Step"), errno)
}

/// Forks a child that becomes a worker. All signals are blocked meanwhile: until the child has
/// undone them, our handlers would write into the pipe it shares with us.
pub(crate) fn fork_exec(exec: &Exec<'_>) -> io::Result<Pid> {
    // SAFETY: no arguments, cannot fail.
    let parent = unsafe { libc::getpid() };
    let caller = set_mask(&signal_set(libc::sigfillset));
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    let forked = match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the just-forked child.
        0 => unsafe { run_child(exec, parent) },
        pid => Ok(Pid(pid)),
    };
    set_mask(&caller);
    forked
}

/// # Safety
///
/// Only in a just-forked child. From here to the program or `_exit` there are system calls and
/// nothing else: no allocation, lock, log line or panic. The descriptors and pointers in `exec`
/// are the parent's, copied by fork and borrowed by the caller, so all of them are valid.
#[allow(unsafe_op_in_unsafe_fn)]
unsafe fn run_child(exec: &Exec<'_>, parent: libc::pid_t) -> ! {
    let failed = become_worker(exec, parent);
    let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
    let report: [u8; REPORT_LEN] = [failed as u8, a, b, c, d];
    libc::write(exec.report.as_raw_fd(), report.as_ptr().cast(), report.len());
    libc::_exit(127)
}

/// Returns only if a step failed; `errno` says why.
///
/// # Safety
///
/// As for [`run_child`].
#[allow(unsafe_op_in_unsafe_fn)]
unsafe fn become_worker(exec: &Exec<'_>, parent: libc::pid_t) -> Step {
    if libc::dup2(exec.listener.as_raw_fd(), libc::STDIN_FILENO) == -1 {
        return Step::Listener;
    }
    if libc::setsid() == -1 {
        return Step::Session;
    }
    if let Some(output) = exec.output {
        for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            if libc::dup2(output.as_raw_fd(), stream) == -1 {
                return Step::Output;
            }
        }
    }
    if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong) == -1 {
        return Step::ParentDeathSignal;
    }
    // The parent may have died before it was to be signalled, and then nobody reads the report.
    if libc::getppid() != parent {
        libc::_exit(127);
    }
    // An exec takes handlers away but leaves ignored what is ignored, and Rust ignores SIGPIPE.
    // SIGKILL, SIGSTOP and those libc keeps for itself refuse, and need nothing.
    for signal in 1..=libc::SIGRTMAX() {
        libc::signal(signal, libc::SIG_DFL);
    }
    let mut none = MaybeUninit::uninit();
    libc::sigemptyset(none.as_mut_ptr());
    libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());

    libc::execv(exec.argv.program().as_ptr(), exec.argv.pointers.as_ptr());
    Step::Exec
}
