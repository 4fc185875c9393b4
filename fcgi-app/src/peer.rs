use std::fmt;

use socket2::SockAddr;

/// The other end of a connection, for the log.
pub(crate) struct Peer {
    address: SockAddr,
}

impl Peer {
    pub(crate) fn new(address: SockAddr) -> Self {
        Self { address }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.as_socket() {
            Some(address) => write!(f, "peer {address}"),
            None => f.write_str("peer on the unix socket"),
        }
    }
}
