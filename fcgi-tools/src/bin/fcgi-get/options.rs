//! The command line, and the request it means.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use fcgi_proto::Role;
use lexopt::{Arg, Parser};

use super::body::Body;
use super::request::{Params, Request};
use super::{Target, usage};
use crate::duration;
use crate::error::{Error, Quoted, Reason};

/// How long the whole of it may take by default.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What was typed.
#[derive(Debug, Default)]
pub(super) struct Options {
    method: Option<OsString>,
    data: Vec<OsString>,
    file: Option<OsString>,
    params: Vec<OsString>,
    role: Option<OsString>,
    timeout: Option<OsString>,
    pub(super) include: bool,
    pub(super) get_values: bool,
    pub(super) version: bool,
    pub(super) help: bool,
    words: Vec<OsString>,
}

/// Behind the usage and the first sentence.
const HELP: &str = "
The request:
  -X, --method METHOD        GET, or POST with -d
  -d, --data DATA            the body; @FILE reads it from there, @- from stdin
      --param NAME=VALUE     one more param, or another value of one
      --role ROLE            responder (default), authorizer or filter
      --file FILE            what a filter is to filter
      --get-values           ask for the application's capacities instead

The answer:
  -i, --include              print its header section, too
      --timeout TIME         when to give up, or off (default 60s)

This program:
  -v, --version              print the version
  -h, -?, --help             print this help
";

impl Options {
    /// Options before and behind the other words, until `--`; nothing is read behind `--help` or `--version`.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut options = Options::default();
        let mut parser = Parser::from_args(args.into_iter().collect::<Vec<_>>());
        // To getopt the value of `-d=x` is "=x".
        parser.set_short_equals(false);
        while let Some(arg) = parser.next().map_err(refused)? {
            match arg {
                Arg::Short('X') | Arg::Long("method") => options.method = Some(parser.value().map_err(refused)?),
                Arg::Short('d') | Arg::Long("data") => options.data.push(parser.value().map_err(refused)?),
                Arg::Long("param") => options.params.push(parser.value().map_err(refused)?),
                Arg::Long("role") => options.role = Some(parser.value().map_err(refused)?),
                Arg::Long("file") => options.file = Some(parser.value().map_err(refused)?),
                Arg::Long("get-values") => options.get_values = true,
                Arg::Short('i') | Arg::Long("include") => options.include = true,
                Arg::Long("timeout") => options.timeout = Some(parser.value().map_err(refused)?),
                Arg::Short('v') | Arg::Long("version") => options.version = true,
                Arg::Short('h' | '?') | Arg::Long("help") => options.help = true,
                Arg::Value(word) => options.words.push(word),
                unknown => return Err(refused(unknown.unexpected())),
            }
            if options.help || options.version {
                break;
            }
        }
        Ok(options)
    }

    pub(super) fn help() -> String {
        format!(
            "Usage: fcgi-get [options] TARGET [PATH[?QUERY]]\n\n\
             Sends one FastCGI request to HOST:PORT, [IPV6]:PORT or unix:PATH, and prints the body of the answer.\n\
             {HELP}\n\
             Exit status: 0 below 400, 22 above, 7 no connection, 28 too late, 1 no proper answer, 2 wrong usage.\n"
        )
    }

    pub(super) fn target(&self) -> Result<Target, Error> {
        match &self.words[..] {
            [] => Err(usage("no target given (HOST:PORT, [IPV6]:PORT or unix:PATH)")),
            [target] | [target, _] => Target::parse(target),
            [_, _, more, ..] => Err(usage(format!("{}: one target and one path are all", Quoted(more)))),
        }
    }

    pub(super) fn timeout(&self) -> Result<Option<Duration>, Error> {
        let Some(value) = &self.timeout else { return Ok(Some(TIMEOUT)) };
        if value == "off" {
            return Ok(None);
        }
        let time = value
            .to_str()
            .and_then(duration::parse)
            .ok_or_else(|| usage(format!("--timeout {}: not a time like 200ms, 5s or 10m, or off", Quoted(value))))?;
        Ok(Some(time).filter(|time| !time.is_zero()))
    }

    pub(super) fn request(self) -> Result<Request, Error> {
        let role = self.role()?;
        let method = self.method()?;
        let (body, file) = (self.body(role, &method)?, self.file(role)?);
        let path = self.words.get(1).map_or(&b"/"[..], |path| path.as_bytes());
        let mut params = Params::new(&method, path);
        if let Some(file) = &file {
            params.set(b"FCGI_DATA_LAST_MOD", file.modified.to_string().as_bytes());
            params.set(b"FCGI_DATA_LENGTH", file.length.to_string().as_bytes());
        }
        Ok(Request { role, params, overrides: self.overrides()?, body, data: file.map(|file| file.body) })
    }

    fn role(&self) -> Result<Role, Error> {
        let Some(value) = &self.role else { return Ok(Role::Responder) };
        match value.as_bytes() {
            b"responder" => Ok(Role::Responder),
            b"authorizer" => Ok(Role::Authorizer),
            b"filter" => Ok(Role::Filter),
            _ => Err(usage(format!("--role {}: not responder, authorizer or filter", Quoted(value)))),
        }
    }

    fn method(&self) -> Result<Vec<u8>, Error> {
        match &self.method {
            None if self.data.is_empty() => Ok(b"GET".to_vec()),
            None => Ok(b"POST".to_vec()),
            Some(method) if !method.is_empty() && method.as_bytes().iter().all(u8::is_ascii_graphic) => {
                Ok(method.as_bytes().to_vec())
            }
            Some(method) => Err(usage(format!("-X {}: not a method", Quoted(method)))),
        }
    }

    /// Input is read only where it is clearly meant: a health check in a script's loop must not eat the script's.
    fn body(&self, role: Role, method: &[u8]) -> Result<Option<Body>, Error> {
        let from = |data: &OsStr| data.as_bytes().strip_prefix(b"@").map(|name| OsStr::from_bytes(name).to_owned());
        if role == Role::Authorizer {
            let given = self.data.first().map(|_| usage("-d: an authorizer is sent no body"));
            return given.map_or(Ok(None), Err);
        }
        match &self.data[..] {
            [] if matches!(method, b"POST" | b"PUT" | b"PATCH") && !io::stdin().is_terminal() => {
                Body::stdin().map(Some)
            }
            [] => Ok(None),
            [data] => match from(data) {
                Some(name) if name == "-" => Body::stdin().map(Some),
                Some(name) => open("-d", &name).and_then(Body::file).map(Some),
                None => Ok(Some(Body::bytes(data.as_bytes().to_vec()))),
            },
            several if several.iter().any(|data| from(data).is_some()) => Err(usage("-d: only one, if it is a file")),
            several => Ok(Some(Body::bytes(several.join(OsStr::new("&")).into_vec()))),
        }
    }

    fn file(&self, role: Role) -> Result<Option<FilterFile>, Error> {
        match (&self.file, role) {
            (None, Role::Filter) => Err(usage("--file: a filter needs something to filter")),
            (Some(name), Role::Filter) => FilterFile::open(name).map(Some),
            (Some(_), _) => Err(usage("--file: only a filter is sent one")),
            (None, _) => Ok(None),
        }
    }

    fn overrides(&self) -> Result<Params, Error> {
        let mut params = Params::default();
        for param in &self.params {
            let bytes = param.as_bytes();
            match bytes.iter().position(|&byte| byte == b'=') {
                None | Some(0) => return Err(usage(format!("--param {}: not NAME=VALUE", Quoted(param)))),
                Some(at) => params.set(&bytes[..at], &bytes[at + 1..]),
            }
        }
        Ok(params)
    }
}

