//! Where an application listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::connection::Connection;

/// A unix socket's path or a TCP address. Displayed as `FCGI_BIND` and nginx's `fastcgi_pass` spell it.
#[derive(Clone, Debug, PartialEq)]
pub enum Address {
    /// `unix:/path`
    Unix(PathBuf),
    /// `127.0.0.1:9000`, `[::1]:9000`
    Tcp(SocketAddr),
}

impl Address {
    /// A TCP address on 127.0.0.1.
    pub fn loopback(port: u16) -> Self {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Connects as a web server would.
    pub fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Address::Unix(path) => Connection::from(UnixStream::connect(path)?),
            Address::Tcp(address) => Connection::from(TcpStream::connect(address)?),
        })
    }

    /// Listens there, and gives back the socket, to be a child's descriptor 0, and its address, which has
    /// a real port where port 0 was asked for.
    pub fn listen(&self) -> io::Result<(OwnedFd, Address)> {
        Ok(match self {
            Address::Unix(path) => (UnixListener::bind(path)?.into(), self.clone()),
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let address = listener.local_addr()?;
                (listener.into(), Address::Tcp(address))
            }
        })
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
