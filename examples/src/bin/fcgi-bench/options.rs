//! The command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fcgi_app::Address;
use lexopt::{Arg, ValueExt};

pub(super) const HELP: &str = "\
Usage: fcgi-bench [options] ADDRESS

Sends requests to the FastCGI application that listens at HOST:PORT, [V6]:PORT,
unix:/path or unix:@name (an abstract socket), checks the answers, and says how
many came and how fast.

How many:
  -n REQUESTS          so many requests (10000, unless there is a -t)
  -t SECONDS           begin requests for so long
  -c CONNECTIONS       connections at the same time, a thread each (1)
  --kept               one request after the other on each connection; this is
                       how it is done by default
  --per-request        a connection for each request
  --multiplex N        N requests at the same time on each connection
  --pause MILLISECONDS let a connection rest after its answers (0)

What is sent: what nginx makes of a browser's request, 26 params, with
  --script NAME        SCRIPT_NAME and what follows from it (/)
  --param NAME=VALUE   one more param, or another value; may be repeated
  --body BYTES|@FILE   a POST with so many bytes, or those of a file

What is right: appStatus 0, a body as long as its Content-Length, if there is
one, and what follows; everything else is unchecked
  --status N           this status (200)
  --expect TEXT|@FILE  exactly this body
  --expect length=N    a body of N bytes
  --expect-echo        the body that was sent
  --timeout SECONDS    an answer later than that is none (30)

  --json               the summary as JSON
  --progress           a line a second on standard error, as on terminals
  -h, --help           print this help and exit

A kept connection is used again only if the application has not closed it. If it
closes it before any byte of the answer, the request is sent once more on
another connection; these retries are counted. When nobody has accepted a
connection for 2 seconds the run ends.

Exit status: 0 all answers were right, 1 some were not, 2 nothing could be sent.
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Help,
    Run(Box<Options>),
}

/// What was asked for; files are yet to be read.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) address: Address,
    pub(super) requests: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) connections: usize,
    pub(super) mode: Mode,
    pub(super) pause: Duration,
    pub(super) script: String,
    pub(super) params: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Option<Body>,
    pub(super) status: u16,
    pub(super) expect: Expect,
    pub(super) timeout: Duration,
    pub(super) json: bool,
    pub(super) progress: bool,
}

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Kept,
    PerRequest,
    Multiplex(u16),
}

/// The body to send.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Bytes(usize),
    File(PathBuf),
}

/// The body to expect.
#[derive(Debug, PartialEq)]
pub(super) enum Expect {
    Anything,
    Text(Vec<u8>),
    File(PathBuf),
    Length(u64),
    Echo,
}

impl Options {
    /// Reads the arguments, the program's own name in front; an error is one line for the user.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let mut parser = lexopt::Parser::from_iter(args);
        let mut address = None;
        let (mut requests, mut time, mut connections, mut mode) = (None, None, 1, Mode::Kept);
        let mut pause = Duration::ZERO;
        let (mut script, mut params, mut body) = ("/".to_owned(), Vec::new(), None);
        let (mut status, mut expect, mut timeout) = (200, Expect::Anything, Duration::from_secs(30));
        let (mut json, mut progress) = (false, false);
        while let Some(arg) = parser.next().map_err(say)? {
            match arg {
                Arg::Short('n') => requests = Some(number(&mut parser, "-n", 1, u64::MAX)?),
                Arg::Short('t') => time = Some(seconds(&mut parser, "-t")?),
                Arg::Short('c') => connections = number(&mut parser, "-c", 1, 4096)?,
                Arg::Long("kept") => mode = Mode::Kept,
                Arg::Long("per-request") => mode = Mode::PerRequest,
                Arg::Long("multiplex") => mode = Mode::Multiplex(number(&mut parser, "--multiplex", 1, 1000)?),
                Arg::Long("pause") => {
                    pause = Duration::from_millis(number(&mut parser, "--pause", 0, 60_000)?);
                }
                Arg::Long("script") => script = parser.value().and_then(|value| value.string()).map_err(say)?,
                Arg::Long("param") => params.push(param(parser.value().map_err(say)?)?),
                Arg::Long("body") => body = Some(Body::parse(&parser.value().map_err(say)?)?),
                Arg::Long("status") => status = number(&mut parser, "--status", 100, 999)?,
                Arg::Long("expect") => expect = Expect::parse(parser.value().map_err(say)?)?,
                Arg::Long("expect-echo") => expect = Expect::Echo,
                Arg::Long("timeout") => timeout = seconds(&mut parser, "--timeout")?,
                Arg::Long("json") => json = true,
                Arg::Long("progress") => progress = true,
                Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
                Arg::Value(text) if address.is_none() => {
                    let parsed = Address::parse(&text);
                    address = Some(parsed.map_err(|error| format!("'{}': {error}", text.to_string_lossy()))?);
                }
                other => return Err(say(other.unexpected())),
            }
        }
        let address = address.ok_or("which application? give its address: unix:/path or HOST:PORT (see --help)")?;
        if requests.is_none() && time.is_none() {
            requests = Some(10_000);
        }
        Ok(Command::Run(Box::new(Self {
            address,
            requests,
            time,
            connections,
            mode,
            pause,
            script,
            params,
            body,
            status,
            expect,
            timeout,
            json,
            progress,
        })))
    }
}

impl Mode {
    /// Requests at the same time on a connection.
    pub(super) fn at_once(self) -> u16 {
        match self {
            Self::Kept | Self::PerRequest => 1,
            Self::Multiplex(n) => n,
        }
    }

