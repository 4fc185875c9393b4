//! From a plan to a process that executes the program.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::{Pid, Privileges, Restoration};

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
    pub(crate) stdin: BorrowedFd<'a>,
    /// Become its stdout and stderr; otherwise it keeps ours.
    pub(crate) output: Option<[BorrowedFd<'a>; 2]>,
    pub(crate) privileges: Option<&'a Privileges>,
    pub(crate) signals: &'a Restoration,
    /// It gets this signal when we die, who are this process.
    pub(crate) death_signal: Option<(c_int, Pid)>,
    /// Stay open in it, under the same numbers.
    pub(crate) inherited: &'a [OwnedFd],
}

/// The steps on the way from a plan to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fork,
    Stdin,
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

/// What a child and its parent know of each other while they share their memory.
struct Start<'a> {
    exec: &'a Exec<'a>,
    /// The step that failed, and its `errno`.
    failed: Option<(Step, c_int)>,
}

/// How much stack a child may use on its way to the program, which takes none of ours.
const STACK: usize = 64 << 10;

/// Starts a child that leads its own session and becomes the program, or says which step has failed.
///
/// As with vfork(2) it runs in our memory, and we stand still until it executes the program or ends: nothing of ours is
/// copied for it, and what failed is simply there afterwards. There are no handlers of ours that could run in it.
pub(crate) fn fork_exec(exec: &Exec<'_>) -> Result<Pid, (Step, io::Error)> {
    let mut start = Start { exec, failed: None };
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    // SAFETY: the end of what was allocated, where a stack begins.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: a stack of its own, and a `start` that outlives the child's use of our memory. Nobody else has threads
    // or locks here that the child could find in disorder.
    let pid = unsafe { libc::clone(run_child, top.cast(), flags, (&raw mut start).cast()) };
    if pid == -1 {
        return Err((Step::Fork, io::Error::last_os_error()));
    }
    // SAFETY: the child has written it, which the compiler does not know.
    match unsafe { ptr::read_volatile(&raw const start.failed) } {
        None => Ok(Pid(pid)),
        Some((step, errno)) => {
            // Only to leave no zombie: all there is to know is known.
            let _ = super::reap_pid(Pid(pid));
            Err((step, io::Error::from_raw_os_error(errno)))
        }
    }
}

/// Becomes the program in this process; returns only what went wrong.
pub(crate) fn exec(exec: &Exec<'_>) -> (Step, io::Error) {
    let failed = become_program(exec);
    (failed, io::Error::last_os_error())
}

/// Becomes another program in this process; returns only if that fails. Signals that are blocked stay so: none is lost
/// on the way.
pub(crate) fn replace(program: &CStr, arguments: &CStrings, environment: &CStrings) -> io::Error {
    // SAFETY: strings, and lists of strings that end in a null pointer; all outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// What the child does. From here to the program or `_exit` there are system calls and nothing else: no allocation,
/// lock, log line or panic.
extern "C" fn run_child(start: *mut c_void) -> c_int {
    // SAFETY: it is what `fork_exec` passes, and waits for us to be done with.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    let failed = become_worker(start.exec);
    // Not an allocation: it is a number that the error wraps.
    start.failed = Some((failed, io::Error::last_os_error().raw_os_error().unwrap_or(0)));
    exit()
}

/// Returns only if a step failed; `errno` says why.
fn become_worker(exec: &Exec<'_>) -> Step {
    // SAFETY: no arguments.
    if unsafe { libc::setsid() } == -1 {
        return Step::Session;
    }
    if let Some([stdout, stderr]) = exec.output {
        if !dup2(stdout, libc::STDOUT_FILENO) || !dup2(stderr, libc::STDERR_FILENO) {
            return Step::Output;
        }
    }
    if let Some(privileges) = exec.privileges {
        if let Err(step) = privileges.change() {
            return step;
        }
    }
    for inherited in exec.inherited {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(inherited.as_raw_fd(), libc::F_SETFD, 0) };
    }
    if let Some((signal, parent)) = exec.death_signal {
        // Not before: a change of user takes it back.
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) } == -1 {
            return Step::ParentDeathSignal;
        }
        // The parent may have died before it was to be signalled, and then nobody reads the report.
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::getppid() } != parent.number() {
            exit();
        }
    }
    become_program(exec)
}

/// Returns only if a step failed; `errno` says why.
fn become_program(exec: &Exec<'_>) -> Step {
    if !dup2(exec.stdin, libc::STDIN_FILENO) {
        return Step::Stdin;
    }
    exec.signals.run();
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
