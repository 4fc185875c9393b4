//! Sockets of either family.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use fcgi_app::Address;
use socket2::Socket;

/// Listens at an address.
pub(super) fn listen(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(host) => TcpListener::bind(host.as_str()).map(Socket::from),
        Address::Unix(path) => match UnixListener::bind(path) {
            // What a program that was killed leaves behind.
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_deserted(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path).map(Socket::from)
            }
            done => done.map(Socket::from),
        },
    }
}

/// Whether a file is a socket on which nobody listens any more.
fn is_deserted(path: &Path) -> bool {
    // Any other file refuses connections, too.
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Connects to an address.
pub(super) fn connect(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(host) => TcpStream::connect(host.as_str()).map(Socket::from),
        Address::Unix(path) => UnixStream::connect(path).map(Socket::from),
    }
}
