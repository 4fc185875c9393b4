//! Why we do not listen.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Quoted, Reason};
use crate::socket::holder::Holders;
use crate::{Address, Error};

#[derive(Debug)]
pub(crate) enum BindError {
    InUse,
    /// By another launcher.
    BeingBound,
    NotASocket,
    NoDirectory,
    /// Not bound, because the root directory could not be changed.
    Root(Error),
    Io(io::Error),
}

impl BindError {
    /// What is reported: also which processes have the address, if that can be seen.
    pub(crate) fn into_error(self, address: &Address, root: Option<&Path>) -> Error {
        let holders = if let BindError::InUse = self { Holders::of(address).to_string() } else { String::new() };
        match self {
            BindError::Root(error) => error,
            refused => {
                let inside = root.map(|root| format!(" inside {}", Quoted(root.as_os_str()))).unwrap_or_default();
                Error::new(format!("cannot bind {address}{inside}: {refused}{holders}"))
            }
        }
    }
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => BindError::InUse,
            _ => BindError::Io(error),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse => f.write_str("already in use"),
            BindError::BeingBound => f.write_str("already in use by another launcher that is just starting"),
            BindError::NotASocket => f.write_str("exists and is not a socket"),
            BindError::NoDirectory => f.write_str("No such file or directory (--mkdir makes its directory)"),
            BindError::Root(error) => error.fmt(f),
            BindError::Io(error) => Reason(error).fmt(f),
        }
    }
}
