//! From a plan to a process that executes the program.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::{CallerSignals, Pid, Privileges, signals};

/// Strings in the form `execve` wants them.
pub(crate) struct CStrings {
    /// One for each string and a null pointer; they point into `strings`.
    pointers: Vec<*const c_char>,
    /// Never changed or moved out of: a CString's bytes stay where they are when the `Vec` moves.
    _strings: Vec<CString>,
}

impl CStrings {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        CStrings { pointers, _strings: strings }
    }
}

/// Our environment byte for byte, also what is no variable.
pub(crate) fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static mut environ: *const *const c_char;
    }
    let mut strings = Vec::new();
    // SAFETY: nobody changes it meanwhile.
    let mut next = unsafe { environ };
    if next.is_null() {
        return strings;
    }
    // SAFETY: it is not null, so it is a list of pointers that ends in a null pointer.
    while let Some(string) = ptr::NonNull::new(unsafe { *next }.cast_mut()) {
        // SAFETY: each of them is to a string.
        strings.push(unsafe { CStr::from_ptr(string.as_ptr()) }.into());
        // SAFETY: at most the null pointer at the end is next.
        next = unsafe { next.add(1) };
    }
    strings
}

/// What becomes the program needs this; nothing is left to be looked up, built or opened.
pub(crate) struct Exec<'a> {
    /// The file, executed without a search in `PATH`.
    pub(crate) program: &'a CStr,
    pub(crate) arguments: &'a CStrings,
    pub(crate) environment: &'a CStrings,
    /// Becomes its fd 0. It is not fd 0 here: that is our own stdin.
    pub(crate) listener: BorrowedFd<'a>,
    /// Becomes its stdout and stderr; otherwise it keeps ours.
    pub(crate) output: Option<BorrowedFd<'a>>,
    pub(crate) privileges: Option<&'a Privileges>,
    pub(crate) signals: &'a CallerSignals,
    /// Gets SIGTERM when we die.
    pub(crate) dies_with_us: bool,
}

/// The steps on the way from a plan to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Fork,
    Listener,
    Session,
    Output,
    /// Changing to the group.
    Gid,
    /// Changing to the supplementary groups.
    Groups,
    /// Changing the root directory, and into it.
    Root,
    /// Changing to the user.
    Uid,
    /// Making sure of the three.
    Final,
    /// Changing to the working directory.
    Directory,
    ParentDeathSignal,
    Exec,
}

/// A [`Step`] and the `errno` it failed with, in our own byte order.
pub(crate) const REPORT_LEN: usize = 1 + size_of::<c_int>();

/// What a child wrote to its `report`.
pub(crate) fn read_report([step, errno @ ..]: [u8; REPORT_LEN]) -> (Step, io::Error) {
    use Step::{Directory, Exec, Final, Fork, Gid, Groups, Listener, Output, ParentDeathSignal, Root, Session, Uid};
    let steps = [Fork, Listener, Session, Output, Gid, Groups, Root, Uid, Final, Directory, ParentDeathSignal, Exec];
    let step = steps.into_iter().find(|known| *known as u8 == step);
    let errno = io::Error::from_raw_os_error(c_int::from_ne_bytes(errno));
    (step.expect("a child reports nothing but a Step"), errno)
}

/// Forks a child that leads its own session and becomes the program. A step that fails is written to `report` as
/// [`REPORT_LEN`] bytes; a successful exec closes it.
///
/// All signals are blocked meanwhile: until the child has undone them, our handlers would write into the pipe it
/// shares with us.
pub(crate) fn fork_exec(exec: &Exec<'_>, report: BorrowedFd<'_>) -> io::Result<Pid> {
    // SAFETY: no arguments, cannot fail.
    let parent = unsafe { libc::getpid() };
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    signals::blocked(|| match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(exec, parent, report),
        pid => Ok(Pid(pid)),
    })
}

/// Becomes the program in this process; returns only what went wrong.
pub(crate) fn exec(exec: &Exec<'_>) -> (Step, io::Error) {
    let failed = become_program(exec);
    (failed, io::Error::last_os_error())
}

/// What a just-forked child does. From here to the program or `_exit` there are system calls and nothing else: no
/// allocation, lock, log line or panic. The descriptors and pointers in `exec` are the parent's, copied by fork.
fn run_child(exec: &Exec<'_>, parent: libc::pid_t, report: BorrowedFd<'_>) -> ! {
    let failed = become_worker(exec, parent);
    let [a, b, c, d] = errno().to_ne_bytes();
    let bytes: [u8; REPORT_LEN] = [failed as u8, a, b, c, d];
    // SAFETY: as many bytes as there are; nobody is left to hear that it failed.
    unsafe { libc::write(report.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    exit()
}

/// Returns only if a step failed; `errno` says why.
fn become_worker(exec: &Exec<'_>, parent: libc::pid_t) -> Step {
    // SAFETY: no arguments.
    if unsafe { libc::setsid() } == -1 {
        return Step::Session;
    }
    if let Some(output) = exec.output {
        for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            if !dup2(output, stream) {
                return Step::Output;
            }
        }
    }
    if let Some(privileges) = exec.privileges {
        if let Err(step) = privileges.change() {
            return step;
        }
    }
    if exec.dies_with_us {
        // Not before: a change of user takes it back.
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong) } == -1 {
            return Step::ParentDeathSignal;
        }
        // The parent may have died before it was to be signalled, and then nobody reads the report.
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::getppid() } != parent {
            exit();
        }
    }
    become_program(exec)
}

/// Returns only if a step failed; `errno` says why.
fn become_program(exec: &Exec<'_>) -> Step {
    if !dup2(exec.listener, libc::STDIN_FILENO) {
        return Step::Listener;
    }
    exec.signals.restore();
    let (arguments, environment) = (exec.arguments.pointers.as_ptr(), exec.environment.pointers.as_ptr());
    // SAFETY: strings that end in NUL, and arrays of such that end in a null pointer; all are borrowed.
    unsafe { libc::execve(exec.program.as_ptr(), arguments, environment) };
    Step::Exec
}

fn dup2(file: BorrowedFd<'_>, stream: c_int) -> bool {
    // SAFETY: numbers only; what `stream` was is nobody's here.
    unsafe { libc::dup2(file.as_raw_fd(), stream) != -1 }
}

/// Ends the child at once, without what std does at an exit: that is the parent's.
fn exit() -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(127) }
}

/// Why the last call failed. It reads a variable, as `io::Error::last_os_error` does.
fn errno() -> c_int {
    // SAFETY: a valid pointer to a variable of this thread.
    unsafe { *libc::__errno_location() }
}
