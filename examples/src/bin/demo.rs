//! The whole toolkit in one command, on a machine with nothing but Rust. In the root of a clone, after
//! `cargo build --release`:
//!
//! ```sh
//! target/release/demo
//! # in another terminal
//! curl http://127.0.0.1:8080/hello                            # Hello, World!
//! ```
//!
//! A launcher keeps two `hello` workers running on a private unix socket, a gateway shows them to your browser, and
//! Ctrl-C ends all of it and leaves nothing behind. Four programs take part, but only one file is built: the demo makes
//! links of their names to itself and executes those, so that each process is called what it is, and is started with
//! the command line that a user would type.

#[allow(unreachable_pub, reason = "programs of their own, in which everything is reachable")]
mod hello;
#[path = "http-gateway/main.rs"]
mod http_gateway;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{self, Child, Command, ExitCode, ExitStatus, Stdio, Termination};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

/// Ports to try; the first that is free is ours.
const PORTS: std::ops::RangeInclusive<u16> = 8080..=8179;

/// How long everything may take to be ready.
const START_TIME: Duration = Duration::from_secs(10);

/// How long a process may take to end after SIGTERM: a little more than the launcher gives its workers.
const STOP_TIME: Duration = Duration::from_secs(12);

/// How often a process that cannot tell when it is ready is tried.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Tells the processes that the demo starts its pid.
const DEMO_PID: &str = "FCGI_DEMO_PID";

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(OsStr::to_str) {
        Some("fcgi-spawn") => end_with_demo(|| fcgi_spawn::main(env::args_os())),
        Some("http-gateway") => end_with_demo(http_gateway::main),
        Some("hello") => hello::main().report(),
        _ => match demo().unwrap_or_else(|end| end) {
            End::Asked => ExitCode::SUCCESS,
            End::Failed(why) => {
                eprintln!("demo: {why}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Runs a part of the demo, which gets SIGTERM when the demo is killed and cannot stop it any more. (The launcher does
/// the same for its workers.)
fn end_with_demo(part: impl FnOnce() -> ExitCode) -> ExitCode {
    let tied = set_parent_process_death_signal(Some(Signal::TERM));
    // It may have been killed just before.
    let orphaned = env::var(DEMO_PID).is_ok_and(|pid| pid != parent_id().to_string());
    if tied.is_err() || orphaned { ExitCode::FAILURE } else { part() }
}

/// Why the demo ends.
enum End {
    /// By Ctrl-C or a signal.
    Asked,
    /// By this, in one line for the user.
    Failed(String),
}

fn demo() -> Result<End, End> {
    let signals = Signals::catch().map_err(|error| failed("cannot catch signals", &error))?;
    // What is made from here on goes away in the reverse order, however we leave.
    let folder = folder().map_err(|error| failed("cannot make a temporary folder", &error))?;
    let path = |name| folder.path().join(name);

    let socket = path("app.sock");
    let mut launcher = Command::new(path("fcgi-spawn"));
    launcher.stdin(Stdio::null());
    launcher
        .args(["-n", "-F", "2", "--restart-delay", "200ms", "--backoff-after", "off", "-s"])
        .arg(&socket)
        .arg("--")
        .arg(path("hello"));
    let mut launcher = Part::start("the launcher", launcher, &signals)?;
    signals.until("the launcher", &mut [&mut launcher], || UnixStream::connect(&socket).ok())?;

    // The gateway finds its socket where every program here does, on descriptor 0.
    let (listener, address) = first_free_port()?;
    let mut gateway = Command::new(path("http-gateway"));
    let mut connect = OsString::from("unix:");
    connect.push(&socket);
    gateway.arg("--connect").arg(connect).stdin(OwnedFd::from(listener));
    let mut gateway = Part::start("the gateway", gateway, &signals)?;

    let mut parts = [&mut launcher, &mut gateway];
    let mut visit = Visit::begin(address).map_err(|error| failed("cannot reach the gateway", &error))?;
    let status = signals.until("the page", &mut parts, || visit.status_line())?;
    if status != "HTTP/1.1 200 OK" {
        return Err(End::Failed(format!("the page is not served: '{status}'")));
    }
    introduce(address, parts[0].child.id());
    Ok(signals.until_end(&mut parts))
}

fn failed(what: &str, error: &io::Error) -> End {
    End::Failed(format!("{what}: {error}"))
}

/// A folder for nobody but us, with the names that the demo executes itself by.
fn folder() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("fcgi-demo-").permissions(Permissions::from_mode(0o700)).tempdir()?;
    // Unlike the path of our file this stays right when the file is built anew, moved or deleted.
    let demo = format!("/proc/{}/exe", process::id());
    for name in ["fcgi-spawn", "hello", "http-gateway"] {
        symlink(&demo, folder.path().join(name))?;
    }
    Ok(folder)
}

fn first_free_port() -> Result<(TcpListener, SocketAddr), End> {
    for port in PORTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(listener) => return Ok((listener, address)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed(&format!("cannot listen on {address}"), &error)),
        }
    }
    Err(End::Failed(format!("no free port from {} to {}", PORTS.start(), PORTS.end())))
}

fn introduce(address: SocketAddr, launcher: u32) {
    let text = format!(
        "\n  Two workers answer at http://{address}/ - try, in another terminal:\n\n    \
         curl -s http://{address}/hello\n    \
         kill -9 $(pgrep -o -P {launcher})   # and ask again: the launcher starts a new one\n\n  \
         What the launcher and the workers have to say is logged here. Ctrl-C ends everything.\n\n"
    );
    // That nobody reads it is no reason to end.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// One of the processes that the demo starts; dropping it ends it.
struct Part<'s> {
    name: &'static str,
    child: Child,
    signals: &'s Signals,
}

impl<'s> Part<'s> {
    fn start(name: &'static str, mut command: Command, signals: &'s Signals) -> Result<Self, End> {
        // In a process group of its own, so that Ctrl-C reaches us only, and we end the parts in the right order.
        command.process_group(0).env(DEMO_PID, process::id().to_string());
        let child = command.spawn().map_err(|error| failed(&format!("cannot start {name}"), &error))?;
        Ok(Self { name, child, signals })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + STOP_TIME;
        while self.ended().is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            self.signals.wait(Some(left));
        }
    }
}

