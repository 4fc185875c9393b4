//! The application that the benches measure: the shortest answer, an echo, and a large page from one buffer.
//!
//! `SCRIPT_NAME` says which. Start it with `FCGI_BIND=unix:/run/bench.sock bench-app`, then ask it with `fcgi-bench`;
//! `examples/bench/run` does both, for applications in other languages too.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::LazyLock;

use fcgi_app::{Body, Request, Response};

/// 10 MiB of the alphabet, made when it is first asked for.
static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| (b'a'..=b'z').cycle().take(10 << 20).collect());

fn main() -> fcgi_app::Result {
    fcgi_app::run(route)
}

fn route(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    match request.param_str("SCRIPT_NAME") {
        Some("/hello") => {
            request.params().for_each(|pair| _ = black_box(pair));
            out.content_type("text/plain").write_all(b"Hello, World!")
        }
        Some("/echo") => io::copy(body, out.content_type("application/octet-stream")).map(drop),
        Some("/big") => out.content_type("text/plain").write_all(&BIG),
        _ => writeln!(out.status(404).content_type("text/plain"), "/hello, /echo or /big"),
    }
}
