//! Where clients connect to.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Quoted;

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The path of a unix stream socket.
    Unix(PathBuf),
    /// A unix stream socket without a file: a name in the network namespace.
    Abstract(OsString),
    /// A TCP address.
    Tcp(SocketAddr),
    /// The listening stream socket that the process was started with as this descriptor, wherever it is bound.
    Inherited(RawFd),
}

impl Address {
    /// The longest path or abstract name a unix socket may have, in bytes.
    pub const MAX_PATH: usize = 107;

    /// Reads the path of a unix socket, or the name of an abstract one behind `@`.
    pub(crate) fn unix(typed: &OsStr) -> Result<Self, String> {
        let name = typed.as_bytes().strip_prefix(b"@");
        match name.unwrap_or(typed.as_bytes()).len() {
            // An empty name would be any free abstract one, to the kernel.
            0 => Err("the path is empty".into()),
            1..=Self::MAX_PATH => Ok(match name {
                Some(name) => Address::Abstract(OsStr::from_bytes(name).into()),
                None => Address::Unix(typed.into()),
            }),
            _ => Err(format!("too long, {} bytes fit", Self::MAX_PATH)),
        }
    }

    /// Changes the IP address of a TCP address.
    pub(crate) fn set_ip(&mut self, ip: IpAddr) -> Result<(), String> {
        self.tcp().map(|address| address.set_ip(ip))
    }

    /// Changes the port of a TCP address.
    pub(crate) fn set_port(&mut self, port: u16) -> Result<(), String> {
        self.tcp().map(|address| address.set_port(port))
    }

    fn tcp(&mut self) -> Result<&mut SocketAddr, String> {
        match self {
            Address::Tcp(address) => Ok(address),
            _ => Err("not with a unix socket".into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", Quoted(path.as_os_str())),
            Address::Abstract(name) => {
                let mut shown = OsString::from("@");
                shown.push(name);
                write!(f, "{}", Quoted(&shown))
            }
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Inherited(fd) => write!(f, "the socket of descriptor {fd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_sign_makes_an_abstract_name() {
        assert_eq!(Address::unix("@/a".as_ref()), Ok(Address::Abstract("/a".into())));
        assert_eq!(Address::unix("./@a".as_ref()), Ok(Address::Unix("./@a".into())));
    }

    #[test]
    fn path_and_name_have_1_to_107_bytes() {
        let longest = "x".repeat(107);
        for (typed, address) in [
            (longest.clone(), Address::Unix(longest.clone().into())),
            (format!("@{longest}"), Address::Abstract(longest.clone().into())),
        ] {
            assert_eq!(Address::unix(typed.as_ref()), Ok(address));
            assert_eq!(Address::unix((typed + "x").as_ref()), Err("too long, 107 bytes fit".into()));
        }
        for empty in ["", "@"] {
            assert_eq!(Address::unix(empty.as_ref()), Err("the path is empty".into()));
        }
    }
}
