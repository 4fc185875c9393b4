//! Where an application listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use crate::connection::Connection;

/// A unix socket's path or a TCP address. Displayed as `FCGI_BIND` and nginx's `fastcgi_pass` spell it.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// `unix:/path`, or `unix:@name` for a socket in the abstract namespace
    Unix(PathBuf),
    /// `127.0.0.1:9000`, `[::1]:9000`
    Tcp(SocketAddr),
}

impl Address {
    /// A TCP address on 127.0.0.1.
    pub fn loopback(port: u16) -> Self {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A socket in the abstract namespace, with a name that no other process of the tests uses.
    pub fn abstract_socket(name: &str) -> Self {
        Address::Unix(format!("@fcgi-tests-{}-{name}", process::id()).into())
    }

    /// Connects as a web server would.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Address::Unix(path) => Connection::from(UnixStream::connect_addr(&unix(path)?)?),
            Address::Tcp(address) => Connection::from(TcpStream::connect(address)?),
        })
    }

    /// Listens there, and gives back the socket, to be a child's descriptor 0, and its address, which has
    /// a real port where port 0 was asked for.
    pub fn listen(&self) -> io::Result<(OwnedFd, Address)> {
        Ok(match self {
            Address::Unix(path) => (UnixListener::bind_addr(&unix(path)?)?.into(), self.clone()),
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let address = listener.local_addr()?;
                (listener.into(), Address::Tcp(address))
            }
        })
    }
}

fn unix(path: &Path) -> io::Result<net::SocketAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => net::SocketAddr::from_abstract_name(name),
        _ => net::SocketAddr::from_pathname(path),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spelt_as_in_fcgi_bind() {
        assert_eq!(Address::Unix("/run/app.sock".into()).to_string(), "unix:/run/app.sock");
        assert_eq!(Address::loopback(9000).to_string(), "127.0.0.1:9000");
        assert_eq!(Address::Tcp("[::1]:9000".parse().expect("an address")).to_string(), "[::1]:9000");
    }
}
