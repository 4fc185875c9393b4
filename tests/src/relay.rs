//! A listener that counts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::address::Address;
use crate::connection::Connection;

/// Stands between a web server and an application, passes bytes both ways and counts the connections the
/// server makes. The application is connected to once for each.
///
/// Its threads block in `accept` and `read` and end with the test process.
#[derive(Debug)]
pub struct Relay {
    connections: Arc<AtomicUsize>,
}

impl Relay {
    /// Listens at `front` and connects to `back`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(front: &Address, back: Address) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut accept: Box<dyn FnMut() -> io::Result<Connection> + Send> = match front {
            Address::Unix(path) => {
                let listener = UnixListener::bind(path).expect("the relay cannot listen");
                Box::new(move || Ok(listener.accept()?.0.into()))
            }
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).expect("the relay cannot listen");
                Box::new(move || Ok(listener.accept()?.0.into()))
            }
        };
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            while let Ok(server) = accept() {
                counter.fetch_add(1, Ordering::SeqCst);
                // When the application is not there, the server sees its connection closed.
                if let Ok(application) = back.connect() {
                    pass_both_ways(server, application);
                }
            }
        });
        Relay { connections }
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn pass_both_ways(server: Connection, application: Connection) {
    let ends = (server.try_clone(), application.try_clone());
    let (Ok(server_too), Ok(application_too)) = ends else { return };
    thread::spawn(move || pass(server, application));
    thread::spawn(move || pass(application_too, server_too));
}

/// Passes what `from` sends on to `to`, then the end of it.
fn pass(mut from: Connection, mut to: Connection) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Ok(_) => break,
            // The read timed out: an idle kept connection.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp::temp_dir;

    #[test]
    fn bytes_pass_and_connections_are_counted() {
        let dir = temp_dir();
        let (front, back) = (Address::Unix(dir.path().join("front")), Address::Unix(dir.path().join("back")));
        let Address::Unix(path) = &back else { unreachable!() };
        let echo = UnixListener::bind(path).expect("a listener");
        thread::spawn(move || {
            while let Ok((mut stream, _)) = echo.accept() {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                let _ = stream.write_all(&bytes);
            }
        });
        let relay = Relay::start(&front, back);
        for expected in 1..=2 {
            let mut connection = front.connect().expect("a connection");
            connection.send(b"there and back");
            connection.end_sending();
            let mut back = String::new();
            connection.read_to_string(&mut back).expect("an echo");
            assert_eq!((back.as_str(), relay.connections()), ("there and back", expected));
        }
    }
}