/// What the outside world tells the demo: that a child ended, or that the demo is to end.
struct Signals {
    /// Can be read from after any of the signals.
    bell: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (bell, rope) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: who hears the bell finds the flag set.
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
            signal_hook::low_level::pipe::register(signal, rope.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, rope)?;
        Ok(Self { bell, stop })
    }

    /// Waits for a signal, for ever or so long at most.
    fn wait(&self, at_most: Option<Duration>) {
        // That nothing was heard is as good as that something was: who waits looks for what has changed.
        let _ = self.bell.set_read_timeout(at_most).and_then(|()| (&self.bell).read(&mut [0; 64]));
    }

    /// Whether the demo goes on: nobody asked it to end, and no part of it did.
    fn check(&self, parts: &mut [&mut Part<'_>]) -> Result<(), End> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(End::Asked);
        }
        for part in parts {
            if let Some(status) = part.ended() {
                return Err(End::Failed(format!("{} ended: {status}", part.name)));
            }
        }
        Ok(())
    }

    /// Tries until it gives something.
    fn until<T>(
        &self,
        what: &str,
        parts: &mut [&mut Part<'_>],
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, End> {
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Some(done) = attempt() {
                return Ok(done);
            }
            self.check(parts)?;
            if Instant::now() > deadline {
                return Err(End::Failed(format!("{what} is not ready after {} s", START_TIME.as_secs())));
            }
            self.wait(Some(ASK_AGAIN));
        }
    }

    /// Waits until the demo is to end.
    fn until_end(&self, parts: &mut [&mut Part<'_>]) -> End {
        loop {
            if let Err(end) = self.check(parts) {
                return end;
            }
            self.wait(None);
        }
    }
}

/// A look at the page, as a browser would have.
struct Visit {
    connection: TcpStream,
    answer: Vec<u8>,
}

impl Visit {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        let mut connection = TcpStream::connect(address)?;
        write!(connection, "HEAD /hello HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        connection.set_nonblocking(true)?;
        Ok(Self { connection, answer: Vec::new() })
    }

    /// The first line of the answer, once it is there; empty if the connection closed without one.
    fn status_line(&mut self) -> Option<String> {
        let mut buffer = [0; 512];
        let n = match self.connection.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => 0,
        };
        self.answer.extend_from_slice(&buffer[..n]);
        let answer = String::from_utf8_lossy(&self.answer);
        match answer.split_once("\r\n") {
            Some((line, _)) => Some(line.to_owned()),
            None if n == 0 => Some(String::new()),
            None => None,
        }
    }
}
