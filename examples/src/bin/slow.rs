//! A handler that may take too long: `/slow?SECONDS` takes as long as it says, and `/slow` for ever.
//!
//! After two seconds a request is overdue. A thread cannot be ended, so the program ends and its launcher starts another.
//! With the launcher's option `--heartbeat 10s`, the other requests are served until the successor is there.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! target/release/fcgi-spawn -s /tmp/slow.sock -P /tmp/slow.pid -- target/release/slow
//! target/release/http-gateway --connect unix:/tmp/slow.sock
//! # in another terminal
//! curl 'http://127.0.0.1:8080/slow?1'                         # done
//! curl http://127.0.0.1:8080/slow                             # 502 Bad Gateway
//! kill $(cat /tmp/slow.pid)
//! ```

use std::thread;
use std::time::Duration;

use fcgi_app::{Body, Error, Limits, Listener, Request, Response, Server};

fn main() -> fcgi_app::Result {
    fcgi_app::log_to_stderr();
    let listener = Listener::from_stdin().map_err(Error::Stdin)?.ok_or(Error::NotStarted)?;
    let limits = Limits { handler_time: Some(Duration::from_secs(2)), ..Limits::default() };
    Ok(Server::new(listener)?.limits(limits).stop_on_signals(true).serve(answer)?)
}

fn answer(request: &Request, _body: &mut Body, response: &mut Response) -> std::io::Result<()> {
    if request.path() == "/slow" {
        let seconds = request.query().parse().unwrap_or(u64::MAX);
        thread::sleep(Duration::from_secs(seconds));
    }
    response.text("done\n")
}
