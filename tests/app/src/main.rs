//! The application behind the web servers of the tests. It plays what the last part of the path says, with the values
//! in the query string.
//!
//! A test that wants to know how a request ended here, when its client is gone, names a file in `journal=`: it gets a
//! line for each thing that happened. The file has to be there already.
//!
//! With `FCGI_MULTIPLEX` in its environment it takes many requests at once on a connection; `FCGI_WRITE_TIME` is how many
//! seconds a write may be blocked.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use std::{env, process, thread};

use fcgi_app::{Body, Limits, Request, Response, Roles, Server, Start, Waited};
use sha2::{Digest, Sha256};

/// What the process was given at its start, before it made anything of it.
static START: LazyLock<String> = LazyLock::new(describe_process);

fn main() -> fcgi_app::Result {
    LazyLock::force(&START);
    fcgi_app::log_to_stderr();
    let roles = Roles::new().responder(play).authorizer(judge);
    match Start::find(None)? {
        Start::Listening(listener) => {
            let multiplex = env::var_os("FCGI_MULTIPLEX").is_some();
            let server = Server::new(listener)?.multiplex(multiplex).limits(limits());
            server.stop_on_signals(true).serve(roles)?;
        }
        Start::Cgi(request) => process::exit(request.serve(roles)?.into()),
    }
    Ok(())
}

fn limits() -> Limits {
    let seconds = env::var("FCGI_WRITE_TIME").ok().and_then(|text| text.parse().ok());
    let write_time = seconds.map_or(Limits::default().write_time, Duration::from_secs);
    Limits { write_time, ..Limits::default() }
}

fn play(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    out.content_type("text/plain");
    match request.path().rsplit('/').next().unwrap_or_default() {
        "hello" => out.write_all(b"Hello, World!"),
        "params" => params(request, out),
        "echo" => echo(body, out),
        "digest" => digest(request, body, out),
        "bytes" => bytes(request, "count", out),
        "block" => block(request, out),
        "wait" => wait(request, out),
        "buffered-events" => events(request, out),
        "events" => events(request, out.set("X-Accel-Buffering", "no")),
        "endless" => endless(request, out),
        "early" => out.status(403).write_all(b"not wanted"),
        "redirect" => redirect(request, out),
        "cookies" => cookies(request, out),
        "error" => error(request, out),
        "fail" => fail(request, out),
        "bodiless" => bodiless(request, out),
        "guard" => guard(request, body, out),
        "log" => log(request, out),
        "hold" => hold(request, out),
        "process" => out.write_all(START.as_bytes()),
        "crash" => process::abort(),
        "panic" => panic!("asked to panic"),
        _ => out.status(404).write_all(b"no such page"),
    }
}

/// Grants to `who=ann`, is at a loss with `who=panic`, and denies to all others.
fn judge(request: &Request, out: &mut Response) -> io::Result<()> {
    match value(request, "who").as_deref() {
        Some("ann") => Ok(_ = out.variable("JUDGED", "ann")),
        Some("panic") => panic!("asked to panic"),
        _ => out.status(403).text("not you"),
    }
}

/// The same as a page, which reads its body, and takes the client's query from `REQUEST_URI`.
fn guard(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    io::copy(body, &mut io::sink())?;
    let uri = request.param_str("REQUEST_URI").unwrap_or_default();
    out.status(if uri.ends_with("?who=ann") { 204 } else { 403 });
    Ok(())
}

/// The value of `name` in the query string.
fn value<'r>(request: &Request<'r>, name: &str) -> Option<Cow<'r, str>> {
    request.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value)
}

fn number(request: &Request, name: &str) -> u64 {
    value(request, name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn status(request: &Request) -> u16 {
    u16::try_from(number(request, "status")).unwrap_or(0)
}

/// Notes what happened, for the test that asked for it.
fn note(request: &Request, text: &str) -> io::Result<()> {
    match value(request, "journal") {
        Some(path) => writeln!(File::options().append(true).open(&*path)?, "{text}"),
        None => Ok(()),
    }
}

/// What the web server said: a line `NAME=value` for each param.
fn params(request: &Request, out: &mut Response) -> io::Result<()> {
    for (name, value) in request.params() {
        out.write_all(&[name, b"=", value, b"\n"].concat())?;
    }
    Ok(())
}

fn echo(body: &mut Body, out: &mut Response) -> io::Result<()> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    out.write_all(&bytes)
}

/// Reads the body to its end, then answers its length and SHA-256.
fn digest(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let (mut sha, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if length == 0 {
                    note(request, "upload: began")?;
                }
                length += count;
                sha.update(&buffer[..count]);
            }
            Err(error) => {
                note(request, &format!("upload: {:?}", error.kind()))?;
                return Err(error);
            }
        }
    }
    note(request, "upload: whole")?;
    let mut hex = String::new();
    for byte in sha.finalize() {
        write!(hex, "{byte:02x}").expect("a String takes all");
    }
    writeln!(out, "{length} {hex}")
}

