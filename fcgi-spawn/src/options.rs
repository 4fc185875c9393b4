//! The command line as it was typed. One table says which options there are; parsing and help read it.

use std::ffi::OsString;
use std::fmt::Write;

use lexopt::Arg;

use crate::Error;

/// What was typed: nothing is checked yet, and of an option that was repeated the last value stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-s PATH`: the unix socket.
    pub socket: Option<OsString>,
    /// `-a ADDR`: the IP address.
    pub address: Option<OsString>,
    /// `-p PORT`: the TCP port.
    pub port: Option<OsString>,
    /// `-F N`: how many workers.
    pub workers: Option<OsString>,
    /// `-n`: stay in the foreground.
    pub foreground: bool,
    /// `-P FILE`: where to write the supervisor's pid.
    pub pid_file: Option<OsString>,
    /// `--restart-delay TIME`: the pause between a worker's end and its next start.
    pub restart_delay: Option<OsString>,
    /// `-v`: print the version; nothing behind it was read.
    pub version: bool,
    /// `-h`, `-?`: print the help; nothing behind it was read.
    pub help: bool,
    /// The program and its arguments.
    pub program: Vec<OsString>,
}

/// One row of the table.
struct Row {
    /// The letters it answers to.
    letters: &'static str,
    long: &'static str,
    set: Set,
    help: &'static str,
}

/// What an option does to [`Options`].
enum Set {
    Flag(fn(&mut Options)),
    /// The placeholder is for the help.
    Value(&'static str, fn(&mut Options, OsString)),
}

const TABLE: &[Row] = &[
    Row {
        letters: "s",
        long: "socket",
        set: Set::Value("PATH", |options, value| options.socket = Some(value)),
        help: "bind to a unix socket",
    },
    Row {
        letters: "a",
        long: "address",
        set: Set::Value("ADDR", |options, value| options.address = Some(value)),
        help: "bind to this IPv4 or IPv6 address (default 0.0.0.0)",
    },
    Row {
        letters: "p",
        long: "port",
        set: Set::Value("PORT", |options, value| options.port = Some(value)),
        help: "bind to this TCP port",
    },
    Row {
        letters: "F",
        long: "workers",
        set: Set::Value("N", |options, value| options.workers = Some(value)),
        help: "number of workers (default 1)",
    },
    Row {
        letters: "n",
        long: "foreground",
        set: Set::Flag(|options| options.foreground = true),
        help: "stay in the foreground (for runit, systemd, a terminal)",
    },
    Row {
        letters: "P",
        long: "pid-file",
        set: Set::Value("FILE", |options, value| options.pid_file = Some(value)),
        help: "write the supervisor's pid to this file",
    },
    Row {
        letters: "",
        long: "restart-delay",
        set: Set::Value("TIME", |options, value| options.restart_delay = Some(value)),
        help: "wait so long before starting a dead worker again (default 5s)",
    },
    Row {
        letters: "v",
        long: "version",
        set: Set::Flag(|options| options.version = true),
        help: "print the version and exit",
    },
    Row {
        letters: "h?",
        long: "help",
        set: Set::Flag(|options| options.help = true),
        help: "print this help and exit",
    },
];

impl Options {
    /// Reads the arguments behind the program's own name, as getopt does: options before and behind
    /// the first other word, until `--`; `-p9000` and `-nSs PATH` too.
    ///
    /// # Errors
    ///
    /// An option that does not exist, or one whose value is missing or must not be there.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut parser = lexopt::Parser::from_args(args.into_iter().collect::<Vec<_>>());
        // To getopt the value of `-s=x` is "=x".
        parser.set_short_equals(false);

        let mut options = Options::default();
        while let Some(arg) = parser.next().map_err(refused)? {
            let row = match &arg {
                Arg::Short(letter) => TABLE.iter().find(|row| row.letters.contains(*letter)),
                Arg::Long(name) => TABLE.iter().find(|row| row.long == *name),
                Arg::Value(word) => {
                    options.program.push(word.clone());
                    continue;
                }
            };
            match row.map(|row| &row.set) {
                Some(Set::Flag(set)) => set(&mut options),
                Some(Set::Value(_, set)) => set(&mut options, parser.value().map_err(refused)?),
                None => return Err(refused(arg.unexpected())),
            }
            if options.help || options.version {
                break;
            }
        }
        Ok(options)
    }

    /// The help text, for a program called `name`.
    pub fn help(name: &str) -> String {
        let mut help = format!(
            "Usage: {name} [options] -- program [arguments]\n\n\
             Binds a socket, starts workers that find it as file descriptor 0, and keeps them running.\n\n"
        );
        for row in TABLE {
            let mut spelling = String::from(" ");
            for letter in row.letters.chars() {
                let _ = write!(spelling, " -{letter},");
            }
            if row.letters.is_empty() {
                spelling.push_str("    ");
            }
            let _ = write!(spelling, " --{}", row.long);
            if let Set::Value(placeholder, _) = row.set {
                let _ = write!(spelling, " {placeholder}");
            }
            let _ = writeln!(help, "{spelling:<28} {}", row.help);
        }
        help
    }
}

fn refused(error: lexopt::Error) -> Error {
    Error::new(error.to_string())
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
        for row in TABLE {
            assert!(help.contains(&format!(" --{}", row.long)), "{}", row.long);
            assert!(row.letters.chars().all(|letter| help.contains(&format!(" -{letter}, "))));
        }
        assert!(help.lines().all(|line| line.len() <= 90), "{help}");
    }

    #[test]
    fn no_letter_or_name_is_given_twice() {
        let letters: String = TABLE.iter().map(|row| row.letters).collect();
        for (at, letter) in letters.char_indices() {
            assert_eq!(letters.find(letter), Some(at), "-{letter}");
        }
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(TABLE.iter().position(|other| other.long == row.long), Some(at));
        }
    }
}
