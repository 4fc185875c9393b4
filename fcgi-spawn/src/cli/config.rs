//! What the launcher is to do: every value present, in range and meant.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::duration;
use crate::error::Quoted;
use crate::output::Syslog;
use crate::socket::inherited;
use crate::takeover::handover;
use crate::{Error, Options, signals, sys};

/// What the launcher is to do.
///
/// `Config::try_from(options)` checks what was typed; [`Config::new`] starts from the defaults.
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
    /// Make the folders of the unix socket and the pid file, if they do not exist.
    pub mkdir: bool,
    /// Whom the workers run as, by name or number; not root.
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
    /// Stay in the foreground and let the workers keep stdout and stderr; otherwise go to the
    /// background, where all of them have `/dev/null`. Only [`main`](crate::main) goes there.
    pub foreground: bool,
    /// Where to write the supervisor's pid, once all workers are up; or theirs, if there is no supervisor.
    pub pid_file: Option<PathBuf>,
    /// A worker that fails sooner after its start had a short life; others are started again at once.
    pub min_server_life: Duration,
    /// The pause between the end of a short life and the next start.
    pub restart_delay: Duration,
    /// After so many short lives in a row the pause is doubled each time; `None`: it never is.
    pub backoff_after: Option<u32>,
    /// The longest pause that doubling leads to; `None`: no limit but a year.
    pub max_backoff: Option<Duration>,
    /// With so many short lives of a worker in a row the supervisor stops; `None`: it goes on.
    pub give_up: Option<u32>,
    /// What makes the pauses of workers differ by up to a tenth, to repeat it; `None`: chance.
    pub seed: Option<u64>,
    /// The signal that asks a worker to end.
    pub stop_signal: i32,
    /// How long a worker may take to end after that before it is killed; `None`: as long as it likes.
    pub stop_timeout: Option<Duration>,
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
    /// Where the workers' stdout and stderr go, line by line, and what the launcher itself has to say. `None` leaves
    /// them where they are, see [`foreground`](Self::foreground).
    pub log: Option<LogTo>,
    /// A descriptor above 2 that gets a line, and is closed, when all workers are up.
    pub ready_fd: Option<RawFd>,
    /// Where to write how the workers are, whenever that changes and every 10 s.
    pub status: Option<PathBuf>,
    /// How long a worker with connections may be silent, if it has ever said that it is well, before it is replaced;
    /// `None` gives workers nothing to say it by.
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

/// Where log lines go. A log that is slow or full loses lines, which are counted and named when there is room again;
/// it keeps nobody waiting, but for a regular file on a slow disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Lines with the time in front at the end of this file, made if there is none, or in this named pipe.
    File(PathBuf),
    /// The syslog daemon behind this unix socket, usually `/dev/log`.
    Syslog(PathBuf),
    /// The stderr with which the launcher was started, without the time.
    Stderr,
}

/// What becomes of the workers once they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: the launcher ends, as spawn-fcgi does.
    Once,
    /// A [`Supervisor`](crate::Supervisor) keeps them running.
    Supervise,
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// A unix stream socket without a file: a name in the network namespace.
    Abstract(OsString),
    /// A TCP address.
    Tcp(SocketAddr),
    /// Wherever the listening stream socket is bound that the process was started with as this descriptor.
    Inherited(RawFd),
}

impl Address {
    /// The longest path or abstract name a unix socket may have, in bytes.
    pub const MAX_PATH: usize = 107;
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", Quoted(path.as_os_str())),
            Address::Abstract(name) => {
                let mut shown = OsString::from("@");
                shown.push(name);
                write!(f, "{}", Quoted(&shown))
            }
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Inherited(fd) => write!(f, "the socket of descriptor {fd}"),
        }
    }
}

/// What a worker executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A file and its arguments. See [`Config::search_path`] for a name without a slash.
    File(Vec<CString>),
    /// A line for `/bin/sh`, which becomes its last command.
    Shell(CString),
}

impl Config {
    /// The shortest [`heartbeat`](Self::heartbeat): hearts beat once a second.
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
            seed: None,
            stop_signal: libc::SIGTERM,
            stop_timeout: Some(Duration::from_secs(10)),
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

