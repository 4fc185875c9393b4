//! The configuration of the launcher: every value is present and in range.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Address;
use crate::output::Syslog;

/// The configuration of the launcher.
///
/// [`Config::new`] has the defaults; the command line of [`main`](crate::main) changes them by its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Whether the workers are watched. Only [`main`](crate::main) looks at it.
    pub mode: Mode,
    /// Where clients connect to.
    pub address: Address,
    /// How many connections may wait to be accepted. The kernel caps it at `net.core.somaxconn`;
    /// `None` is 1024, or that.
    pub backlog: Option<u32>,
    /// The permissions of a unix socket; `None` is 0660 less the umask.
    pub socket_mode: Option<u32>,
    /// The owner of a unix socket, by name or number; `None` is `user`.
    pub socket_user: Option<OsString>,
    /// The group of a unix socket, by name or number; `None` is the primary group of `socket_user`, or `group`.
    pub socket_group: Option<OsString>,
    /// Make the directories of the unix socket, the pid file and the status page, if they do not exist.
    pub mkdir: bool,
    /// The user that the workers run as, by name or number; not root.
    pub user: Option<OsString>,
    /// Their group, by name or number; `None` is the primary group of `user`. Not root's.
    pub group: Option<OsString>,
    /// Their root directory.
    pub chroot: Option<PathBuf>,
    /// Whether the path of a unix socket does not begin at `chroot`.
    pub socket_outside: bool,
    /// Their working directory, inside `chroot`; `None` is the launcher's, or the root directory.
    pub directory: Option<PathBuf>,
    /// `PHP_FCGI_CHILDREN` in their environment; `None` leaves it as it is.
    pub php_children: Option<u32>,
    /// How many workers are started.
    pub workers: u16,
    /// Stay in the foreground; otherwise go to the background, where stdout and stderr are `/dev/null`. Only
    /// [`main`](crate::main) goes there.
    pub foreground: bool,
    /// Where to write the supervisor's pid, once all workers are up; or theirs, if there is no supervisor.
    pub pid_file: Option<PathBuf>,
    /// A failure sooner after the start is an early exit; after a later one the worker is restarted at once.
    pub min_server_life: Duration,
    /// The delay between an early exit and the next start.
    pub restart_delay: Duration,
    /// After so many early exits in a row the delay is doubled each time; `None`: it never is.
    pub backoff_after: Option<u32>,
    /// The longest delay that doubling leads to; `None`: no limit but a year.
    pub max_backoff: Option<Duration>,
    /// With so many early exits of a worker in a row the supervisor stops; `None`: it goes on.
    pub give_up: Option<u32>,
    /// The signal that asks a worker to end.
    pub stop_signal: i32,
    /// How long a worker may take to end after that before it is killed; `None`: as long as it likes.
    pub stop_timeout: Option<Duration>,
    /// How long a worker that is to end, and has never reported that it is up, may have clients before it is asked.
    pub drain: Duration,
    /// How long a process that does not report that it is up has to live to be up; `None` is 250 ms, and 2 s for one that
    /// is to take the place of another.
    pub ready_after: Option<Duration>,
    /// How long the first new process of a reload has to live, beside the one that it replaces, before others are
    /// replaced; with zero it has to be up only.
    pub canary: Duration,
    /// Replace the workers, one after the other, when the file of the program has changed.
    pub auto_update: bool,
    /// The same when one of these has changed.
    pub watch: Vec<PathBuf>,
    /// Replace a worker that is older, or up to a tenth less; `None`: none is too old.
    pub max_age: Option<Duration>,
    /// Replace a worker that takes more memory, in bytes, or up to a tenth less; `None`: none takes too much.
    pub max_rss: Option<u64>,
    /// Start workers only when connections wait, and stop those that are idle.
    pub on_demand: bool,
    /// With `on_demand`: how long a worker is idle before it is stopped; `None`: it never is.
    pub idle: Option<Duration>,
    /// Where the workers' stdout and stderr go, line by line, and the launcher's own messages. with `None`
    /// that is stderr in the [`foreground`](Self::foreground), and nowhere otherwise. Workers of our own user keep stdout and
    /// stderr in the foreground if these are no terminal.
    pub log: Option<LogTo>,
    /// A descriptor above 2 that gets a line, and is closed, when all workers are up.
    pub ready_fd: Option<RawFd>,
    /// Where to write the status page of the workers, whenever it changes and every 10 s.
    pub status: Option<PathBuf>,
    /// How long a worker with connections may go without a heartbeat, if it has ever sent one, before it is replaced;
    /// with `None` none is expected.
    pub heartbeat: Option<Duration>,
    /// What they execute.
    pub program: Program,
    /// Whether a [`Program::File`] whose name has no slash is searched for in the launcher's `PATH`, as by execvp(3),
    /// at each start of a worker; `true` by default. Empty and relative elements of `PATH` are skipped. With `false`,
    /// as for spawn-fcgi, such a name is a file in the working directory of the worker.
    pub search_path: bool,
    /// Whether `HOME`, `USER` and `LOGNAME` in the environment of the workers are those of [`user`](Self::user); `true` by
    /// default. With `false`, as for spawn-fcgi, they are the launcher's.
    pub user_variables: bool,
}

