//! Stands between a web server and an application: passes on what each says, unchanged, and shows it.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fcgi_app::Address;
use socket2::Socket;

use super::trace::{Direction, Format, Trace};
use super::{BUFFER, Reason, print, socket};

/// Connections passed on at once; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 128;

/// What all connections share.
struct Proxy {
    listener: Socket,
    application: Address,
    format: Format,
    connections: AtomicUsize,
}

/// Listens, and passes connections on for ever.
pub(super) fn run(listen: &Address, application: Address, format: Format) -> Result<Infallible, String> {
    let cannot_listen = |error| format!("cannot listen on '{listen}': {}", Reason(&error));
    let listener = socket::listen(listen).map_err(cannot_listen)?;
    // The port may have been 0.
    let port = listener.local_addr().map_err(cannot_listen)?.as_socket();
    let bound = port.map_or_else(|| listen.to_string(), |address| address.to_string());
    eprintln!("fcgi-dump: listening on {bound}");

    let proxy = Proxy { listener, application, format, connections: AtomicUsize::new(0) };
    thread::scope(|scope| {
        for number in 1..MAX_CONNECTIONS {
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, || proxy.accept_for_ever()) {
                eprintln!("fcgi-dump: only {number} connections at once: {}", Reason(&error));
                break;
            }
        }
        proxy.accept_for_ever()
    })
}

impl Proxy {
    fn accept_for_ever(&self) -> ! {
        loop {
            match self.listener.accept() {
                Ok((server, _)) => self.pass_connection(&server),
                Err(error) => {
                    // Out of descriptors, say: nothing that trying again at once would cure.
                    eprintln!("fcgi-dump: cannot accept a connection: {}", Reason(&error));
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Passes a connection on until both sides have said all they had to say.
    fn pass_connection(&self, server: &Socket) {
        let application = match socket::connect(&self.application) {
            Ok(application) => application,
            Err(error) => {
                eprintln!("fcgi-dump: cannot connect to '{}': {}", self.application, Reason(&error));
                return;
            }
        };
        for socket in [server, &application] {
            // What came in two pieces leaves in two pieces. A unix socket does not know how to wait, and refuses.
            let _ = socket.set_tcp_nodelay(true);
        }
        let number = self.connections.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let pass = Pass { number, trace: Mutex::new(Trace::new(self.format, number)) };
        thread::scope(|scope| {
            let answers = || pass.direction(Direction::ToServer, &application, server);
            match thread::Builder::new().spawn_scoped(scope, answers) {
                Ok(_) => pass.direction(Direction::ToApplication, server, &application),
                Err(error) => eprintln!("fcgi-dump: cannot start a thread: {}", Reason(&error)),
            }
        });
        let trace = pass.trace.into_inner().unwrap_or_else(PoisonError::into_inner);
        print(|out| trace.finish(out));
    }
}

/// A connection being passed on.
struct Pass {
    number: u64,
    trace: Mutex<Trace>,
}

impl Pass {
    /// Passes on what `from` says, then that it has ended.
    ///
    /// Bytes are shown before they go on: so an answer is never shown before its question. When `to` does not take
    /// them, `from` learns it as it would without us: its own writes fail.
    fn direction(&self, direction: Direction, mut from: &Socket, mut to: &Socket) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let bytes = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break, // reset, which servers like to do when they have their answer
            };
            self.show(direction, bytes);
            if to.write_all(bytes).is_err() {
                let _ = from.shutdown(Shutdown::Read);
                break;
            }
        }
        self.show_end(direction);
        let _ = to.shutdown(Shutdown::Write);
    }

    fn show(&self, direction: Direction, bytes: &[u8]) {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = print(|out| trace.take(direction, bytes, out)) {
            let (number, sender) = (self.number, direction.sender());
            eprintln!("fcgi-dump: what the {sender} sends over connection {number} is {fault}");
        }
    }

    fn show_end(&self, direction: Direction) {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        print(|out| trace.end(direction, out));
    }
}