fn refused(error: lexopt::Error) -> Error {
    usage(error.to_string())
}

/// What a filter is to filter.
struct FilterFile {
    body: Body,
    length: u64,
    modified: u64,
}

impl FilterFile {
    fn open(name: &OsStr) -> Result<Self, Error> {
        let file = open("--file", name)?;
        let about = file.metadata().ok().filter(|about| about.is_file());
        let about = about.ok_or_else(|| usage(format!("--file {}: not a regular file", Quoted(name))))?;
        Ok(FilterFile { body: Body::file(file)?, length: about.len(), modified: unwrapped(about.mtime()) })
    }
}

/// Seconds since 1970 that are negative where a `long` has 32 bits only because they are past January 2038: without a sign
/// they last until 2106.
fn unwrapped(seconds: i64) -> u64 {
    let is_short = size_of::<libc::c_long>() == 4;
    u64::try_from(seconds).unwrap_or(if is_short { u64::from(seconds as u32) } else { 0 })
}

fn open(option: &str, name: &OsStr) -> Result<File, Error> {
    File::open(name).map_err(|error| usage(format!("{option} {}: {}", Quoted(name), Reason(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(line: &str, message: &str) {
        let options = Options::parse(line.split(' ').map(OsString::from));
        let request = options.and_then(|options| {
            options.target()?;
            options.timeout()?;
            options.request()
        });
        let error = request.expect_err(line);
        assert_eq!((error.to_string(), error.exit_status()), (message.into(), 2), "{line}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        refuses("--bogus", "invalid option '--bogus'");
        refuses("-i", "no target given (HOST:PORT, [IPV6]:PORT or unix:PATH)");
        refuses("a:1 / more", "'more': one target and one path are all");
        refuses("a:1 --timeout soon", "--timeout 'soon': not a time like 200ms, 5s or 10m, or off");
        refuses("a:1 --role judge", "--role 'judge': not responder, authorizer or filter");
        refuses("a:1 --role authorizer -d x", "-d: an authorizer is sent no body");
        refuses("a:1 --role filter", "--file: a filter needs something to filter");
        refuses("a:1 --file /etc/passwd", "--file: only a filter is sent one");
        refuses("a:1 --role filter --file /dev/null", "--file '/dev/null': not a regular file");
        refuses("a:1 --param NAME", "--param 'NAME': not NAME=VALUE");
        refuses("a:1 --param =x", "--param '=x': not NAME=VALUE");
        refuses("a:1 -d @/missing", "-d '/missing': No such file or directory");
        refuses("a:1 -d a -d @/etc/passwd", "-d: only one, if it is a file");
        refuses("a:1 -X ", "-X '': not a method");
    }

    /// What was typed, as far as it can be compared.
    fn typed(line: &str) -> String {
        let options = Options::parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from));
        format!("{:?}", options.expect(line))
    }

    type Set = fn(&mut Options);

    /// A row for each option: its long name, its letters, and what it sets.
    #[test]
    fn each_option_by_each_of_its_names() {
        let value: [(&str, &str, Set); 6] = [
            ("method", "X", |o| o.method = Some("x".into())),
            ("data", "d", |o| o.data = vec!["x".into()]),
            ("param", "", |o| o.params = vec!["x".into()]),
            ("role", "", |o| o.role = Some("x".into())),
            ("file", "", |o| o.file = Some("x".into())),
            ("timeout", "", |o| o.timeout = Some("x".into())),
        ];
        let flag: [(&str, &str, Set); 4] = [
            ("get-values", "", |o| o.get_values = true),
            ("include", "i", |o| o.include = true),
            ("version", "v", |o| o.version = true),
            ("help", "h?", |o| o.help = true),
        ];
        let check = |line: String, set: Set| {
            let mut want = Options::default();
            set(&mut want);
            assert_eq!(typed(&line), format!("{want:?}"), "{line}");
        };
        for (long, letters, set) in value {
            for letter in letters.chars() {
                check(format!("-{letter} x"), set);
                check(format!("-{letter}x"), set);
            }
            check(format!("--{long} x"), set);
            check(format!("--{long}=x"), set);
        }
        for (long, letters, set) in flag {
            letters.chars().for_each(|letter| check(format!("-{letter}"), set));
            check(format!("--{long}"), set);
        }
        let mut named: Vec<_> = value.iter().chain(&flag).map(|row| (row.0, row.1.to_owned())).collect();
        // In the help `-h, -?, --help` is ("help", "h?").
        let spellings = |line: &'static str| {
            let words = line.split_ascii_whitespace().map(|word| word.trim_end_matches(','));
            words.take_while(|word| word.starts_with('-')).collect::<Vec<_>>()
        };
        let in_help = |line| {
            let spellings: Vec<&str> = spellings(line);
            let (long, letters) = spellings.split_last()?;
            Some((long.strip_prefix("--")?, letters.concat().replace('-', "")))
        };
        let mut all: Vec<_> = HELP.lines().filter_map(in_help).collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn the_time_may_be_off() {
        let timeout = |value: Option<&str>| {
            let options = Options { timeout: value.map(OsString::from), ..Options::default() };
            options.timeout().expect("a proper time")
        };
        assert_eq!((timeout(Some("off")), timeout(Some("0"))), (None, None));
        assert_eq!(timeout(Some("200ms")), Some(Duration::from_millis(200)));
        assert_eq!(timeout(None), Some(TIMEOUT));
    }

    #[test]
    fn the_help_has_short_lines() {
        let help = Options::help();
        assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    }

    #[test]
    fn seconds_after_2038_are_not_before_1970() {
        assert_eq!(unwrapped(2_147_483_647), 2_147_483_647);
        assert_eq!(unwrapped(4_000_000_000), 4_000_000_000);
        let first_second_after = i32::MIN.into();
        assert_eq!(unwrapped(first_second_after), if cfg!(target_pointer_width = "32") { 2_147_483_648 } else { 0 });
    }
}
