//! The application that the benches measure: the shortest answer, an echo, and a large page from one buffer.
//!
//! `SCRIPT_NAME` says which. `examples/bench/run` starts it and measures it, beside applications in other languages. By
//! hand, in the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! target/release/fcgi-spawn -n -s /tmp/bench.sock -- target/release/bench-app
//! # in another terminal
//! target/release/fcgi-bench -n 10000 -c 8 --script /hello --expect 'Hello, World!' unix:/tmp/bench.sock
//! target/release/fcgi-bench -n 1000 --script /echo --body 65536 --expect-echo unix:/tmp/bench.sock
//! ```

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
