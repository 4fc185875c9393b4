use std::ffi::OsStr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, io};

use socket2::SockAddr;

/// Where a FastCGI application listens: `HOST:PORT`, `[V6]:PORT`, `unix:/path`, or `unix:@name` for a socket in the
/// abstract namespace, which is no file (unix(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host, an address or a name, and a port.
    Tcp(String),
    /// The path of a unix socket, or the name of an abstract one with `@` in front.
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected HOST:PORT, [V6]:PORT, unix:/path or unix:@name")
    }
}

impl std::error::Error for InvalidAddress {}

impl Address {
    /// Reads an address from an environment variable or an argument; a path need not be UTF-8.
    ///
    /// # Errors
    /// [`InvalidAddress`] when it has none of the four forms. A host name is looked up later, on use.
    pub fn parse(text: &OsStr) -> Result<Self, InvalidAddress> {
        if let Some(path) = text.as_bytes().strip_prefix(b"unix:") {
            return match path {
                [] | [b'@'] => Err(InvalidAddress),
                path => Ok(Self::Unix(OsStr::from_bytes(path).into())),
            };
        }
        let text = text.to_str().ok_or(InvalidAddress)?;
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        // An IPv6 address needs its brackets: in `::1:80` nobody can tell where the port begins.
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || u16::from_str(port).is_err() || (host.contains(':') && !bracketed) {
            return Err(InvalidAddress);
        }
        Ok(Self::Tcp(text.into()))
    }

    /// The socket address of a unix socket.
    pub(crate) fn unix(path: &Path) -> io::Result<SockAddr> {
        match path.as_os_str().as_bytes() {
            [b'@', name @ ..] => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
            _ => SockAddr::unix(path),
        }
    }

    /// Whether that is a name in the abstract namespace.
    pub(crate) fn is_abstract(path: &Path) -> bool {
        path.as_os_str().as_bytes().starts_with(b"@")
    }

    /// The socket addresses of a TCP address, names looked up; none for a unix socket.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Tcp(text) => Ok(text.to_socket_addrs()?.collect()),
            Self::Unix(_) => Ok(Vec::new()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &[u8], want: Result<Address, InvalidAddress>) {
        assert_eq!(Address::parse(OsStr::from_bytes(text)), want);
    }

    #[test]
    fn the_four_forms() {
        check(b"127.0.0.1:9000", Ok(Address::Tcp("127.0.0.1:9000".into())));
        check(b"localhost:0", Ok(Address::Tcp("localhost:0".into())));
        check(b"[::1]:9000", Ok(Address::Tcp("[::1]:9000".into())));
        check(b"unix:/run/a b.sock", Ok(Address::Unix("/run/a b.sock".into())));
        check(b"unix:@name", Ok(Address::Unix("@name".into())));
        check(b"unix:/run/\xff", Ok(Address::Unix(OsStr::from_bytes(b"/run/\xff").into())));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", ":", ":9000", "9000", "host", "host:", "host:x", "host:65536", "::1:80", "unix:", "unix:@", "/a/b"]
        {
            check(text.as_bytes(), Err(InvalidAddress));
        }
    }
}
