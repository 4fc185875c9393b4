//! From a plan to a process that executes the program.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use super::{Pid, Privileges, Restoration, limits};

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
    // SAFETY: nothing changes it meanwhile.
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
    pub(crate) output: [Option<BorrowedFd<'a>>; 2],
    pub(crate) privileges: Option<&'a Privileges>,
    pub(crate) signals: &'a Restoration,
    /// It gets this signal when we die, who are this process.
    pub(crate) death_signal: Option<(c_int, Pid)>,
    /// Stays open in it, as [`KEPT`].
    pub(crate) kept: Option<BorrowedFd<'a>>,
}

/// The number of the one descriptor above stderr that a program may find open: programs count on low ones to be free,
/// and shells use them.
pub(crate) const KEPT: RawFd = 10;

/// The steps on the way from a plan to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Making the pipe for its report, or reading that.
    Report,
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
    /// Clearing the capabilities that a change of the user leaves.
    Capabilities,
    /// Making sure of the three.
    Final,
    /// Changing to the working directory.
    Directory,
    ParentDeathSignal,
    /// Executing the file at [`Failure::path`]. A missing file in its `errno` is the interpreter.
    Exec,
    /// Finding a file at any of the paths. [`Failure::path`] is the first one whose directory the worker may not enter.
    Search,
}

impl Step {
    /// In the order of their numbers.
    const ALL: [Step; 15] = [
        Step::Report,
        Step::Fork,
        Step::Stdin,
        Step::Session,
        Step::Output,
        Step::Gid,
        Step::Groups,
        Step::Root,
        Step::Uid,
        Step::Capabilities,
        Step::Final,
        Step::Directory,
        Step::ParentDeathSignal,
        Step::Exec,
        Step::Search,
    ];
}

/// The step that failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: c_int,
    /// The index of one of [`Exec::programs`].
    pub(crate) path: Option<usize>,
    /// The searched name is that of a file in the working directory.
    pub(crate) is_here: bool,
}

impl Failure {
    fn new(step: Step, errno: c_int) -> Self {
        Failure { step, errno, path: None, is_here: false }
    }

    /// Of a step that has just failed.
    fn now(step: Step) -> Self {
        Failure::new(step, errno())
    }

    pub(crate) fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }

    /// As it goes through a pipe, in one piece.
    fn encode(self) -> [u8; Self::LEN] {
        let path = self.path.and_then(|path| u32::try_from(path).ok()).unwrap_or(u32::MAX).to_ne_bytes();
        let errno = self.errno.to_ne_bytes();
        let [p, q, r, s] = path;
        let [e, f, g, h] = errno;
        [self.step as u8, self.is_here.into(), p, q, r, s, e, f, g, h]
    }

    /// `None` if no launcher has written it.
    fn decode(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [step, is_here, p, q, r, s, e, f, g, h] = bytes;
        let step = *Step::ALL.get(usize::from(step))?;
        let path = u32::from_ne_bytes([p, q, r, s]);
        let path = usize::try_from(path).ok().filter(|_| path != u32::MAX);
        Some(Failure { step, errno: c_int::from_ne_bytes([e, f, g, h]), path, is_here: is_here == 1 })
    }

    const LEN: usize = 10;
}

/// A child on its way to the program. It cannot hold us up: what it reports comes through a pipe that closes when the
/// program is executed.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) pid: Pid,
    report: File,
}

/// What is known of a [`Launch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has executed the program, and runs.
    Executed,
    Failed(Failure),
    /// It has ended, whether it executed the program or was killed before.
    Ended,
    /// Neither yet.
    UnderWay,
}

