//! Where the FastCGI application listens, and how to reach it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::failure::Failure;

/// An application, by all the addresses its name stands for.
pub(super) struct Application {
    addresses: Vec<SockAddr>,
}

impl Application {
    /// Looks `unix:/path` or `HOST:PORT` up; an error is one line for the user.
    pub(super) fn find(name: &OsStr) -> Result<Self, String> {
        let found = match (name.as_bytes().strip_prefix(b"unix:"), name.to_str()) {
            // A name in the abstract namespace, as fcgi-app spells it.
            (Some([b'@', name @ ..]), _) => {
                SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())).map(|address| vec![address])
            }
            (Some(path), _) => SockAddr::unix(OsStr::from_bytes(path)).map(|address| vec![address]),
            (None, Some(name)) => name.to_socket_addrs().map(|all| all.map(SockAddr::from).collect()),
            (None, None) => Err(ErrorKind::InvalidInput.into()),
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => Ok(Self { addresses }),
            Ok(_) => Err(format!("--connect {}: no such address", Path::new(name).display())),
            Err(error) => Err(format!("--connect {}: {error}", Path::new(name).display())),
        }
    }

    /// Connects, and waits that long for a place in the application's queue.
    pub(super) fn connect(&self, patience: Duration) -> Result<Socket, Failure> {
        let began = Instant::now();
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match connect(address, patience) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        if began.elapsed() >= patience {
            return Err(Failure::application(503, "the application accepts no connection"));
        }
        Err(Failure::application(502, format!("cannot reach the application: {last}")))
    }
}

fn connect(address: &SockAddr, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    // The write timeout is the one that bounds connect(), over TCP and, with a full queue, over a unix socket.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(address)?;
    if address.domain() != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}
