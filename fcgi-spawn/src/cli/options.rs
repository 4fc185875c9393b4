//! The command line as it was typed. One table says which options there are; parsing, help and completions read it.

use std::ffi::OsString;

use crate::cli::table::{Row, Table, flag, value};
use crate::{Error, Mode};

/// What was typed: nothing is checked yet, and of an option that was repeated the last value stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-s PATH`: the unix socket, or with `@` in front an abstract one.
    pub socket: Option<OsString>,
    /// `-a ADDR`: the IP address.
    pub address: Option<OsString>,
    /// `-p PORT`: the TCP port.
    pub port: Option<OsString>,
    /// `-b N`: how many connections may wait.
    pub backlog: Option<OsString>,
    /// `-M MODE`: the unix socket's permissions.
    pub socket_mode: Option<OsString>,
    /// `-U USER`: the unix socket's owner.
    pub socket_user: Option<OsString>,
    /// `-G GROUP`: the unix socket's group.
    pub socket_group: Option<OsString>,
    /// `--mkdir`: make the folders of the unix socket and the pid file.
    pub mkdir: bool,
    /// `-f CMD`: the program as a line for the shell.
    pub command: Option<OsString>,
    /// `-d DIR`: the working directory of the program.
    pub directory: Option<OsString>,
    /// `-C N`: how many children PHP is to start.
    pub php_children: Option<OsString>,
    /// `-u USER`: whom the program runs as.
    pub user: Option<OsString>,
    /// `-g GROUP`: its group.
    pub group: Option<OsString>,
    /// `-c DIR`: its root directory.
    pub chroot: Option<OsString>,
    /// `-S`: the socket is outside of that.
    pub socket_outside: bool,
    /// `--once` or `--supervise`.
    pub mode: Option<Mode>,
    /// `-F N`: how many workers.
    pub workers: Option<OsString>,
    /// `-n`: stay in the foreground.
    pub foreground: bool,
    /// `-P FILE`: where to write the pid.
    pub pid_file: Option<OsString>,
    /// `--min-server-life TIME`: what counts as a short life.
    pub min_server_life: Option<OsString>,
    /// `--restart-delay TIME`: the pause after a short life.
    pub restart_delay: Option<OsString>,
    /// `--backoff-after N`: how many short lives it takes until the pause is doubled.
    pub backoff_after: Option<OsString>,
    /// `--max-backoff TIME`: where doubling ends.
    pub max_backoff: Option<OsString>,
    /// `--give-up N`: how many short lives in a row are the end.
    pub give_up: Option<OsString>,
    /// `--seed N`: what the jitter comes from.
    pub seed: Option<OsString>,
    /// `--stop-signal SIGNAL`: what asks a worker to end.
    pub stop_signal: Option<OsString>,
    /// `--stop-timeout TIME`: how long it may take to end.
    pub stop_timeout: Option<OsString>,
    /// `--auto-update`: reload when the program has changed.
    pub auto_update: bool,
    /// `--watch FILE`, each of them: reload when it has changed.
    pub watch: Vec<OsString>,
    /// `--max-age TIME`: how old a worker gets.
    pub max_age: Option<OsString>,
    /// `--max-rss SIZE`: how much memory a worker may take.
    pub max_rss: Option<OsString>,
    /// `--on-demand`: no worker before there is something to do.
    pub on_demand: bool,
    /// `--idle TIME`: how long a worker may have nothing to do.
    pub idle: Option<OsString>,
    /// `--log FILE`, `--log syslog` or `--log stderr`: where output goes.
    pub log: Option<OsString>,
    /// `--ready-fd N`: what gets a line when all is up.
    pub ready_fd: Option<OsString>,
    /// `--status FILE`: where to write how the workers are.
    pub status: Option<OsString>,
    /// `--check`: say what is in there, and exit with a status for monitors.
    pub check: bool,
    /// `--heartbeat TIME`: how long a worker may be silent.
    pub heartbeat: Option<OsString>,
    /// `--completions SHELL`: print them; nothing behind it was read.
    pub completions: Option<OsString>,
    /// `-v`: print the version; nothing behind it was read.
    pub version: bool,
    /// `-h`, `-?`: print the help; nothing behind it was read.
    pub help: bool,
    /// The program and its arguments.
    pub program: Vec<OsString>,
}