impl Launch {
    /// How far it is, without waiting.
    pub(crate) fn progress(&mut self) -> Progress {
        let mut bytes = [0; Failure::LEN];
        match self.report.read(&mut bytes) {
            Ok(0) => match super::is_running(self.pid) {
                true => Progress::Executed,
                false => Progress::Ended,
            },
            Ok(Failure::LEN) => {
                Progress::Failed(Failure::decode(bytes).unwrap_or(Failure::new(Step::Report, libc::EPROTO)))
            }
            Ok(_) => Progress::Failed(Failure::new(Step::Report, libc::EPROTO)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Progress::UnderWay
            }
            Err(error) => Progress::Failed(Failure::new(Step::Report, error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }
}

impl AsFd for Launch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// Starts a child that leads its own session and becomes the program.
///
/// The child has a copy of our memory, not the memory itself: once it has given up root's rights, other processes of its
/// uid can stop it at any step, and must not stop us with it.
pub(crate) fn launch(exec: &Exec<'_>) -> Result<Launch, Failure> {
    let failed = |error: io::Error| Failure::new(Step::Report, error.raw_os_error().unwrap_or(libc::EIO));
    let (report, its_end) = super::pipe().map_err(failed)?;
    // SAFETY: no arguments, and no other thread whose locks the child could find taken.
    match unsafe { libc::fork() } {
        -1 => Err(Failure::now(Step::Fork)),
        0 => run_child(exec, its_end.as_raw_fd()),
        pid => Ok(Launch { pid: Pid(pid), report: report.into() }),
    }
}

/// Becomes the program in this process; returns only what went wrong.
pub(crate) fn exec(exec: &Exec<'_>) -> Failure {
    become_program(exec)
}

/// Becomes another program in this process; returns only if that fails. Signals that are blocked stay so: none is lost
/// on the way.
pub(crate) fn replace(program: &CStr, arguments: &CStrings, environment: &CStrings) -> io::Error {
    limits::restore();
    // SAFETY: strings, and lists of strings that end in a null pointer; all outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    let error = io::Error::last_os_error();
    limits::allow_descriptors();
    error
}

/// What the child does. From here to the program or `_exit` there are system calls and nothing else: no allocation,
/// lock, log line or panic.
fn run_child(exec: &Exec<'_>, report: RawFd) -> ! {
    // SAFETY: numbers only. Above the one that is kept, so that neither takes the other's place.
    let above = unsafe { libc::fcntl(report, libc::F_DUPFD_CLOEXEC, KEPT + 1) };
    let (report, failure) = match above {
        -1 => (report, Failure::now(Step::Stdin)),
        above => (above, become_worker(exec, above)),
    };
    let bytes = failure.encode();
    // SAFETY: bytes and their number.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    exit()
}

/// Returns only if a step failed.
fn become_worker(exec: &Exec<'_>, report: RawFd) -> Failure {
    // SAFETY: no arguments.
    if unsafe { libc::setsid() } == -1 {
        return Failure::now(Step::Session);
    }
    for (output, fd) in exec.output.into_iter().zip([libc::STDOUT_FILENO, libc::STDERR_FILENO]) {
        if output.is_some_and(|output| !dup2(output, fd)) {
            return Failure::now(Step::Output);
        }
    }
    if !dup2(exec.stdin, libc::STDIN_FILENO) || exec.kept.is_some_and(|kept| !keep(kept)) {
        return Failure::now(Step::Stdin);
    }
    // While only root can look in here.
    let kept = exec.kept.map_or(libc::STDERR_FILENO, |_| KEPT);
    close_others(kept, report);
    limits::restore();
    if let Some(privileges) = exec.privileges {
        if let Err(step) = privileges.change() {
            return Failure::now(step);
        }
    }
    if let Some((signal, parent)) = exec.death_signal {
        // Not before: a change of user takes it back.
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) } == -1 {
            return Failure::now(Step::ParentDeathSignal);
        }
        // The parent may have died before it was to be signalled, and then nothing reads the report.
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::getppid() } != parent.number() {
            exit();
        }
    }
    exec.signals.run();
    execute(exec)
}

/// Makes it the descriptor that the program finds open.
fn keep(kept: BorrowedFd<'_>) -> bool {
    // SAFETY: numbers only. A descriptor that is there already only has to stay at an exec.
    dup2(kept, KEPT) && unsafe { libc::fcntl(KEPT, libc::F_SETFD, 0) } != -1
}

/// Closes what is open above stderr, but these two. close_range would be shorter, but old kernels lack it; and the entries of
/// /proc/self/fd cost the process that reaps us as much again.
fn close_others(kept: RawFd, report: RawFd) {
    for fd in libc::STDERR_FILENO + 1..table_size() {
        if fd != kept && fd != report {
            // SAFETY: a number; nothing in this process uses it.
            unsafe { libc::close(fd) };
        }
    }
}