    /// Whether connections are used again.
    pub(super) fn keeps(self) -> bool {
        self != Self::PerRequest
    }
}

impl Body {
    fn parse(value: &OsStr) -> Result<Self, String> {
        if let Some(path) = value.as_bytes().strip_prefix(b"@") {
            return Ok(Self::File(OsStr::from_bytes(path).into()));
        }
        match value.to_str().and_then(|text| text.parse().ok()) {
            Some(bytes @ 0..=1_073_741_824) => Ok(Self::Bytes(bytes)),
            _ => Err(format!("--body '{}' is no number up to 1073741824, nor @FILE", value.to_string_lossy())),
        }
    }
}

impl Expect {
    fn parse(value: OsString) -> Result<Self, String> {
        let bytes = value.as_bytes();
        if let Some(path) = bytes.strip_prefix(b"@") {
            return Ok(Self::File(OsStr::from_bytes(path).into()));
        }
        match value.to_str().and_then(|text| text.strip_prefix("length=")) {
            Some(length) => match length.parse() {
                Ok(length) => Ok(Self::Length(length)),
                Err(_) => Err(format!("--expect 'length={length}' has no number")),
            },
            None => Ok(Self::Text(value.into_vec())),
        }
    }
}

fn say(error: lexopt::Error) -> String {
    format!("{error} (see --help)")
}

fn number<T>(parser: &mut lexopt::Parser, option: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Copy + std::fmt::Display,
{
    let text = parser.value().and_then(|value| value.string()).map_err(say)?;
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{option} '{text}' is not a number from {least} to {most}")),
    }
}

fn seconds(parser: &mut lexopt::Parser, option: &str) -> Result<Duration, String> {
    number(parser, option, 1, 86_400).map(Duration::from_secs)
}

fn param(value: OsString) -> Result<(Vec<u8>, Vec<u8>), String> {
    let bytes = value.into_vec();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at @ 1..) => Ok((bytes[..at].to_vec(), bytes[at + 1..].to_vec())),
        _ => Err(format!("--param '{}' is not NAME=VALUE", bytes.escape_ascii())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Options::parse(["fcgi-bench"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    fn bare() -> Options {
        Options {
            address: Address::Unix("/s".into()),
            requests: Some(10_000),
            time: None,
            connections: 1,
            mode: Mode::Kept,
            pause: Duration::ZERO,
            script: "/".into(),
            params: vec![],
            body: None,
            status: 200,
            expect: Expect::Anything,
            timeout: Duration::from_secs(30),
            json: false,
            progress: false,
        }
    }

    #[track_caller]
    fn check(line: &str, want: Options) {
        assert_eq!(parse(line), Ok(Command::Run(Box::new(want))), "{line}");
    }

    #[test]
    fn what_may_be_typed() {
        check("unix:/s", bare());
        let time = Some(Duration::from_secs(5));
        check("-t 5 unix:/s", Options { time, requests: None, ..bare() });
        check("unix:/s -t5 -n7", Options { time, requests: Some(7), ..bare() });
        check("-c 8 --per-request unix:/s", Options { connections: 8, mode: Mode::PerRequest, ..bare() });
        check("--per-request --kept unix:/s", bare());
        check("--multiplex 9 unix:/s", Options { mode: Mode::Multiplex(9), ..bare() });
        check("--pause 20 unix:/s", Options { pause: Duration::from_millis(20), ..bare() });
        check(
            "--body 12 --expect-echo unix:/s",
            Options { body: Some(Body::Bytes(12)), expect: Expect::Echo, ..bare() },
        );
        let (body, expect) = (Some(Body::File("/b".into())), Expect::File("c".into()));
        check("--body @/b --expect @c unix:/s", Options { body, expect, ..bare() });
        check("--expect length=3 --status 404 unix:/s", Options { expect: Expect::Length(3), status: 404, ..bare() });
        let params = vec![(b"A".to_vec(), b"b=c".to_vec()), (b"D".to_vec(), vec![])];
        check("--param A=b=c --param D= unix:/s", Options { params, ..bare() });
        let (expect, script) = (Expect::Text(b"x".into()), "/a".to_owned());
        check("--expect x --script /a unix:/s", Options { expect, script, ..bare() });
        let timeout = Duration::from_secs(1);
        check("--timeout 1 --json --progress unix:/s", Options { timeout, json: true, progress: true, ..bare() });
        assert_eq!(parse("-h --bogus"), Ok(Command::Help));
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (line, want) in [
            ("", "which application? give its address: unix:/path or HOST:PORT (see --help)"),
            ("/run/app.sock", "'/run/app.sock': expected HOST:PORT, [V6]:PORT, unix:/path or unix:@name"),
            ("unix:/a unix:/b", "unexpected argument \"unix:/b\" (see --help)"),
            ("--bogus", "invalid option '--bogus' (see --help)"),
            ("-n 0", "-n '0' is not a number from 1 to 18446744073709551615"),
            ("-c 4097", "-c '4097' is not a number from 1 to 4096"),
            ("-t x", "-t 'x' is not a number from 1 to 86400"),
            ("--pause 60001", "--pause '60001' is not a number from 0 to 60000"),
            ("--multiplex 0", "--multiplex '0' is not a number from 1 to 1000"),
            ("--status 99", "--status '99' is not a number from 100 to 999"),
            ("--body x", "--body 'x' is no number up to 1073741824, nor @FILE"),
            ("--expect length=x", "--expect 'length=x' has no number"),
            ("--param =x", "--param '=x' is not NAME=VALUE"),
        ] {
            assert_eq!(parse(line), Err(want.into()), "{line}");
        }
    }
}