/// The sections of the help, and the options in them.
const TABLE: Table<Options> = Table(&[
    (
        "The socket",
        &[
            value(
                "s",
                "socket",
                "PATH",
                |o, v| o.socket = Some(v),
                "listen on this unix socket (@NAME: an abstract one)",
            ),
            value("p", "port", "PORT", |o, v| o.port = Some(v), "listen on this TCP port"),
            value("a", "address", "ADDR", |o, v| o.address = Some(v), "of this IPv4 or IPv6 address (default 0.0.0.0)"),
            value("b", "backlog", "N", |o, v| o.backlog = Some(v), "connections that may wait (default 1024)"),
            value("M", "mode", "MODE", |o, v| o.socket_mode = Some(v), "permissions (default 0660 less the umask)"),
            value("U", "socket-user", "USER", |o, v| o.socket_user = Some(v), "owner (default the one of -u) [root]"),
            value(
                "G",
                "socket-group",
                "GROUP",
                |o, v| o.socket_group = Some(v),
                "group (default the one of -g) [root]",
            ),
            flag("", "mkdir", |o| o.mkdir = true, "make the folders of the socket and the pid file"),
        ],
    ),
    (
        "The program",
        &[
            value(
                "f",
                "command",
                "CMD",
                |o, v| o.command = Some(v),
                "run this line by /bin/sh, if no program is given",
            ),
            value("d", "directory", "DIR", |o, v| o.directory = Some(v), "in this working directory"),
            value("C", "php-children", "N", |o, v| o.php_children = Some(v), "set PHP_FCGI_CHILDREN"),
            value("u", "user", "USER", |o, v| o.user = Some(v), "as this user, by name or number [root]"),
            value("g", "group", "GROUP", |o, v| o.group = Some(v), "in this group (default the user's) [root]"),
            value("c", "chroot", "DIR", |o, v| o.chroot = Some(v), "with this root directory [root]"),
            flag("S", "socket-outside", |o| o.socket_outside = true, "make the socket before the chroot [root]"),
        ],
    ),
    (
        "Workers",
        &[
            value("F", "workers", "N", |o, v| o.workers = Some(v), "start so many of them (default 1)"),
            value("P", "pid-file", "FILE", |o, v| o.pid_file = Some(v), "write the supervisor's pid, or each worker's"),
            flag("n", "foreground", |o| o.foreground = true, "stay in the foreground; with --once, become the program"),
            flag("", "once", |o| o.mode = Some(Mode::Once), "start them and end (default as spawn-fcgi)"),
            flag("", "supervise", |o| o.mode = Some(Mode::Supervise), "keep them running (default otherwise)"),
        ],
    ),
    (
        "Restarts",
        &[
            value(
                "",
                "min-server-life",
                "TIME",
                |o, v| o.min_server_life = Some(v),
                "a shorter life is short (default 30s)",
            ),
            value(
                "",
                "restart-delay",
                "TIME",
                |o, v| o.restart_delay = Some(v),
                "pause after a short life (default 5s)",
            ),
            value("", "backoff-after", "N", |o, v| o.backoff_after = Some(v), "double it after so many (default 3)"),
            value("", "max-backoff", "TIME", |o, v| o.max_backoff = Some(v), "up to this (default 600s)"),
            value("", "give-up", "N", |o, v| o.give_up = Some(v), "end after so many in a row (default off)"),
            value("", "seed", "N", |o, v| o.seed = Some(v), "make jitter the same each time"),
            value(
                "",
                "stop-signal",
                "SIGNAL",
                |o, v| o.stop_signal = Some(v),
                "ask workers to end by this (default TERM)",
            ),
            value(
                "",
                "stop-timeout",
                "TIME",
                |o, v| o.stop_timeout = Some(v),
                "and kill them after this (default 10s)",
            ),
        ],
    ),
    (
        "Renewal",
        &[
            flag("", "auto-update", |o| o.auto_update = true, "replace workers when the program changes"),
            value("", "watch", "FILE", |o, v| o.watch.push(v), "and when this file does (repeatable)"),
            value("", "max-age", "TIME", |o, v| o.max_age = Some(v), "replace a worker that is older (default off)"),
            value("", "max-rss", "SIZE", |o, v| o.max_rss = Some(v), "or takes more memory (default off)"),
            flag("", "on-demand", |o| o.on_demand = true, "start workers when connections wait"),
            value("", "idle", "TIME", |o, v| o.idle = Some(v), "and stop those that do nothing (default 10m)"),
        ],
    ),
    (
        "Output and health",
        &[
            value("", "log", "FILE", |o, v| o.log = Some(v), "write all output there, or to: syslog, stderr"),
            value("", "status", "FILE", |o, v| o.status = Some(v), "write there how the workers are"),
            flag("", "check", |o| o.check = true, "only say what --status has: 0 all up, 1 some, 2 none"),
            value("", "ready-fd", "N", |o, v| o.ready_fd = Some(v), "write a line there when all workers are up"),
            value("", "heartbeat", "TIME", |o, v| o.heartbeat = Some(v), "replace one without (fcgi-app, default off)"),
        ],
    ),
    (
        "This program",
        &[
            value(
                "",
                "completions",
                "SHELL",
                |o, v| o.completions = Some(v),
                "print completions for bash, zsh or fish",
            ),
            flag("v", "version", |o| o.version = true, "print the version"),
            flag("h?", "help", |o| o.help = true, "print this help"),
        ],
    ),
]);