    /// Checks what was typed, under our own name or under spawn-fcgi's.
    pub(crate) fn of(options: Options, as_spawn_fcgi: bool) -> Result<Self, Error> {
        let (config, ignored) = meant(options, sys::is_root(), as_spawn_fcgi)?;
        for line in ignored {
            log::warn!("{line}");
        }
        Ok(Config { search_path: !as_spawn_fcgi, user_variables: !as_spawn_fcgi, ..config })
    }
}

impl TryFrom<Options> for Config {
    type Error = Error;

    /// Checks what was typed.
    ///
    /// # Errors
    ///
    /// One line that names the option and its value. What is merely ignored is logged.
    fn try_from(options: Options) -> Result<Self, Error> {
        Config::of(options, false)
    }
}

/// What was meant, by root or another user, and a line on each thing that is ignored.
fn meant(mut options: Options, root: bool, as_spawn_fcgi: bool) -> Result<(Config, Vec<String>), Error> {
    let mut ignored = Ignored::default();
    if !root {
        let why = "unless root runs this";
        if as_spawn_fcgi {
            ignored.value("-c", &mut options.chroot, why);
            ignored.flag("-S", &mut options.socket_outside, why);
            ignored.value("-u", &mut options.user, why);
            ignored.value("-g", &mut options.group, why);
        } else if let Some(directory) = &options.chroot {
            let why = "only root may change the root directory: run this as root, or leave -c out";
            return Err(invalid("-c", directory, why));
        }
        ignored.value("-U", &mut options.socket_user, why);
        ignored.value("-G", &mut options.socket_group, why);
    }
    if options.chroot.is_none() {
        ignored.flag("-S", &mut options.socket_outside, "without -c");
    }
    if options.socket.is_some() {
        ignored.value("-a", &mut options.address, "with -s");
    }
    if !options.program.is_empty() {
        ignored.value("-f", &mut options.command, "with a program");
    }
    let mode = options.mode.unwrap_or(Mode::Supervise);
    if mode == Mode::Once {
        let why = "with --once";
        ignored.value("--min-server-life", &mut options.min_server_life, why);
        ignored.value("--restart-delay", &mut options.restart_delay, why);
        ignored.value("--backoff-after", &mut options.backoff_after, why);
        ignored.value("--max-backoff", &mut options.max_backoff, why);
        ignored.value("--give-up", &mut options.give_up, why);
        ignored.value("--seed", &mut options.seed, why);
        ignored.value("--stop-signal", &mut options.stop_signal, why);
        ignored.value("--stop-timeout", &mut options.stop_timeout, why);
        ignored.flag("--auto-update", &mut options.auto_update, why);
        for file in mem::take(&mut options.watch) {
            ignored.value("--watch", &mut Some(file), why);
        }
        ignored.value("--max-age", &mut options.max_age, why);
        ignored.value("--max-rss", &mut options.max_rss, why);
        ignored.flag("--on-demand", &mut options.on_demand, why);
        ignored.value("--idle", &mut options.idle, why);
        ignored.value("--log", &mut options.log, why);
        ignored.value("--ready-fd", &mut options.ready_fd, why);
        ignored.value("--status", &mut options.status, why);
        ignored.value("--heartbeat", &mut options.heartbeat, why);
        if options.foreground {
            ignored.value("-F", &mut options.workers, "with -n");
            ignored.value("-P", &mut options.pid_file, "with -n");
        }
    }
    if !options.on_demand {
        ignored.value("--idle", &mut options.idle, "without --on-demand");
    }
    let address = address(&options)?;
    if matches!(address, Address::Inherited(_)) {
        ignored.value("-a", &mut options.address, "with a socket that is there already");
        ignored.value("-b", &mut options.backlog, "with a socket that is there already");
    }
    if !matches!(address, Address::Unix(_)) {
        let why = "without the path of a unix socket";
        ignored.value("-M", &mut options.socket_mode, why);
        ignored.value("-U", &mut options.socket_user, why);
        ignored.value("-G", &mut options.socket_group, why);
        if options.pid_file.is_none() {
            ignored.flag("--mkdir", &mut options.mkdir, why);
        }
    }

    let mut config = Config::new(address, Vec::new());
    config.mode = mode;
    read(&mut config, &mut options)?;
    Ok((config, ignored.0))
}

