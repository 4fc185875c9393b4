//! The command line.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::{Arg, ValueExt};

pub(super) const HELP: &str = "\
Usage: cgi-bridge [options]

Runs CGI programs for a web server that speaks FastCGI. Started by fcgi-spawn,
by a web server, by systemd, or with an address in FCGI_BIND.

  --allow PATH           run nothing but this file, or what is below this
                         folder; may be repeated (default: whatever the web
                         server says)
  --time-limit SECONDS   how long a program may take (default 300)
  --programs NUMBER      how many may run at once; more requests wait
                         (default 16)
  --grace SECONDS        how long programs may go on after SIGTERM to the
                         bridge (default 5)
  --env NAME[=VALUE]     give programs this variable, with this value or
                         ours; may be repeated (default: PATH alone)
  --duplex               let an answer begin while the request's body still
                         comes: for HAProxy, Apache and lighttpd that streams;
                         nginx, Caddy and mod_fcgid send no more of it then
  -h, --help             print this help and exit
";

/// What programs get as `PATH` if we have none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Help,
    Serve(Options),
}

/// How programs are run.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    /// Files and folders without links in their paths; any program if there are none.
    pub(super) allowed: Vec<PathBuf>,
    pub(super) time_limit: Duration,
    pub(super) programs: usize,
    pub(super) grace: Duration,
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Whether an answer may begin while the body comes.
    pub(super) duplex: bool,
}

impl Options {
    /// Reads the arguments, the program's own name in front; an error is one line for the user.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let mut parser = lexopt::Parser::from_iter(args);
        let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let mut options = Options {
            allowed: Vec::new(),
            time_limit: Duration::from_secs(300),
            programs: 16,
            grace: Duration::from_secs(5),
            environment: vec![("PATH".into(), path)],
            duplex: false,
        };
        while let Some(arg) = parser.next().map_err(say)? {
            match arg {
                Arg::Long("allow") => options.allowed.push(resolved(&parser.value().map_err(say)?)?),
                Arg::Long("time-limit") => {
                    options.time_limit = Duration::from_secs(number(&mut parser, "--time-limit", 86400)?);
                }
                Arg::Long("programs") => options.programs = number(&mut parser, "--programs", 1024)? as usize, // in range
                Arg::Long("grace") => options.grace = Duration::from_secs(number(&mut parser, "--grace", 86400)?),
                Arg::Long("env") => options.environment.extend(variable(&parser.value().map_err(say)?)?),
                Arg::Long("duplex") => options.duplex = true,
                Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
                other => return Err(say(other.unexpected())),
            }
        }
        Ok(Command::Serve(options))
    }
}

fn say(error: lexopt::Error) -> String {
    format!("{error} (see --help)")
}

fn resolved(path: &OsString) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|error| format!("--allow '{}': {error}", Path::new(path).display()))
}

fn number(parser: &mut lexopt::Parser, option: &str, most: u64) -> Result<u64, String> {
    let value = parser.value().and_then(|value| value.string()).map_err(say)?;
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{option} '{value}' is not a number from 1 to {most}")),
    }
}

/// A variable with the value that is given, or with ours, if we have it.
fn variable(value: &OsString) -> Result<Option<(OsString, OsString)>, String> {
    let bytes = value.as_bytes();
    let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    if name.is_empty() {
        return Err(format!("--env '{}' has no name", bytes.escape_ascii()));
    }
    let name = std::ffi::OsStr::from_bytes(name);
    let value = value.map(|value| std::ffi::OsStr::from_bytes(value).to_owned()).or_else(|| env::var_os(name));
    Ok(value.map(|value| (name.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Options::parse(["cgi-bridge"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn what_may_be_typed() {
        let Ok(Command::Serve(options)) = parse("") else { panic!("nothing is needed") };
        assert_eq!((options.allowed.len(), options.programs, options.environment.len()), (0, 16, 1));
        let line = "--allow / --allow=/usr/.. --time-limit 1 --programs 1024 --grace=7 --env A=b=c --env NO_SUCH_NAME_ --duplex";
        let Ok(Command::Serve(options)) = parse(line) else { panic!("all of it is right") };
        assert_eq!(options.allowed, [Path::new("/"), Path::new("/")]);
        assert_eq!((options.time_limit.as_secs(), options.programs, options.grace.as_secs()), (1, 1024, 7));
        assert_eq!(options.environment[1..], [("A".into(), "b=c".into())]);
        assert!(options.duplex);
        assert_eq!(parse("-h --bogus"), Ok(Command::Help));
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (line, want) in [
            ("word", "unexpected argument \"word\" (see --help)"),
            ("--time-limit 0", "--time-limit '0' is not a number from 1 to 86400"),
            ("--programs 1025", "--programs '1025' is not a number from 1 to 1024"),
            ("--grace soon", "--grace 'soon' is not a number from 1 to 86400"),
            ("--env =x", "--env '=x' has no name"),
            ("--allow /no/such/folder", "--allow '/no/such/folder': No such file or directory (os error 2)"),
        ] {
            assert_eq!(parse(line), Err(want.into()), "{line}");
        }
    }
}
