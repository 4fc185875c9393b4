//! The first program to read: a FastCGI application with a greeting, a page and an echo.
//!
//! In the root of a clone, after `cargo build --release`, a launcher keeps it running:
//!
//! ```sh
//! target/release/fcgi-spawn -n -s /tmp/hello.sock -- target/release/hello
//! # in another terminal
//! target/release/fcgi-get unix:/tmp/hello.sock /hello         # Hello, World!
//! ```
//!
//! It can also listen by itself:
//!
//! ```sh
//! FCGI_BIND=127.0.0.1:9000 target/release/hello
//! # in another terminal
//! target/release/fcgi-get 127.0.0.1:9000 /hello               # Hello, World!
//! ```

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::process;
use std::sync::LazyLock;
use std::time::Instant;

use fcgi_app::{Body, Request, Response};

/// When this process began to serve.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Serves requests in whatever way the program was started.
pub fn main() -> fcgi_app::Result {
    LazyLock::force(&START);
    fcgi_app::run(route)
}

fn route(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    match request.path().rsplit('/').next() {
        Some("hello") => greet(out),
        Some("echo") => echo(body, out),
        _ => describe(request, out),
    }
}

fn greet(out: &mut Response) -> io::Result<()> {
    out.content_type("text/plain");
    out.write_all(b"Hello, World!")
}

/// Sends the request's body back. All of it is read first: nginx, mod_fcgid and Caddy stop sending an upload when the
/// answer begins.
fn echo(body: &mut Body, out: &mut Response) -> io::Result<()> {
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    if body.take(LIMIT + 1).read_to_end(&mut bytes)? as u64 > LIMIT {
        return writeln!(out.status(413).content_type("text/plain"), "more than {LIMIT} bytes");
    }
    out.content_type("application/octet-stream");
    out.write_all(&bytes)
}

/// A page that says which process answered, and what the web server told it.
fn describe(request: &Request, out: &mut Response) -> io::Result<()> {
    let uptime = START.elapsed().as_secs();
    out.content_type("text/html; charset=utf-8");
    writeln!(out, "<!DOCTYPE html>\n<title>hello</title>\n<h1>Hello, World!</h1>")?;
    writeln!(out, "<p>Answered by process {} after {uptime} s of life.</p>\n<table>", process::id())?;
    for (name, value) in request.params() {
        writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value))?;
    }
    writeln!(out, "</table>")
}

/// Bytes as HTML text: what a client sends must not become markup.
fn escape(bytes: &[u8]) -> String {
    let mut html = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '<' | '>' | '&' | '"' | '\'' => write!(html, "&#{};", u32::from(c)).expect("a String takes all"),
            c => html.push(c),
        }
    }
    html
}
