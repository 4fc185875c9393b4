//! Answers with what it was asked, in all three roles: the reference that tests of the runtime speak to.
//!
//! | role | answer |
//! |---|---|
//! | Responder | each param as `NAME=VALUE` and a line feed, an empty line, the body |
//! | Authorizer | 200 with `Variable-ECHO: yes` if `AUTH_OK` is `1`, else 403 |
//! | Filter | as the Responder, then the data |
//!
//! A body or data shorter or longer than promised is answered 400. Nothing is sent before all of it came, which takes
//! 1 MiB of memory and a temporary file for what is more: some web servers stop sending when the answer begins.
//!
//! | param | |
//! |---|---|
//! | `ECHO_SLEEP_MS=n` | first, sleeps so many milliseconds |
//! | `ECHO_STDERR=text` | writes the text to the web server's error log |
//! | `ECHO_STATUS=n` | sets the appStatus |
//! | `ECHO_PANIC=1` | panics |
//! | `ECHO_EARLY=1` | answers without reading the body |
//!
//! With `FCGI_MULTIPLEX=1` in its environment it takes many requests at once on a connection.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! target/release/fcgi-spawn -n -s /tmp/echo.sock -- target/release/echo
//! # in another terminal
//! target/release/fcgi-get -d 'a body' unix:/tmp/echo.sock /page                   # a body
//! target/release/fcgi-get -i --role authorizer --param AUTH_OK=1 \
//!     unix:/tmp/echo.sock /page                                                   # Variable-ECHO: yes
//! target/release/fcgi-get --role filter --file LICENSE-MIT unix:/tmp/echo.sock /  # MIT License
//! ```

use std::env;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Body, HandlerError, Request, Response, Roles, Server, Start, Waited};
use tempfile::{SpooledTempFile, spooled_tempfile};

/// How much of a body is kept in memory, in bytes.
const IN_MEMORY: usize = 1 << 20;

fn main() -> fcgi_app::Result {
    fcgi_app::log_to_stderr();
    let roles = Roles::new().responder(respond).authorizer(authorize).filter(filter);
    match Start::find(None)? {
        Start::Listening(listener) => {
            let multiplex = env::var_os("FCGI_MULTIPLEX").is_some_and(|value| value == "1");
            Server::new(listener)?.multiplex(multiplex).stop_on_signals(true).serve(roles)?;
        }
        Start::Cgi(request) => process::exit(request.serve(roles)?.into()),
    }
    Ok(())
}

fn respond(request: &Request, body: &mut Body, out: &mut Response) -> Result<(), HandlerError> {
    obey(request, out)?;
    let mut copy = spooled_tempfile(IN_MEMORY);
    let copied = if is_set(request, "ECHO_EARLY") { Ok(0) } else { io::copy(body, &mut copy) };
    answer(request, copied, copy, out)
}

fn authorize(request: &Request, out: &mut Response) -> Result<(), HandlerError> {
    obey(request, out)?;
    if is_set(request, "AUTH_OK") {
        out.variable("ECHO", "yes");
    } else {
        out.status(403);
    }
    Ok(())
}

fn filter(request: &Request, body: &mut Body, out: &mut Response) -> Result<(), HandlerError> {
    obey(request, out)?;
    let mut copy = spooled_tempfile(IN_MEMORY);
    let mut copy_both = || Ok(io::copy(body, &mut copy)? + io::copy(body.data()?, &mut copy)?);
    let copied = if is_set(request, "ECHO_EARLY") { Ok(0) } else { copy_both() };
    answer(request, copied, copy, out)
}

/// Answers with the params and what was copied, or that less or more came than was promised.
fn answer(
    request: &Request,
    copied: io::Result<u64>,
    mut copy: SpooledTempFile,
    out: &mut Response,
) -> Result<(), HandlerError> {
    let copied = match copied {
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
            return Ok(out.status(400).text(error)?);
        }
        copied => copied?,
    };
    let mut text = Vec::new();
    for (name, value) in request.params() {
        for part in [name, b"=", value, b"\n"] {
            text.extend_from_slice(part);
        }
    }
    text.push(b'\n');
    copy.rewind()?;
    let length = text.len() as u64 + copied;
    out.content_type("application/octet-stream");
    Ok(out.send_from((&text[..]).chain(copy), Some(length))?)
}

/// Does what the params ask for before the answer.
fn obey(request: &Request, out: &mut Response) -> Result<(), HandlerError> {
    if let Some(time) = request.param_str("ECHO_SLEEP_MS") {
        let (begun, time) = (Instant::now(), Duration::from_millis(time.parse()?));
        if out.wait(time)? == Waited::Stopping {
            // A stop does not hurry it.
            thread::sleep(time.saturating_sub(begun.elapsed()));
        }
    }
    if let Some(text) = request.param("ECHO_STDERR") {
        out.error_log().write_all(text)?;
    }
    if let Some(status) = request.param_str("ECHO_STATUS") {
        out.app_status(status.parse()?);
    }
    assert!(!is_set(request, "ECHO_PANIC"), "ECHO_PANIC is set");
    Ok(())
}

fn is_set(request: &Request, param: &str) -> bool {
    request.param(param) == Some(b"1")
}
