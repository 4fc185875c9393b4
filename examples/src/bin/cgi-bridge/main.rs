//! Runs CGI programs, as they are, for web servers that speak FastCGI and no CGI, such as nginx.
//!
//! Programs run as the bridge's user, which is never root. As an ordinary user, in the root of a clone, after
//! `cargo build --release`:
//!
//! ```sh user
//! target/release/fcgi-spawn -n -s /tmp/cgi.sock -- target/release/cgi-bridge --allow examples/applications
//! # in another terminal
//! target/release/fcgi-get unix:/tmp/cgi.sock "$PWD/examples/applications/hello.cgi?name=Ann"      # Hello, Ann
//! ```
//!
//! As root, the bridge and the programs are where `www-data` may execute them, which is seldom so in a clone:
//!
//! ```sh root
//! install target/release/cgi-bridge /usr/local/bin/cgi-bridge
//! install -D examples/applications/hello.cgi /usr/lib/cgi-bin/hello.cgi
//! target/release/fcgi-spawn -n -s /run/cgi.sock -U www-data -u www-data -- \
//!     /usr/local/bin/cgi-bridge --allow /usr/lib/cgi-bin
//! # in another terminal
//! target/release/fcgi-get unix:/run/cgi.sock '/usr/lib/cgi-bin/hello.cgi?name=Bob'                # Hello, Bob
//! ```
//!
//! `examples/servers/README.md` says how web servers are set up for it. What a program may rely on:
//!
//! - its file is `SCRIPT_FILENAME`, or else `DOCUMENT_ROOT` with the path of the request below it; what follows the file
//!   in it is `PATH_INFO`. It is started in its directory, without arguments;
//! - its environment is the request's params, `PATH`, and what `--env` names: nothing else of ours, and no `HTTP_PROXY`;
//! - its input is the request's body as it comes, and its output is taken as it comes: neither waits for the other. The
//!   answer begins when the body has ended, as some web servers send no more of it then, or at once with `--duplex`;
//! - its standard error is the web server's error log;
//! - it ends when the client goes, when its time is over, and when the bridge does: SIGTERM to its process group, SIGKILL
//!   two seconds later.
//!
//! One that is not there is a 404, one that cannot be executed a 403, an answer that is none a 502, and a time that is over a
//! 504, each with a line in the error log.
//!
//! - [`options`]: the command line
//! - [`script`]: which program a request is for, and its environment
//! - [`program`]: its process and its end
//! - [`exchange`]: a request on its way to a program, and the answer back
//! - [`head`]: the header block in front of an answer
//! - [`outgoing`]: the answer on its way

mod exchange;
mod head;
mod options;
mod outgoing;
mod program;
mod script;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fcgi_app::{Body, Limits, Request, Response, Server, Start};

use options::{Command, HELP, Options};

/// How long the end of all programs may take when the bridge ends.
const LAST_GRACE: Duration = Duration::from_secs(4);

/// What all requests share.
struct Bridge {
    options: Options,
    /// Hung up when all programs have to end.
    end: UnixStream,
    /// Programs that run.
    running: Mutex<usize>,
    fewer: Condvar,
}

fn main() -> ExitCode {
    let done = match Options::parse(std::env::args_os()) {
        Ok(Command::Help) => io::stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string()),
        Ok(Command::Serve(options)) => serve(options).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cgi-bridge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> fcgi_app::Result {
    fcgi_app::log_to_stderr();
    let Start::Listening(listener) = Start::find(None)? else { return Err(fcgi_app::Error::NotStarted) };
    let limits = Limits {
        connections: options.programs,
        write_time: options.time_limit,
        stop_timeout: options.grace,
        ..Limits::default()
    };
    let (end, end_of_all) = UnixStream::pair()?;
    let bridge = Arc::new(Bridge { options, end, running: Mutex::new(0), fewer: Condvar::new() });
    let handler = Arc::clone(&bridge);
    let served = Server::new(listener)?
        .limits(limits)
        .stop_on_signals(true)
        .serve(move |request: &Request, body: &mut Body, out: &mut Response| handler.answer(request, body, out));
    drop(end_of_all);
    bridge.wait_for_all();
    Ok(served?)
}

impl Bridge {
    fn answer(&self, request: &Request<'_>, body: &mut Body<'_>, out: &mut Response<'_>) -> io::Result<()> {
        self.count(1);
        let answered = exchange::answer(self, request, body, out);
        self.count(-1);
        answered
    }

    fn count(&self, change: isize) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_add_signed(change);
        self.fewer.notify_all();
    }

    /// Waits until no program runs any more, but not for ever.
    fn wait_for_all(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.fewer.wait_timeout_while(running, LAST_GRACE, |running| *running > 0);
    }
}