/// Where log lines go. A log that is slow or full loses lines, which are counted and reported when there is room again;
/// only a regular file on a slow disk is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Lines with the time in front at the end of this file, made if there is none, or in this named pipe.
    File(PathBuf),
    /// The syslog daemon behind this unix socket, usually `/dev/log`.
    Syslog(PathBuf),
    /// The stderr with which the launcher was started, without the time.
    Stderr,
}

/// How the launcher goes on once the workers are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It exits, as spawn-fcgi does.
    Once,
    /// A [`Supervisor`](crate::Supervisor) keeps them running.
    Supervise,
}

/// What a worker executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A file and its arguments. See [`Config::search_path`] for a name without a slash.
    File(Vec<CString>),
    /// A line for `/bin/sh`, which becomes its last command.
    Shell(CString),
}

impl LogTo {
    pub(crate) fn new(value: &OsStr) -> Self {
        match value.as_bytes() {
            b"stderr" => LogTo::Stderr,
            b"syslog" => LogTo::Syslog(Syslog::PATH.into()),
            bytes => match bytes.strip_prefix(b"syslog:") {
                Some(path) => LogTo::Syslog(OsStr::from_bytes(path).into()),
                None => LogTo::File(value.into()),
            },
        }
    }
}

impl Program {
    pub(crate) fn shell(line: &OsStr) -> Result<Self, String> {
        if line.as_bytes().trim_ascii().is_empty() {
            return Err("no command".into());
        }
        CString::new(line.as_bytes()).map(Program::Shell).map_err(|_| "has a NUL inside".into())
    }
}

impl Config {
    /// The shortest [`heartbeat`](Self::heartbeat): workers send one a second.
    pub const MIN_HEARTBEAT: Duration = Duration::from_secs(3);

    /// The most workers one launcher keeps.
    pub const MAX_WORKERS: u16 = 1024;

    /// One supervised worker behind `address`, everything else as the command line has it by default.
    pub fn new(address: Address, program: Vec<CString>) -> Self {
        Config {
            mode: Mode::Supervise,
            address,
            backlog: None,
            socket_mode: None,
            socket_user: None,
            socket_group: None,
            mkdir: false,
            user: None,
            group: None,
            chroot: None,
            socket_outside: false,
            directory: None,
            php_children: None,
            workers: 1,
            foreground: false,
            pid_file: None,
            min_server_life: Duration::from_secs(30),
            restart_delay: Duration::from_secs(5),
            backoff_after: Some(3),
            max_backoff: Some(Duration::from_secs(600)),
            give_up: None,
            stop_signal: libc::SIGTERM,
            stop_timeout: Some(Duration::from_secs(10)),
            drain: Duration::from_secs(5),
            ready_after: None,
            canary: Duration::from_secs(5),
            auto_update: false,
            watch: Vec::new(),
            max_age: None,
            max_rss: None,
            on_demand: false,
            idle: Some(Duration::from_secs(600)),
            log: None,
            ready_fd: None,
            status: None,
            heartbeat: None,
            program: Program::File(program),
            search_path: true,
            user_variables: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_a_file_syslog_or_stderr() {
        let log = |value: &str| LogTo::new(value.as_ref());
        assert_eq!(log("stderr"), LogTo::Stderr);
        assert_eq!(log("./stderr"), LogTo::File("./stderr".into()));
        assert_eq!(log("syslog"), LogTo::Syslog("/dev/log".into()));
        assert_eq!(log("syslog:/run/log"), LogTo::Syslog("/run/log".into()));
        assert_eq!(log("/var/log/app"), LogTo::File("/var/log/app".into()));
    }

    #[test]
    fn a_line_for_the_shell_has_a_command() {
        assert_eq!(Program::shell("./app".as_ref()), Ok(Program::Shell(c"./app".into())));
        assert_eq!(Program::shell(" ".as_ref()), Err("no command".into()));
    }
}
