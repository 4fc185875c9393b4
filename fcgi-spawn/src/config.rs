//! What the launcher is to do: every value present, in range and meant.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::error::Quoted;
use crate::{Error, Options};

/// What the launcher is to do.
///
/// `Config::try_from(options)` checks what was typed; [`Config::new`] starts from the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect to.
    pub address: Address,
    /// How many workers are kept running.
    pub workers: u16,
    /// Stay in the foreground and let the workers keep stdout and stderr; otherwise go to the
    /// background, where all of them have `/dev/null`. Only [`main`](crate::main) goes there.
    pub foreground: bool,
    /// Where to write the supervisor's pid, once all workers are up.
    pub pid_file: Option<PathBuf>,
    /// The pause between a worker's end and its next start.
    pub restart_delay: Duration,
    /// How long a worker may take to end after SIGTERM before it is killed.
    pub stop_timeout: Duration,
    /// The program, executed without a shell or a search in `PATH`, and its arguments.
    pub program: Vec<CString>,
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl Address {
    /// The longest path a unix socket may have, in bytes.
    pub const MAX_PATH: usize = 107;
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", Quoted(path.as_os_str())),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Config {
    /// The most workers one launcher keeps.
    pub const MAX_WORKERS: u16 = 1024;

    /// One worker behind `address`, everything else as the command line has it by default.
    pub fn new(address: Address, program: Vec<CString>) -> Self {
        Config {
            address,
            workers: 1,
            foreground: false,
            pid_file: None,
            restart_delay: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(10),
            program,
        }
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
        let address = address(&options)?;
        let mut config = Config::new(address, program(options.program)?);
        if let Some(value) = options.workers {
            config.workers = number("-F", &value, 1..=Config::MAX_WORKERS)?;
        }
        if let Some(value) = options.restart_delay {
            config.restart_delay = time("--restart-delay", &value)?;
        }
        config.foreground = options.foreground;
        config.pid_file = options.pid_file.map(PathBuf::from);
        Ok(config)
    }
}

fn address(options: &Options) -> Result<Address, Error> {
    match (&options.socket, &options.port) {
        (Some(path), None) => {
            if let Some(value) = &options.address {
                log::warn!("-a {} is ignored with -s", Quoted(value));
            }
            unix_address(path)
        }
        (None, Some(port)) => {
            let ip = match &options.address {
                Some(value) => ip_address(value)?,
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            Ok(Address::Tcp(SocketAddr::new(ip, number("-p", port, 1..=u16::MAX)?)))
        }
        (Some(_), Some(_)) => Err(Error::new("either a unix socket (-s) or a TCP port (-p), not both")),
        (None, None) => Err(Error::new("no socket given (use either -s or -p)")),
    }
}

fn unix_address(path: &OsStr) -> Result<Address, Error> {
    match path.len() {
        // The kernel would take it for "any free abstract name".
        0 => Err(invalid("-s", path, "the path is empty")),
        1..=Address::MAX_PATH => Ok(Address::Unix(path.into())),
        _ => Err(invalid("-s", path, format_args!("too long, {} bytes fit", Address::MAX_PATH))),
    }
}

fn ip_address(value: &OsStr) -> Result<IpAddr, Error> {
    whole(value).ok_or_else(|| invalid("-a", value, "not an IPv4 or IPv6 address"))
}

fn program(words: Vec<OsString>) -> Result<Vec<CString>, Error> {
    if words.is_empty() {
        return Err(Error::new("no FastCGI application given"));
    }
    let c_string = |word: OsString| {
        CString::new(word.into_vec())
            .map_err(|error| invalid("--", OsStr::from_bytes(&error.into_vec()), "has a NUL inside"))
    };
    words.into_iter().map(c_string).collect()
}

fn number(option: &str, value: &OsStr, range: RangeInclusive<u16>) -> Result<u16, Error> {
    let number = whole(value).filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (min, max) = range.into_inner();
        invalid(option, value, format_args!("not a number from {min} to {max}"))
    })
}

fn time(option: &str, value: &OsStr) -> Result<Duration, Error> {
    let time = value.to_str().and_then(duration::parse);
    time.ok_or_else(|| invalid(option, value, "not a time like 200ms, 5s or 10m"))
}

/// The value as a `T`, if it is one from its first byte to its last.
fn whole<T: FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

fn invalid(option: &str, value: &OsStr, why: impl fmt::Display) -> Error {
    Error::new(format!("{option} {}: {why}", Quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
        let options = Options::parse(words.map(OsString::from)).expect("only values are wrong");
        Config::try_from(options).map_err(|error| error.to_string())
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
        refuses("-n", "no socket given (use either -s or -p)");
        refuses("-s a -p 1", "either a unix socket (-s) or a TCP port (-p), not both");
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
    fn a_program_is_needed() {
        assert_eq!(config("-p 1"), Err("no FastCGI application given".into()));
        let program = config("-p 1 -- /bin/app -x ''").map(|config| config.program);
        assert_eq!(program, Ok(vec![c"/bin/app".into(), c"-x".into(), c"".into()]));
    }
}
