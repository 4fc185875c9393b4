//! From a plan made once to a process that executes the program.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use libc::c_int;

use crate::error::{Quoted, Reason};
use crate::sys::{self, CStrings, CallerSignals, Exec, Pid, Privileges, Restoration, Step};
use crate::{Config, Error, Program, handover, inherited, notify, privileges};

/// The variable that names the descriptor to which a worker may write a byte when it serves.
const READY: &str = "FCGI_SPAWN_READY=";

/// The variable that names the descriptor to which a worker may write while it is well.
const HEARTBEAT: &str = "FCGI_SPAWN_HEARTBEAT=";

/// Variables between us and our workers, or our successor: another supervisor's are nobody's business.
const OURS: [&str; 3] = [READY, HEARTBEAT, handover::VARIABLE];

/// Everything the start of a worker needs, made before the first fork.
pub(crate) struct Plan {
    program: CString,
    arguments: CStrings,
    environment: CStrings,
    /// `/dev/null` for a worker's stdout and stderr, if it may not have ours.
    output: Option<File>,
    /// What each worker gives up itself.
    privileges: Option<Privileges>,
    signals: Restoration,
    /// What each worker gets when we die, and who we are.
    death_signal: Option<(c_int, Pid)>,
    /// Stay open in each worker, and are named by variables.
    inherited: Vec<OwnedFd>,
}

impl Plan {
    /// The plan for workers of a supervisor, which give up `privileges` each for itself, say by `ready` that they serve,
    /// and by `heartbeat` that they are well.
    pub(crate) fn supervised(
        config: &Config,
        privileges: Privileges,
        signals: CallerSignals,
        ready: OwnedFd,
        heartbeat: Option<OwnedFd>,
    ) -> Result<Self, Error> {
        let signals = signals.without(libc::SIGTERM).without(libc::SIGCHLD).without(config.stop_signal);
        let mut environment = environment();
        environment.retain(|variable| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next();
            !inherited::VARIABLES.iter().chain(&notify::VARIABLES).any(|ours| name == Some(ours.as_bytes()))
        });
        let mut inherited = Vec::new();
        for (name, end) in [(READY, Some(ready)), (HEARTBEAT, heartbeat)] {
            if let Some(end) = end {
                environment.push(CString::new(format!("{name}{}", end.as_raw_fd())).expect("letters and digits"));
                inherited.push(end);
            }
        }
        let plan = Plan::with_environment(config, signals, environment)?;
        let death_signal = Some((config.stop_signal, Pid::ours()));
        Ok(Plan { privileges: Some(privileges), death_signal, inherited, ..plan })
    }

    /// The plan for workers that are on their own, of a launcher that has given up its privileges.
    pub(crate) fn new(config: &Config, signals: CallerSignals) -> Result<Self, Error> {
        Plan::with_environment(config, signals, environment())
    }

    fn with_environment(config: &Config, signals: CallerSignals, mut environment: Vec<CString>) -> Result<Self, Error> {
        let (program, arguments) = match &config.program {
            Program::File(words) => match words.first() {
                Some(file) => (file.clone(), words.clone()),
                None => return Err(Error::new("no FastCGI application given")),
            },
            Program::Shell(command) => {
                let line = [c"exec ".to_bytes(), command.to_bytes()].concat();
                let line = CString::new(line).expect("two strings without a NUL");
                (c"/bin/sh".into(), vec![c"sh".into(), c"-c".into(), line])
            }
        };
        if let Some(children) = config.php_children {
            let name = b"PHP_FCGI_CHILDREN=";
            environment.retain(|variable| !variable.to_bytes().starts_with(name));
            let variable = [&name[..], children.to_string().as_bytes()].concat();
            environment.push(CString::new(variable).expect("letters and digits"));
        }
        Ok(Plan {
            program,
            arguments: CStrings::new(arguments),
            environment: CStrings::new(environment),
            output: if config.foreground { None } else { Some(dev_null()?) },
            privileges: None,
            signals: signals.restoration(),
            death_signal: None,
            inherited: Vec::new(),
        })
    }

    fn exec_on<'a>(&'a self, listener: BorrowedFd<'a>) -> Exec<'a> {
        Exec {
            program: &self.program,
            arguments: &self.arguments,
            environment: &self.environment,
            stdin: listener,
            output: self.output.as_ref().map(|null| [null.as_fd(); 2]),
            privileges: self.privileges.as_ref(),
            signals: &self.signals,
            death_signal: self.death_signal,
            inherited: &self.inherited,
        }
    }

    /// Starts a worker and waits until it executes the program, or until it is known why it does not. `output` is its
    /// stdout and stderr, if it has any of its own.
    pub(crate) fn start(
        &self,
        listener: BorrowedFd<'_>,
        output: Option<[BorrowedFd<'_>; 2]>,
    ) -> Result<Pid, StartError<'_>> {
        let plan = self.exec_on(listener);
        sys::fork_exec(&Exec { output: output.or(plan.output), ..plan })
            .map_err(|(step, errno)| self.failed(step, errno))
    }

    /// Executes the program in this very process; returns only if that fails.
    ///
    /// Our stdin is the listener then, and a broken pipe may end us.
    pub(crate) fn exec(&self, listener: BorrowedFd<'_>) -> StartError<'_> {
        let (step, errno) = sys::exec(&self.exec_on(listener));
        self.failed(step, errno)
    }

    fn failed(&self, step: Step, errno: io::Error) -> StartError<'_> {
        StartError { plan: self, step, errno }
    }
}

