//! From a plan made once to a process that executes the program.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use libc::c_int;

use crate::error::Reason;
use crate::handover;
use crate::process::candidates::Candidates;
use crate::process::identity::Identity;
use crate::process::privileges;
use crate::socket::inherited;
use crate::sys::{
    self, CStrings, CallerSignals, Exec, Failure, For, Launch, Pid, Privileges, Progress, Restoration, Step,
};
use crate::{Config, Error, Program, notify};

/// The variable that names the descriptor of a worker's channel; see [`crate::process::channel`].
const REPORT: &str = "FCGI_SPAWN_REPORT=";

/// Variables between us and our workers, or our successor: another supervisor's are not passed on.
const OURS: [&str; 2] = [REPORT, handover::VARIABLE];

/// Everything the start of a worker needs, made before the first fork.
pub(crate) struct Plan {
    candidates: Candidates,
    arguments: CStrings,
    environment: CStrings,
    /// `/dev/null` for a worker's stdout and stderr, if it may not have ours.
    null: Option<File>,
    /// What each worker gives up itself.
    privileges: Option<Privileges>,
    signals: Restoration,
    /// What each worker gets when we die, and who we are.
    death_signal: Option<(c_int, Pid)>,
}

impl Plan {
    /// The plan for workers of a supervisor, each of which takes on `identity` itself and has a channel; `heartbeat` says
    /// whether they are watched.
    pub(crate) fn supervised(
        config: &Config,
        identity: &Identity,
        signals: CallerSignals,
        heartbeat: bool,
    ) -> Result<Self, Error> {
        let signals = signals.without(libc::SIGTERM).without(libc::SIGCHLD).without(config.stop_signal);
        let mut environment = environment();
        environment.retain(|variable| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next();
            !inherited::VARIABLES.iter().chain(&notify::VARIABLES).any(|ours| name == Some(ours.as_bytes()))
        });
        let watched = if heartbeat { ",heartbeat" } else { "" };
        let variable = format!("{REPORT}{}{watched}", sys::KEPT);
        environment.push(CString::new(variable).expect("letters and digits"));
        let privileges = Some(privileges::of_workers(config, identity)?);
        let plan = Plan::with_environment(config, identity, signals, environment)?;
        let death_signal = Some((config.stop_signal, Pid::ours()));
        Ok(Plan { privileges, death_signal, ..plan })
    }

    /// The plan for workers that are on their own, of a launcher that has given up its privileges.
    pub(crate) fn new(config: &Config, identity: &Identity, signals: CallerSignals) -> Result<Self, Error> {
        Plan::with_environment(config, identity, signals, environment())
    }

    fn with_environment(
        config: &Config,
        identity: &Identity,
        signals: CallerSignals,
        mut environment: Vec<CString>,
    ) -> Result<Self, Error> {
        let (program, arguments) = match &config.program {
            Program::File(words) => match words.first() {
                Some(name) => (&**name, words.clone()),
                None => return Err(Error::new("no FastCGI application given")),
            },
            Program::Shell(command) => {
                let line = [c"exec ".to_bytes(), command.to_bytes()].concat();
                let line = CString::new(line).expect("two strings without a NUL");
                (c"/bin/sh", vec![c"sh".into(), c"-c".into(), line])
            }
        };
        let candidates = Candidates::new(config, program, variable(&environment, "PATH"));
        if config.user_variables {
            identity.name_user(&mut environment);
        }
        if let Some(children) = config.php_children {
            let name = b"PHP_FCGI_CHILDREN=";
            environment.retain(|variable| !variable.to_bytes().starts_with(name));
            let variable = [&name[..], children.to_string().as_bytes()].concat();
            environment.push(CString::new(variable).expect("letters and digits"));
        }
        Ok(Plan {
            candidates,
            arguments: CStrings::new(arguments),
            environment: CStrings::new(environment),
            null: if config.foreground { None } else { Some(dev_null()?) },
            privileges: None,
            signals: signals.restoration(),
            death_signal: None,
        })
    }

    fn exec_on<'a>(&'a self, listener: BorrowedFd<'a>) -> Exec<'a> {
        Exec {
            programs: self.candidates.paths(),
            searched: self.candidates.searched(),
            arguments: &self.arguments,
            environment: &self.environment,
            stdin: listener,
            output: [self.null.as_ref().map(AsFd::as_fd); 2],
            privileges: self.privileges.as_ref(),
            signals: &self.signals,
            death_signal: self.death_signal,
            kept: None,
        }
    }

    /// Starts a worker; a program that cannot be executed shows in [`Launch::progress`]. `output` is its stdout and stderr
    /// where it has any of its own, and `channel` its end of a channel.
    pub(crate) fn launch(
        &self,
        listener: BorrowedFd<'_>,
        output: [Option<BorrowedFd<'_>>; 2],
        channel: Option<BorrowedFd<'_>>,
    ) -> Result<Launch, StartError<'_>> {
        let plan = self.exec_on(listener);
        let [stdout, stderr] = output;
        let output = [stdout.or(plan.output[0]), stderr.or(plan.output[1])];
        sys::launch(&Exec { output, kept: channel, ..plan }).map_err(|failure| self.failed(failure))
    }

    /// Starts a worker and waits until it executes the program, or until it is known why it does not.
    pub(crate) fn start(&self, listener: BorrowedFd<'_>) -> Result<Pid, StartError<'_>> {
        let mut launch = self.launch(listener, [None; 2], None)?;
        loop {
            match launch.progress() {
                Progress::Executed | Progress::Ended => return Ok(launch.pid),
                Progress::Failed(failure) => {
                    // Only to leave no zombie: all there is to know is known.
                    let _ = sys::reap_pid(launch.pid);
                    return Err(self.failed(failure));
                }
                Progress::UnderWay => {
                    let _ = sys::poll(&[(launch.as_fd(), For::Reading)], None);
                }
            }
        }
    }

    /// Executes the program in this very process; returns only if that fails.
    ///
    /// Our stdin is the listener then, and a broken pipe may end us.
    pub(crate) fn exec(&self, listener: BorrowedFd<'_>) -> StartError<'_> {
        self.failed(sys::exec(&self.exec_on(listener)))
    }

    pub(crate) fn failed(&self, failure: Failure) -> StartError<'_> {
        StartError { plan: self, failure }
    }
}

