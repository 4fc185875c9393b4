//! The command line, from the words typed to a configuration or another thing to do.

pub(crate) mod address;
mod completions;
pub(crate) mod config;
pub(crate) mod duration;
mod help;
mod item;
mod list;
#[cfg(test)]
mod man;
mod situation;
mod typed;
pub(crate) mod value;

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;

use crate::error::{Quoted, invalid};
use crate::{Address, Config, Error, Mode, Program};
use item::{Command, Effect};
use situation::Situation;
use typed::Typed;

pub(crate) use situation::Caller;

/// What the command line asks for.
pub(crate) enum Request {
    /// A text on stdout.
    Print(String),
    /// A report on this status page, for a program as JSON.
    Check { page: OsString, is_json: bool },
    /// A reload by the supervisor that writes this status page or this pid file, and how it went.
    Reload { page: Option<OsString>, pid_file: Option<OsString> },
    /// A start, with a line for each option that is ignored.
    Start(Box<Config>, Vec<String>),
}

/// The text for a launcher called `name`.
pub(crate) fn help(name: &str) -> String {
    help::text(name)
}

/// Reads the arguments behind the launcher's own name.
///
/// # Errors
///
/// One line that names the option and its value.
pub(crate) fn read(caller: &Caller<'_>, args: &[OsString]) -> Result<Request, Error> {
    let typed = Typed::parse(args.iter().cloned())?;
    match &typed.command {
        Some((Command::Help, _)) => Ok(Request::Print(help(caller.name))),
        Some((Command::Version, _)) => {
            Ok(Request::Print(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").into()))
        }
        Some((Command::Completions, shell)) => completions::of(shell).map(Request::Print),
        Some((Command::Check, _)) => match typed.value("status") {
            Some(page) => Ok(Request::Check { page: page.to_owned(), is_json: typed.has("json") }),
            None => Err(Error::new("--check needs --status FILE")),
        },
        Some((Command::Reload, _)) => match ["status", "pid-file"].map(|long| typed.value(long).map(OsStr::to_owned)) {
            [None, None] => Err(Error::new("--reload needs --status FILE or -P FILE")),
            [page, pid_file] => Ok(Request::Reload { page, pid_file }),
        },
        None => configure(caller, typed).map(|(config, ignored)| Request::Start(Box::new(config), ignored)),
    }
}

/// The status page and the pid file of a supervisor with these arguments.
pub(crate) fn files_of(args: impl Iterator<Item = OsString>) -> (Option<OsString>, Option<OsString>) {
    let typed = Typed::parse(args).ok();
    let value = |name| typed.as_ref().and_then(|typed| typed.value(name)).map(OsStr::to_owned);
    (value("status"), value("pid-file"))
}

/// The configuration, and a line for each option that is ignored.
fn configure(caller: &Caller<'_>, mut typed: Typed) -> Result<(Config, Vec<String>), Error> {
    let mode = typed.mode().unwrap_or(caller.mode());
    let (address, is_inherited) = match (typed.has("socket"), typed.has("port")) {
        (true, true) => {
            return Err(Error::new("either a Unix domain socket or a TCP-port, but not both (-s or -p)"));
        }
        (false, false) => match (mode, (caller.inherited)()?) {
            (Mode::Supervise, Some(fd)) => (Address::Inherited(fd), true),
            _ => return Err(Error::new("no socket given (use either -p or -s)")),
        },
        // The options fill it in.
        _ => (Address::Tcp((Ipv4Addr::UNSPECIFIED, 0).into()), false),
    };
    if typed.program.is_empty() && !typed.has("command") {
        return Err(Error::new("no FastCGI application given"));
    }

    let mut config = Config::new(address, Vec::new());
    config.mode = mode;
    config.search_path = !caller.is_spawn_fcgi();
    config.user_variables = !caller.is_spawn_fcgi();
    let mut lines = Vec::new();
    let has_path = |name: &OsStr| !name.as_encoded_bytes().starts_with(b"@");
    let situation = Situation {
        caller,
        mode,
        options: typed.options().map(|(item, _)| item.long).collect(),
        has_socket_file: typed.value("socket").is_some_and(has_path),
        has_program: !typed.program.is_empty(),
        is_inherited,
    };
    for (item, value) in typed.options() {
        let Effect::Set(set) = item.effect else { continue };
        let name = item.name();
        if let Some(ignored) = item.ignored.iter().find(|ignored| (ignored.when)(&situation)) {
            lines.push(match item.value {
                Some(_) => format!("{name} {} is ignored {}", Quoted(value), ignored.why),
                None => format!("{name} is ignored {}", ignored.why),
            });
            continue;
        }
        let is_empty = item.takes_path() && value.is_empty();
        let done = if is_empty { Err("the path is empty".into()) } else { set(&mut config, value) };
        done.map_err(|why| invalid(&name, value, why))?;
    }
    if let (false, Some(directory)) = (caller.is_root, &config.chroot) {
        let why = "only root may change the root directory: run this as root, or leave -c out";
        return Err(invalid("-c", directory.as_os_str(), why));
    }
    if !typed.program.is_empty() {
        let words = typed.program.drain(..).map(|word| value::c_string("--", word));
        config.program = Program::File(words.collect::<Result<_, _>>()?);
    }
    Ok((config, lines))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOT: Caller<'static> = Caller { name: "fcgi-spawn", is_root: true, inherited: &|| Ok(None) };

    fn configured(caller: &Caller<'_>, line: &str) -> Result<(Config, Vec<String>), String> {
        let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
        let typed = Typed::parse(words.map(OsString::from)).expect("only values are wrong");
        configure(caller, typed).map_err(|error| error.to_string())
    }

    fn config(line: &str) -> Result<Config, String> {
        configured(&ROOT, line).map(|(config, _)| config)
    }

    #[track_caller]
    fn ignores(caller: &Caller<'_>, line: &str, want: &[&str]) {
        let (_, ignored) = configured(caller, &format!("{line} -- app")).expect("a command line");
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
        check("-p 65535 -a ::1", tcp("[::1]:65535"), |_| ());
        check("-s /run/a", Address::Unix("/run/a".into()), |_| ());
        check("-s @/a", Address::Abstract("/a".into()), |_| ());
        check("-s /run/a -a junk", Address::Unix("/run/a".into()), |_| ());
        refuses("-n", "no socket given (use either -p or -s)");
        refuses("-s a -p 1", "either a Unix domain socket or a TCP-port, but not both (-s or -p)");
        refuses("-p 65536", "-p '65536': not a number from 1 to 65535");
        refuses("-s @", "-s '@': the path is empty");
        for name in ["localhost", "[::1]", "127.0.0.1:80", "127.1", "fe80::1%lo"] {
            refuses(&format!("-p 1 -a {name}"), &format!("-a '{name}': not an IPv4 or IPv6 address"));
        }
    }

    #[test]
    fn an_inherited_socket_is_for_a_supervisor() {
        let caller = Caller { inherited: &|| Ok(Some(3)), ..ROOT };
        let address = |line| configured(&caller, line).map(|(config, _)| config.address);
        assert_eq!(address("app"), Ok(Address::Inherited(3)));
        assert_eq!(address("-p 1 app"), Ok(tcp("0.0.0.0:1")));
        assert_eq!(address("--once app"), Err("no socket given (use either -p or -s)".into()));
        let why = "is ignored with a socket that is there already";
        ignores(&caller, "-a ::1 -b 5", &[&format!("-a '::1' {why}"), &format!("-b '5' {why}")]);
        let failing = Caller { inherited: &|| Err(Error::new("LISTEN_FDS")), ..ROOT };
        assert_eq!(configured(&failing, "app").err(), Some("LISTEN_FDS".into()));
        assert!(configured(&failing, "-p 1 app").is_ok());
    }

    /// Each option's value arrives in the field that is meant.
    #[test]
    fn options_are_fields() {
        let check =
            |line: &str, expect: fn(&mut Config)| check(&format!("-s s {line}"), Address::Unix("s".into()), expect);
        check("-b 0 -M 600 -U u -G g --mkdir", |want| {
            (want.backlog, want.socket_mode, want.mkdir) = (Some(0), Some(0o600), true);
            (want.socket_user, want.socket_group) = (Some("u".into()), Some("g".into()));
        });
        check("-d d -C 2147483647 -u u -g g -c c -S", |want| {
            (want.directory, want.php_children) = (Some("d".into()), Some(i32::MAX as u32));
            (want.user, want.group) = (Some("u".into()), Some("g".into()));
            (want.chroot, want.socket_outside) = (Some("c".into()), true);
        });
        check("-F 1024 -P /run/pid -n", |want| {
            (want.workers, want.pid_file, want.foreground) = (1024, Some("/run/pid".into()), true);
        });
        check("--once", |want| want.mode = Mode::Once);
        check("--supervise", |_| ());
        check("--min-server-life 1m --restart-delay 200ms --backoff-after 5 --max-backoff 1h --give-up 9", |want| {
            want.min_server_life = Duration::from_secs(60);
            want.restart_delay = Duration::from_millis(200);
            (want.backoff_after, want.give_up) = (Some(5), Some(9));
            want.max_backoff = Some(Duration::from_secs(3600));
        });
        check("--stop-signal INT --stop-timeout 2s", |want| {
            (want.stop_signal, want.stop_timeout) = (libc::SIGINT, Some(Duration::from_secs(2)));
        });
        check("--auto-update --watch /a --watch b --max-age 1h --max-rss 64M", |want| {
            (want.auto_update, want.watch) = (true, vec!["/a".into(), "b".into()]);
            (want.max_age, want.max_rss) = (Some(Duration::from_secs(3600)), Some(64 << 20));
        });
        check("--on-demand --idle 1s", |want| {
            (want.on_demand, want.idle) = (true, Some(Duration::from_secs(1)));
        });
        check("--log stderr --status s --ready-fd 3 --heartbeat 3s", |want| {
            (want.log, want.status) = (Some(crate::LogTo::Stderr), Some("s".into()));
            (want.ready_fd, want.heartbeat) = (Some(3), Some(Duration::from_secs(3)));
        });
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
        check("--max-rss 0", |want| want.max_rss = None);
        check("--heartbeat off", |want| want.heartbeat = None);
        check("--on-demand --idle off", |want| (want.on_demand, want.idle) = (true, None));
    }

    #[test]
    fn a_refusal_names_option_and_value() {
        refuses("-p 1 -F 1025", "-F '1025': not a number from 1 to 1024");
        refuses("-p 1 --workers 0", "-F '0': not a number from 1 to 1024");
        refuses("-p 1 --restart-delay soon", "--restart-delay 'soon': not a time like 200ms, 5s or 10m");
        refuses("-p 1 --stop-signal 0", "--stop-signal '0': not a signal");
        refuses("-p 1 --ready-fd 2", "--ready-fd '2': not a number from 3 to 2147483647");
        refuses("-p 1 --heartbeat 2s", "--heartbeat '2s': less than 3s, with one heartbeat a second");
        refuses("-s a -M 888", "-M '888': not an octal number from 0 to 0777");
        for option in ["-d", "-P", "--log", "--status", "--watch"] {
            refuses(&format!("-p 1 {option} ''"), &format!("{option} '': the path is empty"));
        }
        check("-p 0 -p 1", tcp("0.0.0.0:1"), |_| ());
    }

    #[test]
    fn the_program_is_words_or_a_line_for_the_shell() {
        let program = |line| config(line).map(|config| config.program);
        assert_eq!(program("-p 1"), Err("no FastCGI application given".into()));
        assert_eq!(
            program("-p 1 -- /bin/app -x ''"),
            Ok(Program::File(vec![c"/bin/app".into(), c"-x".into(), c"".into()]))
        );
        assert_eq!(program("-p 1 -f ./app"), Ok(Program::Shell(c"./app".into())));
        assert_eq!(program("-p 1 -f ''"), Err("-f '': no command".into()));
        assert_eq!(program("-p 1 -f x -- app"), Ok(Program::File(vec![c"app".into()])));
    }

    #[test]
    fn the_name_is_a_mode() {
        let named = |name| configured(&Caller { name, ..ROOT }, "-p 1 app").expect("a command line").0;
        let [ours, original] = ["fcgi-spawn", "spawn-fcgi"].map(named);
        assert_eq!((ours.mode, ours.search_path, ours.user_variables), (Mode::Supervise, true, true));
        assert_eq!((original.mode, original.search_path, original.user_variables), (Mode::Once, false, false));
    }

    /// An option that is ignored may have a wrong value.
    #[test]
    fn every_ignored_option_is_reported() {
        let ignores = |line: &str, want: &[&str]| ignores(&ROOT, line, want);
        ignores("-s a -a junk -f x", &["-a 'junk' is ignored with -s", "-f 'x' is ignored with a program"]);
        ignores("-s a -S", &["-S is ignored without -c"]);
        ignores("-s a --idle 1s", &["--idle '1s' is ignored without --on-demand"]);
        ignores("-s a --once -F 2 -P p", &[]);
        ignores("-s a --supervise -n -F 2 -P p --restart-delay 1s", &[]);
        ignores(
            "-s a --once -n -F 2 -P p --restart-delay 1s",
            &[
                "-F '2' is ignored with -n and --once",
                "-P 'p' is ignored with -n and --once",
                "--restart-delay '1s' is ignored with --once",
            ],
        );
        for socket in ["-p 1", "-s @a"] {
            let why = "is ignored without the path of a unix socket";
            let lines = ["-M '600'", "-U 'u'", "-G 'g'", "-S"].map(|option| format!("{option} {why}"));
            ignores(&format!("{socket} -M 600 -U u -G g -c c -S"), &lines.each_ref().map(String::as_str));
            let mkdir = format!("--mkdir {why}, a pid file or a status page");
            ignores(&format!("{socket} --mkdir"), &[&mkdir]);
            ignores(&format!("{socket} --mkdir -P p"), &[]);
            ignores(&format!("{socket} --mkdir --status s"), &[]);
            let pid_file = "-P 'p' is ignored with -n and --once";
            ignores(&format!("{socket} --once -n --mkdir -P p"), &[&mkdir, pid_file]);
        }
    }

    #[test]
    fn every_option_of_a_supervisor_is_ignored_with_once() {
        for item in list::items().filter(|item| item.is_ignored(&item::ONCE)) {
            let (value, shown) = if item.value.is_some() { (" x", " 'x'") } else { ("", "") };
            let line = format!("-s a --once --{}{value}", item.long);
            ignores(&ROOT, &line, &[&format!("--{}{shown} is ignored with --once", item.long)]);
            ignores(
                &Caller { name: "spawn-fcgi", ..ROOT },
                &line.replace(" --once", ""),
                &[&format!("--{}{shown} is ignored with --once", item.long)],
            );
        }
    }

    #[test]
    fn options_of_root() {
        let line = "-s a -u u -g g -U v -G h -c c -S";
        ignores(&ROOT, line, &[]);
        let original = Caller { name: "spawn-fcgi", is_root: false, ..ROOT };
        let lines = ["-u 'u'", "-g 'g'", "-U 'v'", "-G 'h'", "-c 'c'", "-S"]
            .map(|option| format!("{option} is ignored unless root runs this"));
        ignores(&original, line, &lines.each_ref().map(String::as_str));
        let other = Caller { is_root: false, ..ROOT };
        ignores(&other, &line.replace(" -c c -S", ""), &[&lines[2], &lines[3]]);
        let message = "-c 'c': only root may change the root directory: run this as root, or leave -c out";
        assert_eq!(configured(&other, &format!("{line} app")).err(), Some(message.into()));
    }

    #[test]
    fn commands_do_something_else() {
        let read = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            read(&ROOT, &words).map_err(|error| error.to_string())
        };
        assert!(matches!(read("--help"), Ok(Request::Print(text)) if text.starts_with("Usage: fcgi-spawn ")));
        assert!(matches!(read("-nv"), Ok(Request::Print(text)) if text.starts_with("fcgi-spawn ")));
        assert!(matches!(read("--completions zsh"), Ok(Request::Print(text)) if text.starts_with("#compdef ")));
        assert!(
            matches!(read("--check -n --status s -- app"), Ok(Request::Check { page, is_json: false }) if page == "s")
        );
        assert!(matches!(read("--check --json --status s"), Ok(Request::Check { is_json: true, .. })));
        assert!(
            matches!(read("--reload --status s"), Ok(Request::Reload { page: Some(page), pid_file: None }) if page == "s")
        );
        let both = read("--reload -P p --status s");
        assert!(matches!(both, Ok(Request::Reload { page: Some(_), pid_file: Some(pid_file) }) if pid_file == "p"));
        assert_eq!(read("--reload -n").err().as_deref(), Some("--reload needs --status FILE or -P FILE"));
        assert_eq!(read("--check").err(), Some("--check needs --status FILE".into()));
        assert_eq!(read("--completions csh").err(), Some("--completions 'csh': not one of bash, zsh and fish".into()));
        assert!(matches!(read("-s a app"), Ok(Request::Start(..))));
    }
}