/// Our own environment, without what is between us and others.
fn environment() -> Vec<CString> {
    let mut environment = sys::environment();
    environment.retain(|variable| !OURS.iter().any(|ours| variable.to_bytes().starts_with(ours.as_bytes())));
    environment
}

/// `/dev/null`, for reading and writing.
pub(crate) fn dev_null() -> Result<File, Error> {
    let path = "/dev/null";
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|why| Error::io("open", path, &why))
}

/// Why a worker does not run.
pub(crate) struct StartError<'a> {
    plan: &'a Plan,
    step: Step,
    errno: io::Error,
}

impl StartError<'_> {
    /// The `errno` of a program that was not executed, which is the exit status of spawn-fcgi then.
    pub(crate) fn exec_errno(&self) -> Option<u8> {
        let errno = self.errno.raw_os_error().filter(|_| self.step == Step::Exec)?;
        u8::try_from(errno).ok()
    }
}

impl fmt::Display for StartError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Quoted(OsStr::from_bytes(self.plan.program.to_bytes()));
        let reason = Reason(&self.errno);
        let call = match self.step {
            Step::Exec => {
                write!(f, "cannot execute {program}: {reason}")?;
                if self.errno.kind() == io::ErrorKind::PermissionDenied {
                    let (uid, gid) = privileges::ids(self.plan.privileges.as_ref());
                    write!(f, " for uid {uid}, gid {gid}")?;
                }
                return Ok(());
            }
            Step::Fork => "fork",
            Step::Stdin => "dup2 of the socket",
            Step::Session => "setsid",
            Step::Output => "dup2 of its output",
            Step::ParentDeathSignal => "prctl(PR_SET_PDEATHSIG)",
            Step::Gid | Step::Groups | Step::Root | Step::Uid | Step::Final | Step::Directory => {
                return match &self.plan.privileges {
                    Some(privileges) => privileges::failed(privileges, self.step, &self.errno).fmt(f),
                    None => reason.fmt(f),
                };
            }
        };
        write!(f, "cannot start {program}: {call}: {reason}")
    }
}

impl From<StartError<'_>> for Error {
    /// A program that cannot be executed has its `errno` for an exit status, as with spawn-fcgi.
    fn from(error: StartError<'_>) -> Self {
        Error::new(error.to_string()).with_exit_status(error.exec_errno().unwrap_or(Error::SET_UP))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::Address;

    fn plan(words: &[&str]) -> Plan {
        let words = words.iter().map(|word| CString::new(*word).expect("no NUL in a test"));
        let mut config = Config::new(Address::Unix("unused".into()), words.collect());
        config.foreground = true;
        Plan::new(&config, CallerSignals::look()).expect("it opens nothing")
    }

    /// Runs the program to its end; its fd 0 is `/dev/null` in place of a listener.
    fn run(words: &[&str]) -> Result<ExitStatus, Error> {
        let stdin = dev_null()?;
        let pid = plan(words).start(stdin.as_fd(), None)?;
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
        let (uid, gid) = sys::ids();
        let message = format!("cannot execute '/': Permission denied for uid {uid}, gid {gid}");
        check_refused(&["/"], &message, libc::EACCES);
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