/// Our own environment, without what is between us and others.
fn environment() -> Vec<CString> {
    let mut environment = sys::environment();
    environment.retain(|variable| !OURS.iter().any(|ours| variable.to_bytes().starts_with(ours.as_bytes())));
    environment
}

/// The value of a variable, as getenv(3) finds it.
fn variable<'a>(environment: &'a [CString], name: &str) -> Option<&'a OsStr> {
    let value = |variable: &'a CString| variable.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    environment.iter().find_map(value).map(OsStr::from_bytes)
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
    failure: Failure,
}

impl StartError<'_> {
    /// The `errno` of a program that was not executed, which is the exit status of spawn-fcgi then.
    pub(crate) fn exec_errno(&self) -> Option<u8> {
        match self.failure.step {
            Step::Exec | Step::Search => u8::try_from(self.failure.errno).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for StartError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates = &self.plan.candidates;
        let (uid, gid) = privileges::ids(self.plan.privileges.as_ref());
        let errno = self.failure.error();
        let reason = Reason(&errno);
        let call = match self.failure.step {
            Step::Exec => {
                write!(f, "cannot execute {}: {reason}", candidates.path(self.failure.path))?;
                return match errno.kind() {
                    io::ErrorKind::PermissionDenied => write!(f, " for uid {uid}, gid {gid}"),
                    io::ErrorKind::NotFound => {
                        write!(f, " (its interpreter or dynamic loader is missing{})", candidates.inside())
                    }
                    _ => Ok(()),
                };
            }
            Step::Search => {
                let is_here = self.failure.is_here;
                let why = candidates.not_found(&errno, is_here);
                write!(f, "cannot execute {}: {why}", candidates.name())?;
                let closed = self.failure.path.filter(|_| !is_here);
                return match closed.and_then(|index| candidates.directory(index)) {
                    Some(directory) => write!(f, "; uid {uid}, gid {gid} may not enter {directory}"),
                    None => Ok(()),
                };
            }
            Step::Report => "pipe for its report",
            Step::Fork => "fork",
            Step::Stdin => "dup2 of the socket",
            Step::Session => "setsid",
            Step::Output => "dup2 of its output",
            Step::ParentDeathSignal => "prctl(PR_SET_PDEATHSIG)",
            Step::Gid | Step::Groups | Step::Root | Step::Uid | Step::Capabilities | Step::Final | Step::Directory => {
                return match &self.plan.privileges {
                    Some(privileges) => privileges::failed(privileges, self.failure.step, &errno).fmt(f),
                    None => reason.fmt(f),
                };
            }
        };
        write!(f, "cannot start {}: {call}: {reason}", candidates.name())
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
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::{Command, ExitStatus};
    use std::{env, fs};

    use super::*;
    use crate::Address;

    fn config(words: &[&str]) -> Config {
        let words = words.iter().map(|word| CString::new(*word).expect("no NUL in a test"));
        let mut config = Config::new(Address::Unix("unused".into()), words.collect());
        config.foreground = true;
        config
    }

    /// Runs the program to its end; its fd 0 is `/dev/null` in place of a listener.
    fn run_to_end(plan: &Plan) -> Result<ExitStatus, Error> {
        let stdin = dev_null()?;
        let pid = plan.start(stdin.as_fd())?;
        Ok(sys::reap_pid(pid).expect("it is our child"))
    }

    fn run(words: &[&str]) -> Result<ExitStatus, Error> {
        run_to_end(&Plan::new(&config(words), &Identity::default(), CallerSignals::look()).expect("it opens nothing"))
    }

    #[track_caller]
    fn refused(result: Result<ExitStatus, Error>, message: &str, status: i32) {
        let error = result.expect_err("not executable");
        assert_eq!(error.to_string(), message);
        assert_eq!(i32::from(error.exit_status()), status);
    }

    #[track_caller]
    fn check_refused(words: &[&str], message: &str, status: i32) {
        refused(run(words), message, status);
    }

    /// Directories with programs of one name in them.
    struct Directories(PathBuf);

    impl Directories {
        fn new(test: &str) -> Self {
            let path = env::temp_dir().join(format!("fcgi-spawn-child-{test}-{}", std::process::id()));
            fs::create_dir(&path).expect("a directory");
            Directories(path)
        }

        /// A file called `app` in this directory.
        fn app(&self, directory: &str, text: &str, mode: u32) {
            fs::create_dir_all(self.0.join(directory)).expect("a directory");
            let path = self.path(directory);
            // Another test's child would inherit a descriptor of ours, and a file open for writing cannot be executed.
            let write = r#"printf %s "$1" >"$2" && chmod "$3" "$2""#;
            let mut command = Command::new("/bin/sh");
            let status = command.args(["-c", write, "sh", text]).arg(path).arg(format!("{mode:o}")).status();
            assert!(status.is_ok_and(|status| status.success()), "cannot write {text:?}");
        }

        /// A file called `app` that is a shell.
        fn works(&self, directory: &str) {
            fs::create_dir_all(self.0.join(directory)).expect("a directory");
            symlink("/bin/sh", self.path(directory)).expect("a symlink");
        }

        fn path(&self, directory: &str) -> PathBuf {
            self.0.join(directory).join("app")
        }

        fn list(&self, directories: &[&str]) -> String {
            let paths: Vec<_> = directories.iter().map(|name| self.0.join(name).display().to_string()).collect();
            paths.join(":")
        }

        /// Runs `app -c 'exit 7'`, found in these directories.
        fn run(&self, directories: &[&str]) -> Result<ExitStatus, Error> {
            let path = CString::new(format!("PATH={}", self.list(directories))).expect("no NUL in a test");
            let config = config(&["app", "-c", "exit 7"]);
            run_to_end(&Plan::with_environment(&config, &Identity::default(), CallerSignals::look(), vec![path])?)
        }

        #[track_caller]
        fn runs(&self, directories: &[&str]) {
            let status = self.run(directories).expect("it is found");
            assert_eq!(status.code(), Some(7), "{directories:?}");
        }
    }

    impl Drop for Directories {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
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
        // As spawn-fcgi.
        let unsearched = Config { search_path: false, ..config(&["sh"]) };
        let plan = Plan::new(&unsearched, &Identity::default(), CallerSignals::look()).expect("it opens nothing");
        refused(run_to_end(&plan), "cannot execute 'sh': No such file or directory", libc::ENOENT);
    }

    #[test]
    fn the_search_goes_on_where_nothing_can_be_executed() {
        let dirs = Directories::new("goes-on");
        dirs.app("denied", "#!/bin/sh\n", 0o644);
        dirs.app("incomplete", "#!/nonexistent/interpreter\n", 0o755);
        dirs.works("good");
        fs::create_dir_all(dirs.path("directory")).expect("a directory");
        symlink("circle", dirs.0.join("circle")).expect("a symlink");
        let long = "x".repeat(300);
        let skipped = ["missing", "denied/app", "circle", &long, "denied", "incomplete", "directory"];
        dirs.runs(&["good"]);
        for directory in skipped {
            dirs.runs(&[directory, "good"]);
        }
        dirs.runs(&[&skipped[..], &["good"]].concat());
    }

    #[test]
    fn a_failed_search_names_the_file_that_was_there() {
        let dirs = Directories::new("names");
        dirs.app("denied", "#!/bin/sh\n", 0o644);
        dirs.app("incomplete", "#!/nonexistent/interpreter\n", 0o755);
        dirs.app("junk", "no program", 0o755);
        dirs.works("good");

        let list = dirs.list(&["missing", "denied/app"]);
        let message = format!("cannot execute 'app': not found in PATH ({list})");
        refused(dirs.run(&["missing", "denied/app"]), &message, libc::ENOENT);

        let (uid, gid) = sys::ids();
        let denied = dirs.path("denied");
        let message = format!("cannot execute '{}': Permission denied for uid {uid}, gid {gid}", denied.display());
        refused(dirs.run(&["missing", "incomplete", "denied", "missing"]), &message, libc::EACCES);

        let incomplete = dirs.path("incomplete");
        let why = "No such file or directory (its interpreter or dynamic loader is missing)";
        let message = format!("cannot execute '{}': {why}", incomplete.display());
        refused(dirs.run(&["missing", "incomplete"]), &message, libc::ENOENT);
        check_refused(&[incomplete.to_str().expect("plain text")], &message, libc::ENOENT);

        // Any other error ends the search.
        let message = format!("cannot execute '{}': Exec format error", dirs.path("junk").display());
        refused(dirs.run(&["denied", "junk", "good"]), &message, libc::ENOEXEC);
    }

    /// The unit tests' working directory is the one of the crate.
    #[test]
    fn a_file_in_the_working_directory_is_not_executed() {
        let hint = |name: &str| {
            let plan = Plan::with_environment(
                &config(&[name]),
                &Identity::default(),
                CallerSignals::look(),
                vec![c"PATH=.::src".into()],
            );
            run_to_end(&plan.expect("it opens nothing")).expect_err("not in PATH").to_string()
        };
        let not_found = "not found in PATH (no absolute directories)";
        let want =
            format!("cannot execute 'Cargo.toml': {not_found}; it is in the working directory: write './Cargo.toml'");
        assert_eq!(hint("Cargo.toml"), want);
        // That is a directory.
        assert_eq!(hint("src"), format!("cannot execute 'src': {not_found}"));
    }

    #[test]
    fn the_first_variable_of_a_name_is_its_value() {
        let environment = [c"PATHS=/a".into(), c"XPATH=/b".into(), c"PATH=/c".into(), c"PATH=/d".into()];
        assert_eq!(variable(&environment, "PATH"), Some(OsStr::new("/c")));
        assert_eq!(variable(&environment[..2], "PATH"), None);
        assert_eq!(variable(&[c"PATH".into(), c"PATH=".into()], "PATH"), Some(OsStr::new("")));
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
        // The fourth is the directory that is being listed.
        let script = "set -- /proc/$$/fd/*; test $# -le 4";
        assert!(run(&["/bin/sh", "-c", script]).expect("sh exists").success());
    }
}
