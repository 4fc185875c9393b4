//! From a plan made once to a process that executes the program.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use crate::error::{Quoted, Reason};
use crate::sys::{self, Argv, Exec, Pid, Step};
use crate::{Config, Error};

/// Everything the start of a worker needs, made before the first fork.
pub(crate) struct Plan {
    argv: Argv,
    /// `/dev/null` for a worker's stdout and stderr, if it may not have ours.
    output: Option<File>,
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let output = if config.foreground { None } else { Some(dev_null()?) };
        Ok(Plan { argv: Argv::new(config.program.clone()), output })
    }

    /// Starts a worker and waits until it executes the program, or until it is known why it does not.
    pub(crate) fn start(&self, listener: BorrowedFd<'_>) -> Result<Pid, StartError<'_>> {
        let failed = |step, errno| StartError { program: &self.argv, step, errno };

        // An exec closes `report`: its end of file is the news that the program runs.
        let (mut reports, report) = UnixStream::pair().map_err(|errno| failed(Step::Fork, errno))?;
        let output = self.output.as_ref().map(AsFd::as_fd);
        let exec = Exec { argv: &self.argv, listener, output, report: report.as_fd() };
        let pid = sys::fork_exec(&exec).map_err(|errno| failed(Step::Fork, errno))?;
        drop(report);

        let mut bytes = [0; sys::REPORT_LEN];
        if reports.read_exact(&mut bytes).is_err() {
            return Ok(pid);
        }
        // Only to leave no zombie: the report has said all there is to know.
        let _ = sys::reap_pid(pid);
        let (step, errno) = sys::read_report(bytes);
        Err(failed(step, errno))
    }
}

/// `/dev/null`, for reading and writing.
pub(crate) fn dev_null() -> Result<File, Error> {
    let path = "/dev/null";
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|why| Error::io("open", path, &why))
}

/// Why a worker does not run.
pub(crate) struct StartError<'a> {
    program: &'a Argv,
    step: Step,
    errno: io::Error,
}

impl fmt::Display for StartError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Quoted(OsStr::from_bytes(self.program.program().as_bytes()));
        let reason = Reason(&self.errno);
        let call = match self.step {
            Step::Exec => return write!(f, "cannot execute {program}: {reason}"),
            Step::Fork => "fork",
            Step::Listener => "dup2 of the socket",
            Step::Session => "setsid",
            Step::Output => "dup2 of /dev/null",
            Step::ParentDeathSignal => "prctl(PR_SET_PDEATHSIG)",
        };
        write!(f, "cannot start {program}: {call}: {reason}")
    }
}

impl From<StartError<'_>> for Error {
    /// A program that cannot be executed has its `errno` for an exit status, as with spawn-fcgi.
    fn from(error: StartError<'_>) -> Self {
        let status = match (error.step, error.errno.raw_os_error()) {
            (Step::Exec, Some(errno)) => u8::try_from(errno).unwrap_or(Error::SET_UP),
            _ => Error::SET_UP,
        };
        Error::new(error.to_string()).with_exit_status(status)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn plan(words: &[&str]) -> Plan {
        let words = words.iter().map(|word| CString::new(*word).expect("no NUL in a test"));
        Plan { argv: Argv::new(words.collect()), output: None }
    }

    /// Runs the program to its end; its fd 0 is `/dev/null` in place of a listener.
    fn run(words: &[&str]) -> Result<ExitStatus, Error> {
        let stdin = dev_null()?;
        let pid = plan(words).start(stdin.as_fd())?;
        Ok(sys::reap_pid(pid).expect("it is our child"))
    }

    #[track_caller]
    fn check_refused(words: &[&str], message: &str, status: i32) {
        let error = run(words).expect_err("not executable");
        assert_eq!(error.to_string(), message);
        assert_eq!(i32::from(error.exit_status()), status);
    }

    #[test]
    fn arguments_arrive_byte_for_byte() {
        let script = r#"test "$#" = 2 && test "$1" = "" && test "$2" = " a'b " && exit 7"#;
        let status = run(&["/bin/sh", "-c", script, "sh", "", " a'b "]).expect("sh exists");
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_reported_exactly() {
        let gone = "/nonexistent/app";
        let message = "cannot execute '/nonexistent/app': No such file or directory";
        check_refused(&[gone], message, libc::ENOENT);
        check_refused(&["/"], "cannot execute '/': Permission denied", libc::EACCES);
        check_refused(&[""], "cannot execute '': No such file or directory", libc::ENOENT);
        // Not found although it is in PATH: only a path is executed.
        check_refused(&["sh"], "cannot execute 'sh': No such file or directory", libc::ENOENT);
    }

    #[test]
    fn ignored_and_blocked_signals_do_not_reach_the_program() {
        // Rust ignores SIGPIPE in this process.
        let status = run(&["/bin/sh", "-c", "kill -PIPE $$"]).expect("sh exists");
        assert_eq!(status.signal(), Some(libc::SIGPIPE));
    }

    #[test]
    fn the_program_leads_a_session() {
        let script = "read -r _ _ _ _ group session _ </proc/$$/stat && \
            test $group = $$ && test $session = $$";
        assert!(run(&["/bin/sh", "-c", script]).expect("sh exists").success());
    }

    #[test]
    fn the_program_has_no_descriptor_but_the_first_three() {
        sys::close_inherited_on_exec();
        // The fourth is the folder that is being listed.
        let script = "set -- /proc/$$/fd/*; test $# -le 4";
        assert!(run(&["/bin/sh", "-c", script]).expect("sh exists").success());
    }
}
