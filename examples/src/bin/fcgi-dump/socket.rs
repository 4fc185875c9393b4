//! Sockets of either family.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use fcgi_app::Address;
use socket2::Socket;

/// Listens at an address.
pub(super) fn listen(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(host) => TcpListener::bind(host.as_str()).map(Socket::from),
        Address::Unix(path) => match UnixListener::bind_addr(&unix(path)?) {
            // What a program that was killed leaves behind.
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_deserted(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path).map(Socket::from)
            }
            done => done.map(Socket::from),
        },
    }
}

/// Whether a file is a socket on which no process listens any more. A name in the abstract namespace is no file.
fn is_deserted(path: &Path) -> bool {
    // Any other file refuses connections, too.
    abstract_name(path).is_none()
        && fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Connects to an address.
pub(super) fn connect(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(host) => TcpStream::connect(host.as_str()).map(Socket::from),
        Address::Unix(path) => UnixStream::connect_addr(&unix(path)?).map(Socket::from),
    }
}

/// The address of a unix socket: of a file, or of a name in the abstract namespace.
fn unix(path: &Path) -> io::Result<SocketAddr> {
    match abstract_name(path) {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

/// The name in `@name`, which fcgi-app gives as a path.
fn abstract_name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}
