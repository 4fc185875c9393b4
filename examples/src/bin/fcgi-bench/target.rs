//! The application, by all the addresses its name stands for.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fcgi_app::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use super::failure::{Class, Failure, reason};

/// Where to connect, looked up once.
#[derive(Debug)]
pub(super) struct Target {
    addresses: Vec<SockAddr>,
    patience: Duration,
}

impl Target {
    /// Looks an address up; an error is one line for the user.
    pub(super) fn find(address: &Address, patience: Duration) -> Result<Self, String> {
        let found = match address {
            Address::Unix(path) => unix(path).map(|address| vec![address]),
            Address::Tcp(host) => host.to_socket_addrs().map(|all| all.map(SockAddr::from).collect()),
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => Ok(Self { addresses, patience }),
            Ok(_) => Err(format!("{address}: no such address")),
            Err(error) => Err(format!("{address}: {}", reason(&error))),
        }
    }

    /// Connects; the socket's reads wait no longer than the connection may take.
    pub(super) fn connect(&self) -> Result<Socket, Failure> {
        let began = Instant::now();
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match self.connect_to(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        if began.elapsed() >= self.patience {
            return Err(Failure::new(Class::Timeout, "the application accepts no connection"));
        }
        Err(Failure::new(Class::Connect, reason(&last)))
    }

    fn connect_to(&self, address: &SockAddr) -> io::Result<Socket> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        // The write timeout is the one that bounds connect(), over TCP and, with a full queue, over a unix socket.
        socket.set_write_timeout(Some(self.patience))?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.connect(address)?;
        if address.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    }
}

/// The address of a unix socket: of a file, or of a name in the abstract namespace, which fcgi-app gives as `@name`.
fn unix(path: &Path) -> io::Result<SockAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        _ => SockAddr::unix(path),
    }
}
