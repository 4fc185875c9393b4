//! Where the application listens.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use super::usage;
use crate::error::{Error, Quoted};

/// `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH`, or `unix:@NAME` for an abstract socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

impl Target {
    pub(super) fn parse(text: &OsStr) -> Result<Self, Error> {
        if let Some(path) = text.as_bytes().strip_prefix(b"unix:").filter(|path| !path.is_empty()) {
            return Ok(Target::Unix(OsStr::from_bytes(path).into()));
        }
        let tcp = text.to_str().and_then(|text| text.rsplit_once(':')).and_then(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = bare.or_else(|| (!host.contains([':', '[', ']'])).then_some(host))?;
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|&port| digits && port != 0)?;
            (!host.is_empty()).then(|| Target::Tcp { host: host.to_owned(), port })
        });
        tcp.ok_or_else(|| usage(format!("{}: not HOST:PORT, [IPV6]:PORT or unix:PATH", Quoted(text))))
    }

    /// A blocking connection; of several addresses of a name the first one that accepts.
    pub(super) fn connect(&self) -> io::Result<Socket> {
        match self {
            Target::Unix(path) => {
                // The kernel's way to write an abstract name.
                let name = match path.as_os_str().as_bytes() {
                    [b'@', name @ ..] => OsStr::from_bytes(&[b"\0", name].concat()).to_owned(),
                    _ => path.clone().into_os_string(),
                };
                connect(Domain::UNIX, &SockAddr::unix(name)?)
            }
            Target::Tcp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in (&host[..], *port).to_socket_addrs()? {
                    match connect(Domain::for_address(address), &address.into()) {
                        Ok(socket) => {
                            // Records are written whole, and nobody waits for more of them.
                            let _ = socket.set_tcp_nodelay(true);
                            return Ok(socket);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn connect(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect(address)?;
    Ok(socket)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Tcp { host, port } => match host.parse() {
                Ok(ip) => write!(f, "{}", SocketAddr::new(ip, *port)),
                Err(_) => write!(f, "{host}:{port}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16) {
        let target = Target::parse(OsStr::new(text)).expect(text);
        assert_eq!(target, Target::Tcp { host: host.into(), port });
        assert_eq!(target.to_string(), text);
    }

    #[test]
    fn addresses_are_spelt_as_in_fcgi_bind() {
        check("127.0.0.1:9000", "127.0.0.1", 9000);
        check("[::1]:9000", "::1", 9000);
        check("localhost:1", "localhost", 1);
        for path in ["/run/app.sock", "a:1", "@app"] {
            let target = Target::parse(OsStr::new(&format!("unix:{path}"))).expect(path);
            assert_eq!(target, Target::Unix(path.into()));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", "localhost", ":9000", "unix:", "/run/app.sock", "::1:9000", "[::1]", "a:", "a:0", "a:65536", "a:+1"]
        {
            let error = Target::parse(OsStr::new(text)).expect_err(text);
            assert_eq!(error.to_string(), format!("'{text}': not HOST:PORT, [IPV6]:PORT or unix:PATH"));
            assert_eq!(error.exit_status(), 2);
        }
    }
}