/// All options in order.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row<Options>> {
    TABLE.rows()
}

impl Options {
    /// Reads the arguments behind the program's own name, as getopt does: options before and behind
    /// the first other word, until `--`; `-p9000` and `-nSs PATH` too.
    ///
    /// # Errors
    ///
    /// An option that does not exist, or one whose value is missing or must not be there.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut options = Options::default();
        let enough = |o: &Options| o.help || o.version || o.completions.is_some();
        TABLE.parse(args.into_iter().collect(), &mut options, |o, word| o.program.push(word), enough)?;
        Ok(options)
    }

    /// The help text, for a program called `name`.
    pub fn help(name: &str) -> String {
        let others = match name {
            "spawn-fcgi" => "ignored, and said so, unless root runs it",
            _ => "for root only: for others -u, -g and -c are errors, -S, -U and -G are ignored, and said so",
        };
        format!(
            "Usage: {name} [options] [--] program [arguments]\n\n\
             Binds a socket and starts a FastCGI program that finds it as file descriptor 0.\n\
             {}\n\
             [root]: {others}.\n",
            TABLE.help()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
        Options::parse(words).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(line: &str, expect: impl FnOnce(&mut Options)) {
        let mut want = Options::default();
        expect(&mut want);
        assert_eq!(parse(line), Ok(want), "{line:?}");
    }

    #[track_caller]
    fn refuses(line: &str, message: &str) {
        assert_eq!(parse(line), Err(message.into()), "{line:?}");
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn short_options_as_getopt_reads_them() {
        check("", |_| ());
        check("-p 9000", |want| want.port = Some("9000".into()));
        check("-p9000", |want| want.port = Some("9000".into()));
        check("-s=x", |want| want.socket = Some("=x".into()));
        check("-p -n", |want| want.port = Some("-n".into()));
        check("-nF2 -Ps -s /s", |want| {
            want.foreground = true;
            want.workers = Some("2".into());
            want.pid_file = Some("s".into());
            want.socket = Some("/s".into());
        });
    }

    #[test]
    fn long_options_with_and_without_equals() {
        check("--restart-delay 5s", |want| want.restart_delay = Some("5s".into()));
        check("--restart-delay=5s", |want| want.restart_delay = Some("5s".into()));
        check("--foreground", |want| want.foreground = true);
    }

    type Field = fn(&mut Options) -> &mut Option<OsString>;
    type Set = fn(&mut Options);

    /// A row for each option: its long name, its letters, and what it sets.
    #[test]
    fn each_option_by_each_of_its_names() {
        let value: [(&str, &str, Field); 31] = [
            ("socket", "s", |o| &mut o.socket),
            ("port", "p", |o| &mut o.port),
            ("address", "a", |o| &mut o.address),
            ("backlog", "b", |o| &mut o.backlog),
            ("mode", "M", |o| &mut o.socket_mode),
            ("socket-user", "U", |o| &mut o.socket_user),
            ("socket-group", "G", |o| &mut o.socket_group),
            ("command", "f", |o| &mut o.command),
            ("directory", "d", |o| &mut o.directory),
            ("php-children", "C", |o| &mut o.php_children),
            ("user", "u", |o| &mut o.user),
            ("group", "g", |o| &mut o.group),
            ("chroot", "c", |o| &mut o.chroot),
            ("workers", "F", |o| &mut o.workers),
            ("pid-file", "P", |o| &mut o.pid_file),
            ("min-server-life", "", |o| &mut o.min_server_life),
            ("restart-delay", "", |o| &mut o.restart_delay),
            ("backoff-after", "", |o| &mut o.backoff_after),
            ("max-backoff", "", |o| &mut o.max_backoff),
            ("give-up", "", |o| &mut o.give_up),
            ("seed", "", |o| &mut o.seed),
            ("stop-signal", "", |o| &mut o.stop_signal),
            ("stop-timeout", "", |o| &mut o.stop_timeout),
            ("max-age", "", |o| &mut o.max_age),
            ("max-rss", "", |o| &mut o.max_rss),
            ("idle", "", |o| &mut o.idle),
            ("log", "", |o| &mut o.log),
            ("status", "", |o| &mut o.status),
            ("ready-fd", "", |o| &mut o.ready_fd),
            ("heartbeat", "", |o| &mut o.heartbeat),
            ("completions", "", |o| &mut o.completions),
        ];
        let flag: [(&str, &str, Set); 10] = [
            ("mkdir", "", |o| o.mkdir = true),
            ("socket-outside", "S", |o| o.socket_outside = true),
            ("foreground", "n", |o| o.foreground = true),
            ("once", "", |o| o.mode = Some(Mode::Once)),
            ("supervise", "", |o| o.mode = Some(Mode::Supervise)),
            ("auto-update", "", |o| o.auto_update = true),
            ("on-demand", "", |o| o.on_demand = true),
            ("check", "", |o| o.check = true),
            ("version", "v", |o| o.version = true),
            ("help", "h?", |o| o.help = true),
        ];
        for (long, letters, field) in value {
            let spellings = letters.chars().flat_map(|letter| [format!("-{letter} x"), format!("-{letter}x")]);
            for line in spellings.chain([format!("--{long} x"), format!("--{long}=x")]) {
                check(&line, |want| *field(want) = Some("x".into()));
            }
        }
        for (long, letters, set) in flag {
            let spellings = letters.chars().map(|letter| format!("-{letter}"));
            spellings.chain([format!("--{long}")]).for_each(|line| check(&line, set));
        }
        for line in ["--watch x --watch y", "--watch=x --watch=y"] {
            check(line, |want| want.watch = words("x y"));
        }
        let named = value.iter().map(|row| (row.0, row.1)).chain(flag.iter().map(|row| (row.0, row.1)));
        let mut named: Vec<_> = named.chain([("watch", "")]).collect();
        let mut all: Vec<_> = rows().map(|row| (row.long, row.letters)).collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn every_letter_of_spawn_fcgi() {
        check("-f f -d d -a a -p p -s s -M m -C c -F n -b b -P P -n -c r -S -u u -g g -U U -G G", |want| {
            let value = |value: &str| Some(value.into());
            (want.command, want.directory) = (value("f"), value("d"));
            (want.address, want.port, want.socket) = (value("a"), value("p"), value("s"));
            (want.socket_mode, want.php_children) = (value("m"), value("c"));
            (want.workers, want.backlog, want.pid_file) = (value("n"), value("b"), value("P"));
            (want.chroot, want.user, want.group) = (value("r"), value("u"), value("g"));
            (want.socket_user, want.socket_group) = (value("U"), value("G"));
            (want.foreground, want.socket_outside) = (true, true);
        });
        assert!(rows().flat_map(|row| row.letters.chars()).all(|letter| "fdapsMCFbPncSugUGvh?".contains(letter)));
    }

    #[test]
    fn the_last_mode_counts() {
        check("--once --supervise", |want| want.mode = Some(Mode::Supervise));
        check("--supervise --once", |want| want.mode = Some(Mode::Once));
    }

    #[test]
    fn the_last_of_repeated_options_counts() {
        check("-p 1 -F 2 -p 3", |want| {
            want.port = Some("3".into());
            want.workers = Some("2".into());
        });
    }

    #[test]
    fn what_follows_two_dashes_is_the_program() {
        check("-p 1 -- app -n -- --x", |want| {
            want.port = Some("1".into());
            want.program = words("app -n -- --x");
        });
        check("app -p 1 x", |want| {
            want.port = Some("1".into());
            want.program = words("app x");
        });
    }

    #[test]
    fn help_and_version_end_the_reading() {
        check("-h --bogus", |want| want.help = true);
        check("-? -p", |want| want.help = true);
        check("--completions zsh -p", |want| want.completions = Some("zsh".into()));
        check("-nv -x", |want| {
            want.foreground = true;
            want.version = true;
        });
    }

    #[test]
    fn errors_name_the_option() {
        refuses("-x", "invalid option '-x'");
        refuses("-nx", "invalid option '-x'");
        refuses("--bogus", "invalid option '--bogus'");
        refuses("-p", "missing argument for option '-p'");
        refuses("--foreground=me", "unexpected argument for option '--foreground': \"me\"");
    }

    #[test]
    fn the_help_names_every_option() {
        let help = Options::help("fcgi-spawn");
        for row in rows() {
            assert!(help.contains(&format!(" --{}", row.long)), "{}", row.long);
            assert!(row.letters.chars().all(|letter| help.contains(&format!(" -{letter}, "))));
        }
        assert!(help.lines().all(|line| line.len() <= 90), "{help}");
    }

    #[test]
    fn no_letter_or_name_is_given_twice() {
        let letters: String = rows().map(|row| row.letters).collect();
        for (at, letter) in letters.char_indices() {
            assert_eq!(letters.find(letter), Some(at), "-{letter}");
        }
        for (at, row) in rows().enumerate() {
            assert_eq!(rows().position(|other| other.long == row.long), Some(at));
        }
    }
}
