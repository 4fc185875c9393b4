//! Shows what a web server and a FastCGI application say to each other: as a recording, or live, between the two.
//!
//! In the root of a clone, after `cargo build --release`, two of the recordings that the tests use:
//!
//! ```sh
//! target/release/fcgi-dump tests/fixtures/wire/nginx-tcp-get.bin
//! target/release/fcgi-dump --json <tests/fixtures/wire/nginx-tcp-post25.bin
//! ```
//!
//! Live, in front of an application:
//!
//! ```sh
//! target/release/fcgi-spawn -s /tmp/app.sock -P /tmp/app.pid -- target/release/hello
//! target/release/fcgi-dump --listen 127.0.0.1:9001 --connect unix:/tmp/app.sock
//! # in another terminal
//! target/release/fcgi-get 127.0.0.1:9001 /hello               # Hello, World!
//! kill $(cat /tmp/app.pid)
//! ```
//!
//! - [`options`]: the command line
//! - [`proxy`]: what stands between web server and application
//! - [`socket`]: listening and connecting, over TCP and unix sockets
//! - [`trace`]: what is shown of a connection while its bytes come by
//! - [`records`]: bytes, put together to records
//! - [`requests`]: records, put together to requests
//! - [`text`], [`json`]: a record and a request as they are printed
//! - [`escape`]: bytes as text

mod escape;
mod json;
mod options;
mod proxy;
mod records;
mod requests;
mod socket;
mod text;
mod trace;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, StdoutLock, Write};
use std::process::{self, ExitCode};

use options::{Command, HELP, Source};
use trace::{Direction, Format, Trace};

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// The exit status when what was asked for cannot be done.
const FAILURE: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let done = match options::parse(std::env::args_os()) {
        Ok(Command::Help) => {
            print(|out| out.write_all(HELP.as_bytes()));
            Ok(ExitCode::SUCCESS)
        }
        Ok(Command::Dump { source: Source::Stdin, format }) => dump("standard input", io::stdin().lock(), format),
        Ok(Command::Dump { source: Source::File(path), format }) => {
            let name = format!("'{}'", path.display());
            let file = File::open(&path).map_err(|error| format!("cannot open {name}: {}", Reason(&error)));
            file.and_then(|file| dump(&name, file, format))
        }
        Ok(Command::Dump { source: Source::Proxy { listen, connect }, format }) => {
            proxy::run(&listen, connect, format).map(|never| match never {})
        }
        Err(error) => Err(error),
    };
    done.unwrap_or_else(|error| {
        eprintln!("fcgi-dump: {error}");
        FAILURE.into()
    })
}

/// Shows a recording to its end, or to where it breaks.
fn dump(name: &str, mut recording: impl Read, format: Format) -> Result<ExitCode, String> {
    let mut trace = Trace::new(format, 1);
    let mut buffer = vec![0; BUFFER];
    let mut fault = None;
    while fault.is_none() {
        let bytes = match recording.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot read {name}: {}", Reason(&error))),
        };
        fault = print(|out| trace.take(Direction::ToApplication, bytes, out));
    }
    if fault.is_none() {
        print(|out| trace.end(Direction::ToApplication, out));
    }
    print(|out| trace.finish(out));
    Ok(match fault {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            eprintln!("fcgi-dump: {name} is {fault}");
            ExitCode::FAILURE
        }
    })
}

/// Writes to standard output, with nothing of another thread in between. When that fails, nobody sees what we do any
/// more, and the program ends: without a word when the reader has left, as `head` does.
fn print<T>(write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<T>) -> T {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|done| out.flush().map(|()| done)) {
        Ok(done) => done,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            eprintln!("fcgi-dump: cannot write to standard output: {}", Reason(&error));
            process::exit(FAILURE.into());
        }
    }
}

/// Why the system refused something, in its words, without std's "(os error 2)" behind.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}
