//! From a plan to a process that executes the program.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
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
    /// The paths of the program, tried in order: the first file that can be executed is the program.
    pub(crate) programs: &'a [CString],
    /// The name of which `programs` are the paths in `PATH`; it is never executed in the working directory.
    pub(crate) searched: Option<&'a CStr>,
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
    /// Executing the file at the path of this index. A missing file in its `errno` is the interpreter.
    Exec(usize),
    /// Finding a file at any of the paths.
    Search {
        /// The searched name is that of a file in the working directory.
        is_here: bool,
        /// The first path whose directory the worker may not enter.
        closed: Option<usize>,
    },
}

/// The step that failed, and its `errno`.
type Failed = (Step, c_int);

/// What a child and its parent know of each other while they share their memory.
struct Start<'a> {
    exec: &'a Exec<'a>,
    failed: Option<Failed>,
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
    let (step, errno) = become_program(exec);
    (step, io::Error::from_raw_os_error(errno))
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
    start.failed = Some(become_worker(start.exec));
    exit()
}

/// Returns only if a step failed.
fn become_worker(exec: &Exec<'_>) -> Failed {
    // SAFETY: no arguments.
    if unsafe { libc::setsid() } == -1 {
        return (Step::Session, errno());
    }
    if let Some([stdout, stderr]) = exec.output {
        if !dup2(stdout, libc::STDOUT_FILENO) || !dup2(stderr, libc::STDERR_FILENO) {
            return (Step::Output, errno());
        }
    }
    if let Some(privileges) = exec.privileges {
        if let Err(step) = privileges.change() {
            return (step, errno());
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
            return (Step::ParentDeathSignal, errno());
        }
        // The parent may have died before it was to be signalled, and then nobody reads the report.
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::getppid() } != parent.number() {
            exit();
        }
    }
    become_program(exec)
}

/// Returns only if a step failed.
fn become_program(exec: &Exec<'_>) -> Failed {
    if !dup2(exec.stdin, libc::STDIN_FILENO) {
        return (Step::Stdin, errno());
    }
    exec.signals.run();
    execute(exec)
}

/// Executes the first of the programs that can be, as execvp(3) does; returns only if none can.
fn execute(exec: &Exec<'_>) -> Failed {
    let (arguments, environment) = (exec.arguments.pointers.as_ptr(), exec.environment.pointers.as_ptr());
    // The first file that may not be executed, and the first one without its interpreter.
    let (mut denied, mut incomplete, mut closed) = (None, None, None);
    let mut missing = libc::ENOENT;
    for (index, program) in exec.programs.iter().enumerate() {
        // SAFETY: strings that end in NUL, and arrays of such that end in a null pointer; all are borrowed.
        unsafe { libc::execve(program.as_ptr(), arguments, environment) };
        let failed = (Step::Exec(index), errno());
        match failed.1 {
            libc::EACCES if exec.searched.is_none() || is_file(program) => denied = denied.or(Some(failed)),
            libc::EACCES => closed = closed.or(Some(index)),
            libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP => match is_file(program) {
                true => incomplete = incomplete.or(Some(failed)),
                false => missing = failed.1,
            },
            _ => return failed,
        }
    }
    let not_found = match exec.searched {
        Some(name) => (Step::Search { is_here: is_file(name), closed }, libc::ENOENT),
        None => (Step::Search { is_here: false, closed: None }, missing),
    };
    denied.or(incomplete).unwrap_or(not_found)
}

fn is_file(path: &CStr) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a string that ends in NUL, and room for what is written.
    if unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) } == -1 {
        return false;
    }
    // SAFETY: it was written, since the call succeeded.
    let stat = unsafe { stat.assume_init() };
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// No allocation: the error is that number.
fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
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