/// Reads all but the address.
fn read(config: &mut Config, options: &mut Options) -> Result<(), Error> {
    config.program = match options.command.take() {
        Some(command) => shell(command)?,
        None => program(mem::take(&mut options.program))?,
    };
    if let Some(value) = &options.workers {
        config.workers = number("-F", value, 1..=Config::MAX_WORKERS)?;
    }
    config.backlog = options.backlog.as_deref().map(|value| count("-b", value)).transpose()?;
    config.php_children = options.php_children.as_deref().map(|value| count("-C", value)).transpose()?;
    config.socket_mode = options.socket_mode.as_deref().map(|value| permissions("-M", value)).transpose()?;
    if let Some(value) = &options.min_server_life {
        config.min_server_life = time("--min-server-life", value)?.unwrap_or_default();
    }
    if let Some(value) = &options.restart_delay {
        config.restart_delay = time("--restart-delay", value)?.unwrap_or_default();
    }
    if let Some(value) = &options.backoff_after {
        config.backoff_after = or_off("--backoff-after", value, count)?;
    }
    if let Some(value) = &options.max_backoff {
        config.max_backoff = time("--max-backoff", value)?;
    }
    if let Some(value) = &options.give_up {
        config.give_up = or_off("--give-up", value, count)?.filter(|most| *most > 0);
    }
    config.seed = options.seed.as_deref().map(|value| number("--seed", value, 0..=u64::MAX)).transpose()?;
    if let Some(value) = &options.stop_signal {
        config.stop_signal = signal("--stop-signal", value)?;
    }
    if let Some(value) = &options.stop_timeout {
        config.stop_timeout = time("--stop-timeout", value)?;
    }
    config.auto_update = options.auto_update;
    config.watch = mem::take(&mut options.watch).into_iter().map(PathBuf::from).collect();
    if let Some(value) = &options.max_age {
        config.max_age = time("--max-age", value)?.filter(|age| !age.is_zero());
    }
    if let Some(value) = &options.max_rss {
        config.max_rss = or_off("--max-rss", value, size)?.filter(|most| *most > 0);
    }
    config.on_demand = options.on_demand;
    if let Some(value) = &options.idle {
        config.idle = time("--idle", value)?;
    }
    config.socket_user = options.socket_user.take();
    config.socket_group = options.socket_group.take();
    config.mkdir = options.mkdir;
    config.user = options.user.take();
    config.group = options.group.take();
    config.chroot = options.chroot.take().map(PathBuf::from);
    config.socket_outside = options.socket_outside;
    config.directory = options.directory.take().map(PathBuf::from);
    config.foreground = options.foreground;
    config.pid_file = options.pid_file.take().map(PathBuf::from);
    config.ready_fd =
        options.ready_fd.as_deref().map(|value| number("--ready-fd", value, 3..=RawFd::MAX)).transpose()?;
    config.status = options.status.take().map(PathBuf::from);
    if let Some(value) = &options.heartbeat {
        config.heartbeat = time("--heartbeat", value)?;
        if config.heartbeat.is_some_and(|limit| limit < Config::MIN_HEARTBEAT) {
            return Err(invalid("--heartbeat", value, "less than 3s, and a heart beats once a second"));
        }
    }
    config.log = options.log.as_deref().map(log_to).transpose()?;
    Ok(())
}

/// A line on each thing that was typed for nothing, and is forgotten.
#[derive(Default)]
struct Ignored(Vec<String>);

impl Ignored {
    fn value(&mut self, option: &str, typed: &mut Option<OsString>, why: &str) {
        if let Some(value) = typed.take() {
            self.0.push(format!("{option} {} is ignored {why}", Quoted(&value)));
        }
    }

    fn flag(&mut self, option: &str, typed: &mut bool, why: &str) {
        if mem::take(typed) {
            self.0.push(format!("{option} is ignored {why}"));
        }
    }
}

