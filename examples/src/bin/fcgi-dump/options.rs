//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use fcgi_app::Address;
use lexopt::Arg;

use super::trace::Format;

pub(super) const HELP: &str = "\
Usage: fcgi-dump [--json] [FILE]
       fcgi-dump [--json] --listen ADDRESS --connect ADDRESS

Shows what web servers and FastCGI applications say to each other: the recorded
input of an application, from FILE or standard input, or live, between the two.

  --json               a line of JSON for each request instead of lines of text
                       for each record
  --listen ADDRESS     take a web server's connections here ...
  --connect ADDRESS    ... and pass them on to the application there, unchanged
  -h, --help           print this help and exit

An ADDRESS is HOST:PORT, [V6]:PORT, unix:/path or unix:@name (abstract socket).
In the text > goes to the application and < to the web server.

Exit status: 0, 1 when a recording is broken, 2 when something else went wrong.
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Help,
    Dump { source: Source, format: Format },
}

/// Where the bytes come from.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
    Proxy { listen: Address, connect: Address },
}

/// Reads the arguments, the program's own name in front; an error is one line for the user.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_iter(args);
    let (mut format, mut file, mut listen, mut connect) = (Format::Text, None, None, None);
    while let Some(arg) = parser.next().map_err(say)? {
        match arg {
            Arg::Long("json") => format = Format::Json,
            Arg::Long("listen") => listen = Some(address("--listen", &mut parser)?),
            Arg::Long("connect") => connect = Some(address("--connect", &mut parser)?),
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Value(path) if file.is_none() => file = Some(path),
            other => return Err(say(other.unexpected())),
        }
    }
    let source = match (file, listen, connect) {
        (None, Some(listen), Some(connect)) => Source::Proxy { listen, connect },
        (Some(path), None, None) if path != "-" => Source::File(path.into()),
        (_, None, None) => Source::Stdin,
        (Some(_), _, _) => return Err("a FILE is a recording: it goes with neither --listen nor --connect".into()),
        (None, Some(_), None) => return Err("which application? --listen goes with --connect".into()),
        (None, None, Some(_)) => return Err("for which web server? --connect goes with --listen".into()),
    };
    Ok(Command::Dump { source, format })
}

fn address(option: &str, parser: &mut lexopt::Parser) -> Result<Address, String> {
    let value = parser.value().map_err(say)?;
    Address::parse(&value).map_err(|error| format!("{option} '{}': {error}", value.to_string_lossy()))
}

fn say(error: lexopt::Error) -> String {
    format!("{error} (see --help)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        super::parse(["fcgi-dump"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[track_caller]
    fn check(line: &str, source: Source, format: Format) {
        assert_eq!(parse(line), Ok(Command::Dump { source, format }), "{line}");
    }

    #[test]
    fn what_may_be_typed() {
        check("", Source::Stdin, Format::Text);
        check("- --json", Source::Stdin, Format::Json);
        check("a.bin", Source::File("a.bin".into()), Format::Text);
        check("-- --json", Source::File("--json".into()), Format::Text);
        check(
            "--listen [::1]:9000 --json --connect=unix:/run/app",
            Source::Proxy { listen: Address::Tcp("[::1]:9000".into()), connect: Address::Unix("/run/app".into()) },
            Format::Json,
        );
        assert_eq!(parse("x -h --bogus"), Ok(Command::Help));
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (line, want) in [
            ("--bogus", "invalid option '--bogus' (see --help)"),
            ("a b", "unexpected argument \"b\" (see --help)"),
            ("--listen", "missing argument for option '--listen' (see --help)"),
            ("--listen 9000", "--listen '9000': expected HOST:PORT, [V6]:PORT, unix:/path or unix:@name"),
            ("--listen h:1", "which application? --listen goes with --connect"),
            ("--connect h:1", "for which web server? --connect goes with --listen"),
            ("x --listen h:1", "a FILE is a recording: it goes with neither --listen nor --connect"),
        ] {
            assert_eq!(parse(line), Err(want.into()), "{line}");
        }
    }
}