/// As many bytes as `name` says; the one at `i` is `i % 251`.
fn bytes(request: &Request, name: &str, out: &mut Response) -> io::Result<()> {
    let block: Vec<u8> = (0..251 << 8).map(|index: u32| (index % 251) as u8).collect();
    let mut left = number(request, name);
    while left > 0 {
        let count = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        out.write_all(&block[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// The same in one piece.
fn block(request: &Request, out: &mut Response) -> io::Result<()> {
    let block: Vec<u8> = (0..number(request, "count")).map(|index| (index % 251) as u8).collect();
    out.write_all(&block)
}

/// Waits for something else, for as many `seconds`, unless the client goes.
fn wait(request: &Request, out: &mut Response) -> io::Result<()> {
    note(request, "wait: began")?;
    match out.wait(Duration::from_secs(number(request, "seconds"))) {
        Ok(_) => note(request, "wait: over")?,
        Err(error) => {
            note(request, &format!("wait: {:?}", error.kind()))?;
            return Err(error);
        }
    }
    out.write_all(b"waited")
}

/// An event each 100 ms, until the application is told to stop or the client goes.
fn events(request: &Request, out: &mut Response) -> io::Result<()> {
    out.content_type("text/event-stream");
    for event in 1.. {
        write!(out, "data: {event}\n\n")?;
        let waited = out.flush().and_then(|()| out.wait(Duration::from_millis(100)));
        note(request, &format!("events: {event}"))?;
        match waited {
            Ok(Waited::Elapsed) => {}
            Ok(Waited::Stopping) => break,
            Err(error) => {
                note(request, "events: given up")?;
                return Err(error);
            }
        }
    }
    out.write_all(b"data: over\n\n")
}

/// Answers until nobody wants it any more, or up to so many MiB.
fn endless(request: &Request, out: &mut Response) -> io::Result<()> {
    let block = [b'.'; 32 << 10];
    for _ in 0..32 * number(request, "mib") {
        if let Err(error) = out.write_all(&block) {
            note(request, "answer: given up")?;
            return Err(error);
        }
    }
    note(request, "answer: whole")
}

fn redirect(request: &Request, out: &mut Response) -> io::Result<()> {
    let to = value(request, "to").unwrap_or_default();
    out.status(status(request)).set("Location", to.as_bytes()).write_all(b"elsewhere")
}

fn cookies(request: &Request, out: &mut Response) -> io::Result<()> {
    out.append("Set-Cookie", "a=1; Path=/").append("Set-Cookie", "b=2; Path=/; HttpOnly");
    out.write_all(request.param("HTTP_COOKIE").unwrap_or_default())
}

fn error(request: &Request, out: &mut Response) -> io::Result<()> {
    let status = status(request);
    write!(out.status(status), "the application's own page for {status}")
}

/// Announces `length` bytes if it is there, writes `after`, and fails as `how` says: `long` by writing `more`.
fn fail(request: &Request, out: &mut Response) -> io::Result<()> {
    if let Some(length) = value(request, "length") {
        out.set("Content-Length", length.as_bytes());
    }
    bytes(request, "after", out)?;
    match value(request, "how").as_deref() {
        Some("panic") => panic!("asked to panic"),
        Some("short") => Ok(()),
        Some("long") => out.write_all(&vec![b'+'; number(request, "more") as usize]),
        Some("abort") => {
            out.abort();
            Ok(())
        }
        _ => Err(io::Error::other("asked to fail")),
    }
}

/// Writes what is not to be sent, with the status that is asked for.
fn bodiless(request: &Request, out: &mut Response) -> io::Result<()> {
    match status(request) {
        0 => Ok(()),
        status => out.status(status).write_all(b"not for the client"),
    }
}

fn log(request: &Request, out: &mut Response) -> io::Result<()> {
    writeln!(out.error_log(), "{}", value(request, "text").unwrap_or_default())?;
    out.write_all(b"logged")
}

/// Answers when the file `until=` is there.
fn hold(request: &Request, out: &mut Response) -> io::Result<()> {
    note(request, "hold: began")?;
    let file = value(request, "until").unwrap_or_default();
    let file = Path::new(&*file);
    let begin = Instant::now();
    while !file.exists() && begin.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(5));
    }
    out.write_all(b"held")
}

fn describe_process() -> String {
    let mut text = format!("pid {}\n", process::id());
    for (name, _) in env::vars_os() {
        text += &format!("variable {}\n", name.to_string_lossy());
    }
    let descriptors = (0..1024).filter_map(|fd| Some((fd, fs::read_link(format!("/proc/self/fd/{fd}")).ok()?)));
    for (fd, target) in descriptors {
        text += &format!("descriptor {fd} {}\n", target.display());
    }
    text
}