fn address(options: &Options) -> Result<Address, Error> {
    match (&options.socket, &options.port) {
        (Some(path), None) => unix_address(path),
        (None, Some(port)) => {
            let ip = match &options.address {
                Some(value) => ip_address(value)?,
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            Ok(Address::Tcp(SocketAddr::new(ip, number("-p", port, 1..=u16::MAX)?)))
        }
        (Some(_), Some(_)) => Err(Error::new("either a Unix domain socket or a TCP-port, but not both (-s or -p)")),
        (None, None) => match handover::listener()?.map_or_else(inherited::find, |fd| Ok(Some(fd)))? {
            Some(fd) if options.mode != Some(Mode::Once) => Ok(Address::Inherited(fd)),
            _ => Err(Error::new("no socket given (use either -p or -s)")),
        },
    }
}

fn unix_address(typed: &OsStr) -> Result<Address, Error> {
    let name = typed.as_bytes().strip_prefix(b"@");
    match name.unwrap_or(typed.as_bytes()).len() {
        // The kernel would take it for "any free abstract name".
        0 => Err(invalid("-s", typed, "the path is empty")),
        1..=Address::MAX_PATH => Ok(match name {
            Some(name) => Address::Abstract(OsStr::from_bytes(name).into()),
            None => Address::Unix(typed.into()),
        }),
        _ => Err(invalid("-s", typed, format_args!("too long, {} bytes fit", Address::MAX_PATH))),
    }
}

fn ip_address(value: &OsStr) -> Result<IpAddr, Error> {
    whole(value).ok_or_else(|| invalid("-a", value, "not an IPv4 or IPv6 address"))
}

fn log_to(value: &OsStr) -> Result<LogTo, Error> {
    match value.as_bytes() {
        b"" => Err(invalid("--log", value, "the path is empty")),
        b"stderr" => Ok(LogTo::Stderr),
        b"syslog" => Ok(LogTo::Syslog(Syslog::PATH.into())),
        bytes => Ok(match bytes.strip_prefix(b"syslog:") {
            Some(path) => LogTo::Syslog(OsStr::from_bytes(path).into()),
            None => LogTo::File(value.into()),
        }),
    }
}

fn program(words: Vec<OsString>) -> Result<Program, Error> {
    if words.is_empty() {
        return Err(Error::new("no FastCGI application given"));
    }
    words.into_iter().map(|word| c_string("--", word)).collect::<Result<_, _>>().map(Program::File)
}

fn shell(command: OsString) -> Result<Program, Error> {
    if command.as_bytes().trim_ascii().is_empty() {
        return Err(invalid("-f", &command, "no command"));
    }
    c_string("-f", command).map(Program::Shell)
}

/// `option` is where the string comes from, for the error.
pub(crate) fn c_string(option: &str, string: impl Into<OsString>) -> Result<CString, Error> {
    CString::new(string.into().into_vec())
        .map_err(|error| invalid(option, OsStr::from_bytes(&error.into_vec()), "has a NUL inside"))
}

fn number<T>(option: &str, value: &OsStr, range: RangeInclusive<T>) -> Result<T, Error>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = whole(value).filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (min, max) = range.into_inner();
        invalid(option, value, format_args!("not a number from {min} to {max}"))
    })
}

fn permissions(option: &str, value: &OsStr) -> Result<u32, Error> {
    let mode = value.to_str().and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let mode = mode.filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| invalid(option, value, "not an octal number from 0 to 0777"))
}

/// `None` for `off`.
fn or_off<T>(
    option: &str,
    value: &OsStr,
    read: impl FnOnce(&str, &OsStr) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if value == "off" { Ok(None) } else { read(option, value).map(Some) }
}

fn count(option: &str, value: &OsStr) -> Result<u32, Error> {
    number(option, value, 0..=i32::MAX as u32)
}

/// `None` for `off`.
fn time(option: &str, value: &OsStr) -> Result<Option<Duration>, Error> {
    or_off(option, value, |option, value| {
        let time = value.to_str().and_then(duration::parse);
        time.ok_or_else(|| invalid(option, value, "not a time like 200ms, 5s or 10m"))
    })
}

/// A number of bytes, KiB, MiB or GiB.
fn size(option: &str, value: &OsStr) -> Result<u64, Error> {
    let read = |text: &str| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match &text[digits.len()..] {
            "" => 1,
            "K" | "k" => 1 << 10,
            "M" | "m" => 1 << 20,
            "G" | "g" => 1 << 30,
            _ => return None,
        };
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u64>().ok()?.checked_mul(unit)
    };
    value.to_str().and_then(read).ok_or_else(|| invalid(option, value, "not a size like 500K, 64M or 1G"))
}

