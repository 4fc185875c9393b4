//! An HTTP server for machines without a web server, like `php -S`, in front of a FastCGI application.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! target/release/fcgi-spawn -s /tmp/app.sock -P /tmp/app.pid -F 2 -- target/release/hello
//! target/release/http-gateway --listen 127.0.0.1:8080 --connect unix:/tmp/app.sock
//! # in another terminal
//! curl http://127.0.0.1:8080/hello                            # Hello, World!
//! kill $(cat /tmp/app.pid)
//! ```
//!
//! Also the smallest example of the web server's side of fcgi-proto. It streams both ways: an upload reaches the
//! application as it comes, and each piece of an answer leaves for the client as the application sends it, even while
//! the upload still runs. Nothing is held whole, so memory is bounded by the number of connections.
//!
//! - [`options`]: the command line
//! - [`application`]: where the application listens, and how to reach it
//! - [`connection`]: one HTTP connection, request after request
//! - [`params`]: what CGI makes of a request's head
//! - [`exchange`]: one request to the application and its answer back
//! - [`answer`]: the application's records, turned into an HTTP answer
//! - [`header_block`]: the header block in front of a CGI answer
//! - [`failure`]: what can go wrong with a request, and what the client is told

mod answer;
mod application;
mod connection;
mod exchange;
mod failure;
mod header_block;
mod options;
mod params;

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use application::Application;
use options::{Command, HELP, Options};

/// Connections served at once; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 128;

/// A connection's thread needs 16 KiB for what it reads, and little more.
const STACK: usize = 128 * 1024;

/// What all connections share.
struct Gateway {
    application: Application,
    /// How long a silent client or application is waited for.
    patience: Duration,
    /// Params of the user's own, which replace ours of the same name.
    params: Vec<(Vec<u8>, Vec<u8>)>,
    /// Connections being served.
    busy: AtomicUsize,
}

pub(crate) fn main() -> ExitCode {
    let done = match Options::parse(std::env::args_os()) {
        Ok(Command::Help) => io::stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string()),
        Ok(Command::Serve(options)) => serve(options),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), String> {
    let application = Application::find(&options.connect)?;
    let listener = listener(options.listen.as_deref())?;
    let gateway = Gateway { application, patience: options.timeout, params: options.params, busy: AtomicUsize::new(0) };

    thread::scope(|scope| {
        for number in 0..MAX_CONNECTIONS {
            let thread = thread::Builder::new().stack_size(STACK);
            let started = thread.spawn_scoped(scope, || gateway.accept_for_ever(&listener));
            match started {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(format!("cannot start a thread: {error}")),
                Err(error) => {
                    eprintln!("http-gateway: only {number} connections at once: {error}");
                    break;
                }
            }
        }
        Ok(())
    })
}

/// The socket to accept connections on: `--listen`, else one that was handed to us as file descriptor 0 (as a FastCGI
/// application gets its own, so a launcher of those can start a gateway too), else a port for trying things out.
fn listener(address: Option<&str>) -> Result<TcpListener, String> {
    if address.is_none() {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(socket2::Socket::from);
        if let Some(socket) = stdin.ok().filter(|socket| matches!(socket.is_listener(), Ok(true))) {
            return Ok(socket.into());
        }
    }
    let address = address.unwrap_or("127.0.0.1:8080");
    let listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    match listener.local_addr() {
        Ok(bound) => eprintln!("http-gateway: listening on http://{bound}/"),
        Err(error) => return Err(format!("cannot listen on {address}: {error}")),
    }
    Ok(listener)
}

impl Gateway {
    fn accept_for_ever(&self, listener: &TcpListener) -> ! {
        loop {
            match listener.accept() {
                Ok((client, _)) => {
                    self.busy.fetch_add(1, Ordering::Relaxed);
                    // What goes wrong with one connection ends that connection, no more.
                    let _ = panic::catch_unwind(AssertUnwindSafe(|| connection::serve(client, self)));
                    self.busy.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error) => {
                    // Out of descriptors, say: nothing that trying again at once would cure.
                    eprintln!("http-gateway: cannot accept a connection: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Whether a connection may stay open while it has no request: not when the next client waits for its thread.
    fn has_room(&self) -> bool {
        self.busy.load(Ordering::Relaxed) < MAX_CONNECTIONS
    }
}
