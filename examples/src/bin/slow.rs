//! A handler that may take too long: `/slow?SECONDS` takes as long as it says, and `/slow` for ever.
//!
//! After two seconds a request is overdue. A thread cannot be ended, so the program ends, and whoever supervises it
//! starts another; under `fcgi-spawn --heartbeat 10s` it goes on with the other requests until its successor is there.

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