/// `TERM`, `SIGTERM` or `15`.
fn signal(option: &str, value: &OsStr) -> Result<i32, Error> {
    let named = |text: &str| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        (1..=libc::SIGRTMAX()).find(|signal| signals::name(*signal).strip_prefix("SIG") == Some(name))
    };
    let number = whole(value).filter(|number| (1..=libc::SIGRTMAX()).contains(number));
    number.or_else(|| value.to_str().and_then(named)).ok_or_else(|| invalid(option, value, "not a signal"))
}

/// The value as a `T`, if it is one from its first byte to its last.
fn whole<T: FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

pub(crate) fn invalid(option: &str, value: &OsStr, why: impl fmt::Display) -> Error {
    Error::new(format!("{option} {}: {why}", Quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
        let options = Options::parse(words.map(OsString::from)).expect("only values are wrong");
        meant(options, true, false).map(|(config, _)| config).map_err(|error| error.to_string())
    }

    /// What is said to be ignored, and nothing else in the way.
    #[track_caller]
    fn ignores(line: &str, root: bool, want: &[&str]) {
        let words = format!("{line} -- app");
        let options = Options::parse(words.split(' ').map(OsString::from)).expect("a command line");
        let (_, ignored) = meant(options, root, true).expect("it makes sense");
        assert_eq!(ignored, want, "{line:?}");
    }

    #[track_caller]
    fn check(line: &str, address: Address, expect: impl FnOnce(&mut Config)) {
        let mut want = Config::new(address, vec![c"app".into()]);
        expect(&mut want);
        assert_eq!(config(&format!("{line} -- app")), Ok(want), "{line:?}");
    }

    #[track_caller]
    fn refuses(line: &str, message: &str) {
        assert_eq!(config(&format!("{line} -- app")), Err(message.into()), "{line:?}");
    }

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.parse().expect("a literal of the test"))
    }

    #[test]
    fn addresses() {
        check("-p 9000", tcp("0.0.0.0:9000"), |_| ());
        check("-a 127.0.0.1 -p 1", tcp("127.0.0.1:1"), |_| ());
        check("-a ::1 -p 65535", tcp("[::1]:65535"), |_| ());
        check("-s /run/a", Address::Unix("/run/a".into()), |_| ());
        check("-s /run/a -a 127.0.0.1", Address::Unix("/run/a".into()), |_| ());
        refuses("-n", "no socket given (use either -p or -s)");
        refuses("-s a -p 1", "either a Unix domain socket or a TCP-port, but not both (-s or -p)");
        for name in ["localhost", "[::1]", "127.0.0.1:80", "127.1", "fe80::1%lo"] {
            let message = format!("-a '{name}': not an IPv4 or IPv6 address");
            refuses(&format!("-p 1 -a {name}"), &message);
        }
    }

    #[test]
    fn a_unix_path_has_1_to_107_bytes() {
        let longest = "x".repeat(107);
        check(&format!("-s {longest}"), Address::Unix(longest.clone().into()), |_| ());
        refuses(&format!("-s {longest}x"), &format!("-s '{longest}x': too long, 107 bytes fit"));
        refuses("-s ''", "-s '': the path is empty");
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        for port in ["0", "65536", "-1", "80x", "0x50", "''"] {
            let value = port.trim_matches('\'');
            refuses(&format!("-p {port}"), &format!("-p '{value}': not a number from 1 to 65535"));
        }
        check("-p 1 -F 1024", tcp("0.0.0.0:1"), |want| want.workers = 1024);
        for workers in ["0", "1025", "-3", "x"] {
            let message = format!("-F '{workers}': not a number from 1 to 1024");
            refuses(&format!("-p 1 -F {workers}"), &message);
        }
    }

    #[test]
    fn the_rest_is_taken_over() {
        check("-p 1 -n -P /run/pid --restart-delay 200ms", tcp("0.0.0.0:1"), |want| {
            want.foreground = true;
            want.pid_file = Some("/run/pid".into());
            want.restart_delay = Duration::from_millis(200);
        });
        let message = "--restart-delay 'soon': not a time like 200ms, 5s or 10m";
        refuses("-p 1 --restart-delay soon", message);
    }

    #[test]
    fn off_and_0_are_values() {
        let check = |line: &str, expect: fn(&mut Config)| check(&format!("-p 1 {line}"), tcp("0.0.0.0:1"), expect);
        for none in ["off", "0", "0s"] {
            check(&format!("--min-server-life {none}"), |want| want.min_server_life = Duration::ZERO);
            check(&format!("--restart-delay {none}"), |want| want.restart_delay = Duration::ZERO);
            check(&format!("--max-age {none}"), |want| want.max_age = None);
        }
        check("--max-backoff off", |want| want.max_backoff = None);
        check("--max-backoff 0", |want| want.max_backoff = Some(Duration::ZERO));
        check("--backoff-after off", |want| want.backoff_after = None);
        check("--backoff-after 0", |want| want.backoff_after = Some(0));
        check("--give-up off", |want| want.give_up = None);
        check("--give-up 0", |want| want.give_up = None);
        check("--stop-timeout off", |want| want.stop_timeout = None);
        check("--stop-timeout 0s", |want| want.stop_timeout = Some(Duration::ZERO));
        check("--max-rss off", |want| want.max_rss = None);
        check("--on-demand --idle off", |want| (want.on_demand, want.idle) = (true, None));
    }

    #[test]
    fn the_numbers_of_a_supervisor() {
        let check = |line: &str, expect: fn(&mut Config)| check(&format!("-p 1 {line}"), tcp("0.0.0.0:1"), expect);
        check("--min-server-life 1m --backoff-after 5 --max-backoff 1h --give-up 9 --seed 7", |want| {
            want.min_server_life = Duration::from_secs(60);
            want.backoff_after = Some(5);
            want.max_backoff = Some(Duration::from_secs(3600));
            want.give_up = Some(9);
            want.seed = Some(7);
        });
        check("--stop-signal INT --stop-timeout 2s --max-age 1h --max-rss 64M", |want| {
            want.stop_signal = libc::SIGINT;
            want.stop_timeout = Some(Duration::from_secs(2));
            want.max_age = Some(Duration::from_secs(3600));
            want.max_rss = Some(64 << 20);
        });
        check("--stop-signal sigquit", |want| want.stop_signal = libc::SIGQUIT);
        check("--stop-signal 10", |want| want.stop_signal = 10);
        check("--auto-update --watch /a --watch b", |want| {
            want.auto_update = true;
            want.watch = vec!["/a".into(), "b".into()];
        });
        refuses("-p 1 --stop-signal HELLO", "--stop-signal 'HELLO': not a signal");
        refuses("-p 1 --stop-signal 0", "--stop-signal '0': not a signal");
        refuses("-p 1 --max-rss 64X", "--max-rss '64X': not a size like 500K, 64M or 1G");
        refuses("-p 1 --max-rss -1", "--max-rss '-1': not a size like 500K, 64M or 1G");
        refuses("-p 1 --give-up never", "--give-up 'never': not a number from 0 to 2147483647");
    }

    #[test]
    fn a_log_is_a_file_syslog_or_stderr() {
        let check = |value: &str, log: LogTo| {
            check(&format!("-p 1 --log {value}"), tcp("0.0.0.0:1"), |want| want.log = Some(log));
        };
        check("stderr", LogTo::Stderr);
        check("./stderr", LogTo::File("./stderr".into()));
        check("syslog", LogTo::Syslog("/dev/log".into()));
        check("syslog:/run/log", LogTo::Syslog("/run/log".into()));
        check("/var/log/app", LogTo::File("/var/log/app".into()));
        refuses("-p 1 --log ''", "--log '': the path is empty");
        ignores("-s a --once --log stderr", true, &["--log 'stderr' is ignored with --once"]);
    }

    #[test]
    fn numbers_that_may_be_0() {
        for option in ["-b", "-C"] {
            for value in ["-1", "x", "4x", "2147483648"] {
                let message = format!("{option} '{value}': not a number from 0 to 2147483647");
                refuses(&format!("-p 1 {option} {value}"), &message);
            }
        }
        check("-p 1 -b 0 -C 2147483647", tcp("0.0.0.0:1"), |want| {
            want.backlog = Some(0);
            want.php_children = Some(i32::MAX as u32);
        });
    }

    #[test]
    fn a_mode_is_octal() {
        let check = |digits: &str, mode| {
            check(&format!("-s a -M {digits}"), Address::Unix("a".into()), |want| want.socket_mode = Some(mode));
        };
        check("0660", 0o660);
        check("777", 0o777);
        check("0", 0);
        for mode in ["1000", "888", "0x1ff", "rw", "-1"] {
            refuses(&format!("-s a -M {mode}"), &format!("-M '{mode}': not an octal number from 0 to 0777"));
        }
    }

    #[test]
    fn an_at_sign_makes_an_abstract_name() {
        let longest = "x".repeat(107);
        check("-s @/a", Address::Abstract("/a".into()), |_| ());
        check(&format!("-s @{longest}"), Address::Abstract(longest.clone().into()), |_| ());
        refuses(&format!("-s @{longest}x"), &format!("-s '@{longest}x': too long, 107 bytes fit"));
        refuses("-s @", "-s '@': the path is empty");
        check("-s ./@a", Address::Unix("./@a".into()), |_| ());
    }

    #[test]
    fn a_line_for_the_shell() {
        let program = |line| config(line).map(|config| config.program);
        assert_eq!(program("-p 1 -f ./app"), Ok(Program::Shell(c"./app".into())));
        assert_eq!(program("-p 1 -f ''"), Err("-f '': no command".into()));
        assert_eq!(program("-p 1 -f x -- app"), Ok(Program::File(vec![c"app".into()])));
    }

    #[test]
    fn what_is_ignored_is_said() {
        ignores("-s a -a ::1 -f x", true, &["-a '::1' is ignored with -s", "-f 'x' is ignored with a program"]);
        ignores("-s a -S", true, &["-S is ignored without -c"]);
        ignores("-s a --once -F 2 -P p", true, &[]);
        let once = ["--restart-delay '1s'", "-F '2'", "-P 'p'"];
        let why = ["with --once", "with -n", "with -n"];
        let lines: Vec<_> = once.iter().zip(why).map(|(what, why)| format!("{what} is ignored {why}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ignores("-s a --once -n -F 2 -P p --restart-delay 1s", true, &lines);
        ignores("-s a --supervise -n -F 2 -P p --restart-delay 1s", true, &[]);
        for socket in ["-p 1", "-s @a"] {
            let why = "is ignored without the path of a unix socket";
            let lines = ["-M '600'", "-U 'u'", "-G 'g'", "--mkdir"].map(|option| format!("{option} {why}"));
            ignores(&format!("{socket} -M 600 -U u -G g --mkdir"), true, &lines.each_ref().map(String::as_str));
            ignores(&format!("{socket} --mkdir -P p"), true, &[]);
        }
        let why = "is ignored unless root runs this";
        let options = ["-c 'c'", "-S", "-u 'u'", "-g 'g'", "-U 'v'", "-G 'h'"];
        let lines = options.map(|option| format!("{option} {why}"));
        ignores("-s a -u u -g g -U v -G h -c c -S", false, &lines.each_ref().map(String::as_str));
        ignores("-s a -u u -g g -U v -G h -c c -S", true, &[]);
    }

    #[test]
    fn under_our_own_name_what_only_root_may_do_is_not_ignored() {
        let others = |line: &str| {
            let options = Options::parse(line.split(' ').map(OsString::from)).expect("a command line");
            meant(options, false, false).map_err(|error| error.to_string())
        };
        let (config, ignored) = others("-s a -u u -g g -U v -G h -S -- app").expect("it makes sense");
        assert_eq!((config.user, config.group), (Some("u".into()), Some("g".into())));
        let why = "is ignored unless root runs this";
        assert_eq!(ignored, [format!("-U 'v' {why}"), format!("-G 'h' {why}"), "-S is ignored without -c".into()]);
        let message = "-c 'd': only root may change the root directory: run this as root, or leave -c out";
        assert_eq!(others("-s a -c d -- app"), Err(message.into()));
    }

    #[test]
    fn a_program_is_needed() {
        assert_eq!(config("-p 1"), Err("no FastCGI application given".into()));
        let program = config("-p 1 -- /bin/app -x ''").map(|config| config.program);
        assert_eq!(program, Ok(Program::File(vec![c"/bin/app".into(), c"-x".into(), c"".into()])));
    }
}