/// All open descriptors are below this number.
fn table_size() -> RawFd {
    let mut status = [0; 1024];
    // SAFETY: a string that ends in NUL, and numbers.
    let file = unsafe { libc::open(c"/proc/self/status".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    // SAFETY: a descriptor, which may be -1, and bytes and their number, which outlive the call.
    let count = unsafe { libc::read(file, status.as_mut_ptr().cast(), status.len()) };
    let known = status.get(..usize::try_from(count).unwrap_or_default()).and_then(size_in);
    if file >= 0 {
        // SAFETY: a number; it was opened here.
        unsafe { libc::close(file) };
    }
    known.unwrap_or_else(|| {
        // SAFETY: a number goes in, a number or -1 comes out.
        let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        limit.clamp(1024, 65_536) as RawFd
    })
}

/// The line `FDSize:` of /proc/PID/status, if it is whole.
fn size_in(status: &[u8]) -> Option<RawFd> {
    const NAME: &[u8] = b"\nFDSize:\t";
    let begin = status.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let digits = status.get(begin..)?.split(|byte| *byte == b'\n').next()?;
    let is_whole = status.get(begin + digits.len()) == Some(&b'\n');
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_whole)
}

/// Returns only if a step failed.
fn become_program(exec: &Exec<'_>) -> Failure {
    if !dup2(exec.stdin, libc::STDIN_FILENO) {
        return Failure::now(Step::Stdin);
    }
    exec.signals.run();
    execute(exec)
}

/// Executes the first of the programs that can be, as execvp(3) does; returns only if none can.
fn execute(exec: &Exec<'_>) -> Failure {
    let (arguments, environment) = (exec.arguments.pointers.as_ptr(), exec.environment.pointers.as_ptr());
    // The first file that may not be executed, and the first one without its interpreter.
    let (mut denied, mut incomplete, mut closed) = (None, None, None);
    let mut missing = libc::ENOENT;
    for (index, program) in exec.programs.iter().enumerate() {
        // SAFETY: strings that end in NUL, and arrays of such that end in a null pointer; all are borrowed.
        unsafe { libc::execve(program.as_ptr(), arguments, environment) };
        let failed = Failure { path: Some(index), ..Failure::now(Step::Exec) };
        match failed.errno {
            libc::EACCES if exec.searched.is_none() || is_file(program) => denied = denied.or(Some(failed)),
            libc::EACCES => closed = closed.or(Some(index)),
            libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP => match is_file(program) {
                true => incomplete = incomplete.or(Some(failed)),
                false => missing = failed.errno,
            },
            _ => return failed,
        }
    }
    let not_found = match exec.searched {
        Some(name) => Failure { path: closed, is_here: is_file(name), ..Failure::new(Step::Search, libc::ENOENT) },
        None => Failure::new(Step::Search, missing),
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
    // SAFETY: numbers only; what `stream` was is not used here.
    unsafe { libc::dup2(file.as_raw_fd(), stream) != -1 }
}

/// Ends the child at once, without what std does at an exit: that is the parent's.
fn exit() -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(127) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_table_is_read() {
        let status = b"Name:\ta FDSize:\t7\nState:\tR (running)\nGid:\t0\t0\nFDSize:\t256\nGroups:\t0\n";
        assert_eq!(size_in(status), Some(256));
        let whole = status.len() - b"Groups:\t0\n".len();
        for cut in 0..status.len() {
            assert_eq!(size_in(&status[..cut]), (cut >= whole).then_some(256), "{cut}");
        }
        let highest = std::fs::read_dir("/proc/self/fd").expect("there").flatten();
        let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok()).max();
        assert!(Some(table_size()) > highest);
    }

    #[test]
    fn a_failure_goes_through_a_pipe() {
        for (number, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, number);
            for (path, is_here) in [(None, false), (Some(0), true), (Some(1 << 20), false)] {
                let failure = Failure { step, errno: libc::EACCES, path, is_here };
                assert_eq!(Failure::decode(failure.encode()), Some(failure));
            }
        }
        assert_eq!(Failure::decode([Step::ALL.len() as u8; Failure::LEN]), None);
    }
}
