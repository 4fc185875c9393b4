//! bench-app with the crate fastcgi.

use std::io::{self, Read, Write};
use std::sync::LazyLock;

static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| (b'a'..=b'z').cycle().take(10 << 20).collect());

fn main() {
    fastcgi::run(|mut request| {
        let read: usize = request.params().map(|(name, value)| name.len() + value.len()).sum();
        std::hint::black_box(read);
        let script = request.param("SCRIPT_NAME").unwrap_or_default();
        let mut body = Vec::new();
        request.stdin().read_to_end(&mut body).expect("a body");
        let mut out = request.stdout();
        let written = match &script[..] {
            "/echo" => out.write_all(b"Content-Type: text/plain\r\n\r\n").and_then(|()| out.write_all(&body)),
            "/big" => out.write_all(b"Content-Type: text/plain\r\n\r\n").and_then(|()| out.write_all(&BIG)),
            _ => out.write_all(b"Content-Type: text/plain\r\n\r\nHello, World!"),
        };
        written.unwrap_or_else(|error: io::Error| eprintln!("{error}"));
    });
}
