//! `fcgi-get`: one FastCGI request from the command line, with an exit status for scripts and monitors.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | answered with a status below 400; the application's values with `--get-values` |
//! | 1 | the response was broken off or is no FastCGI, or the application refused the request |
//! | 2 | the command line makes no sense, or the body cannot be read |
//! | 7 | no connection |
//! | 22 | answered with a status of 400 or more |
//! | 28 | not answered in time |

mod answer;
mod body;
mod duration;
mod error;
mod options;
mod request;
mod sender;
mod sys;
mod target;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use fcgi_proto::{ProtocolError, ResponseDecoder, ResponseEvent, Values};
use socket2::Socket;

use answer::Answer;
use duration::Human;
use error::{Error, Reason};
use options::Options;
use request::ID;
use sender::Sender;
use target::Target;

/// In front of each message.
const NAME: &str = "fcgi-get";

/// Read from the connection at once.
const BUFFER: usize = 64 * 1024;

/// Wrong words on the command line.
fn usage(message: impl Into<String>) -> Error {
    Error::new(2, message)
}

/// No proper answer.
fn protocol(message: impl Into<String>) -> Error {
    Error::new(1, message)
}

fn main() -> ExitCode {
    let status = get(std::env::args_os().skip(1)).unwrap_or_else(|error| {
        // In one piece, so that lines of several processes do not mix.
        let _ = io::stderr().write_all(format!("{NAME}: {error}\n").as_bytes());
        error.exit_status()
    });
    ExitCode::from(status)
}

/// Writes the body of the answer to stdout and what the application logs to stderr, and returns the exit status. When
/// the time is over it ends the process, by SIGALRM.
fn get(args: impl Iterator<Item = OsString>) -> Result<u8, Error> {
    let options = Options::parse(args)?;
    if options.help {
        return print(Options::help().as_bytes());
    }
    if options.version {
        return print(concat!("fcgi-get ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    }
    let target = options.target()?;
    let timeout = options.timeout()?;

    if let Some(timeout) = timeout {
        let late = format!("{NAME}: no complete answer after {}\n", Human(timeout));
        sys::end_after(timeout, late, 28);
    }

    let include = options.include;
    let request = if options.get_values { None } else { Some(options.request()?) };
    let connection =
        target.connect().map_err(|error| Error::new(7, format!("cannot connect to {target}: {}", Reason(&error))))?;
    // What it does not take at once waits, while what it says is read.
    connection.set_nonblocking(true).map_err(|error| lost(&error))?;
    let Some(request) = request else { return get_values(&connection) };
    let mut sender = Sender::request(request);
    let answer = read_answer(&connection, &mut sender, include);
    match sender.failed() {
        Some(error) if answer.is_err() => Err(error),
        _ => answer,
    }
}

/// Copies the answer while it comes, and judges by its status.
fn read_answer(connection: &Socket, sender: &mut Sender, include: bool) -> Result<u8, Error> {
    let mut answer = Answer::new(io::stdout().lock(), include);
    let end = each_event(connection, sender, |event| match event {
        ResponseEvent::Stdout { id: ID, content } => answer.stdout(content).map(|()| None),
        ResponseEvent::StdoutEnd { id: ID } => {
            answer.stdout_end();
            Ok(None)
        }
        ResponseEvent::Stderr { id: ID, content } => {
            let _ = io::stderr().write_all(content);
            Ok(None)
        }
        ResponseEvent::StderrEnd { id: ID } => Ok(None),
        ResponseEvent::End { id: ID, end } => Ok(Some(end)),
        ResponseEvent::Values(_) | ResponseEvent::UnknownType(_) => Ok(None),
        _ => Err(protocol("the application answers a request that it was not sent")),
    });
    match end {
        Ok(end) => answer.end(end),
        Err(Stopped::Cut(how)) => Err(protocol(format!("{how}: {}", answer.came()))),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

/// Asks for the application's capacities and prints them.
fn get_values(connection: &Socket) -> Result<u8, Error> {
    let values = each_event(connection, &mut Sender::record(&Values::QUERY), |event| match event {
        ResponseEvent::Values(values) => Ok(Some(values)),
        ResponseEvent::UnknownType(_) => Err(protocol("the application does not know FCGI_GET_VALUES")),
        _ => Err(protocol("the application answers what was not asked")),
    });
    let values = values.map_err(|stopped| match stopped {
        Stopped::Cut(how) => protocol(how),
        Stopped::Failed(error) => error,
    })?;
    let mut text = String::new();
    for (name, value) in [
        ("FCGI_MAX_CONNS", values.max_conns),
        ("FCGI_MAX_REQS", values.max_reqs),
        ("FCGI_MPXS_CONNS", values.mpxs_conns.map(u32::from)),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    print(text.as_bytes())
}

/// Why no more of a response is read.
enum Stopped {
    /// The application ended it before its end; how, for the user.
    Cut(String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Failed(error)
    }
}

/// What bytes that are no record mean. fcgi-app sends zeros, which no record begins with, to break a response off.
impl From<ProtocolError> for Stopped {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Version(0) => Stopped::Cut("the application broke the response off".into()),
            error => Stopped::Failed(protocol(error.to_string())),
        }
    }
}

/// Sends, and reads until `on_event` has what it looks for.
fn each_event<T>(
    mut connection: &Socket,
    sender: &mut Sender,
    mut on_event: impl FnMut(ResponseEvent<'_>) -> Result<Option<T>, Error>,
) -> Result<T, Stopped> {
    let mut decoder = ResponseDecoder::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        sender.until_readable(connection)?;
        let count = match connection.read(&mut buffer) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => {
                let why = Reason(&error);
                return Err(Stopped::Cut(format!("the connection was lost before the end of the response ({why})")));
            }
            Ok(count) => count,
        };
        if count == 0 {
            let how = "the application closed the connection before the end of the response";
            return Err(Stopped::Cut(how.into()));
        }
        let mut input = &buffer[..count];
        while let Some(event) = decoder.next(&mut input)? {
            if let Some(found) = on_event(event)? {
                return Ok(found);
            }
        }
    }
}

fn lost(why: &io::Error) -> Error {
    protocol(format!("the connection was lost before the end of the answer: {}", Reason(why)))
}

fn print(text: &[u8]) -> Result<u8, Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(|error| not_printed(&error))?;
    Ok(0)
}

fn not_printed(why: &io::Error) -> Error {
    protocol(format!("cannot write to stdout: {}", Reason(why)))
}
