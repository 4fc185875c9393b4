//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use lexopt::{Arg, ValueExt};

pub(super) const HELP: &str = "\
Usage: http-gateway --connect ADDRESS [options]

Serves HTTP and passes every request on to a FastCGI application.

  --connect ADDRESS    where the application listens: HOST:PORT, unix:/path or
                       unix:@name (an abstract socket)
  --listen HOST:PORT   where to serve HTTP (default: the listening socket on
                       file descriptor 0 if there is one, else 127.0.0.1:8080)
  --param NAME=VALUE   send this param with every request; may be repeated
  --timeout SECONDS    how long to wait for a silent application (default 60)
  -h, --help           print this help and exit
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Help,
    Serve(Options),
}

/// How to serve.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) connect: OsString,
    pub(super) listen: Option<String>,
    pub(super) params: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) timeout: Duration,
}

impl Options {
    /// Reads the arguments, the program's own name in front; an error is one line for the user.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let mut parser = lexopt::Parser::from_iter(args);
        let (mut connect, mut listen, mut params, mut timeout) = (None, None, Vec::new(), Duration::from_secs(60));
        while let Some(arg) = parser.next().map_err(say)? {
            match arg {
                Arg::Long("connect") => connect = Some(parser.value().map_err(say)?),
                Arg::Long("listen") => listen = Some(string(&mut parser)?),
                Arg::Long("param") => params.push(param(parser.value().map_err(say)?)?),
                Arg::Long("timeout") => timeout = seconds(&string(&mut parser)?)?,
                Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
                other => return Err(say(other.unexpected())),
            }
        }
        let connect = connect.ok_or("which application? give --connect unix:/path or --connect HOST:PORT")?;
        Ok(Command::Serve(Options { connect, listen, params, timeout }))
    }
}

fn say(error: lexopt::Error) -> String {
    format!("{error} (see --help)")
}

fn string(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(say)
}

fn param(value: OsString) -> Result<(Vec<u8>, Vec<u8>), String> {
    let bytes = value.into_vec();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at @ 1..) => Ok((bytes[..at].to_vec(), bytes[at + 1..].to_vec())),
        _ => Err(format!("--param '{}' is not NAME=VALUE", bytes.escape_ascii())),
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(seconds @ 1..=86400) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("--timeout '{value}' is not a number of seconds from 1 to 86400")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Options::parse(["http-gateway"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn what_may_be_typed() {
        let bare =
            Options { connect: "unix:/s".into(), listen: None, params: vec![], timeout: Duration::from_secs(60) };
        assert_eq!(parse("--connect unix:/s"), Ok(Command::Serve(bare)));
        let full = Options {
            connect: "h:1".into(),
            listen: Some("[::1]:80".into()),
            params: vec![(b"A".to_vec(), b"b=c".to_vec()), (b"D".to_vec(), vec![])],
            timeout: Duration::from_secs(5),
        };
        assert_eq!(
            parse("--listen=[::1]:80 --param A=b=c --connect h:1 --param D= --timeout 5"),
            Ok(Command::Serve(full))
        );
        assert_eq!(parse("-h --bogus"), Ok(Command::Help));
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (line, want) in [
            ("", "which application? give --connect unix:/path or --connect HOST:PORT"),
            ("--connect", "missing argument for option '--connect' (see --help)"),
            ("--bogus", "invalid option '--bogus' (see --help)"),
            ("word", "unexpected argument \"word\" (see --help)"),
            ("--param =x", "--param '=x' is not NAME=VALUE"),
            ("--timeout 0", "--timeout '0' is not a number of seconds from 1 to 86400"),
        ] {
            assert_eq!(parse(line), Err(want.into()), "{line}");
        }
    }
}
