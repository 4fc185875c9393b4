//! The application that the benches measure: the shortest answer, an echo, and a large page from one buffer.
//!
//! `SCRIPT_NAME` says which. Start it with `FCGI_BIND=unix:/run/bench.sock bench-app`, then ask it with `fcgi-bench`;
//! `examples/bench/run` does both, for applications in other languages too.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::LazyLock;

use fcgi_app::{Body, Request, Response};

/// 10 MiB of the alphabet, made when it is first asked for.
static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut big = b"abcdefghijklmnopqrstuvwxyz".repeat((10 << 20) / 26 + 1);
    big.truncate(10 << 20);
    big
});

fn main() -> fcgi_app::Result {
    fcgi_app::run(route)
}

fn route(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let mut script = &b""[..];
    for (name, value) in request.params() {
        if name == b"SCRIPT_NAME" {
            script = value;
        }
        black_box((name, value));
    }
    match script {
        b"/hello" => out.content_type("text/plain").write_all(b"Hello, World!"),
        b"/echo" => body.copy_to(out.content_type("application/octet-stream")).map(drop),
        b"/big" => out.content_type("text/plain").write_all(&BIG),
        _ => writeln!(out.status(404).content_type("text/plain"), "/hello, /echo or /big"),
    }
}
