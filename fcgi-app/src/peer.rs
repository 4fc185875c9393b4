use std::fmt;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    /// On a unix socket there is none.
    address: Option<SocketAddr>,
}

impl Peer {
    pub(crate) fn new(address: &SockAddr) -> Self {
        Self { address: address.as_socket() }
    }

    /// Its IP address, IPv4 ones as such; `None` on a unix socket.
    fn ip(&self) -> Option<IpAddr> {
        Some(self.address?.ip().to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "peer {address}"),
            None => f.write_str("peer on the unix socket"),
        }
    }
}

/// The web servers that may connect, `FCGI_WEB_SERVER_ADDRS`. Specification section 3.2.
pub(crate) struct AllowedPeers(Option<Vec<IpAddr>>);

impl AllowedPeers {
    /// Reads a comma-separated list of addresses; `None` admits everybody, an empty list nobody. What is no address is
    /// logged and admits nobody.
    pub(crate) fn parse(list: Option<&str>) -> Self {
        let parse_item = |item: &str| match item.trim().parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) => {
                log::warn!("FCGI_WEB_SERVER_ADDRS: '{}' is no address", item.trim().escape_default());
                None
            }
        };
        let items =
            |list: &str| list.split(',').filter(|item| !item.trim().is_empty()).filter_map(parse_item).collect();
        Self(list.map(items))
    }

    /// Whether a peer may connect. Where addresses are listed, one on a unix socket has none.
    pub(crate) fn admit(&self, peer: &Peer) -> bool {
        self.0.as_ref().is_none_or(|allowed| peer.ip().is_some_and(|ip| allowed.contains(&ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: Option<&str>, peer: &str, want: bool) {
        let peer = Peer::new(&peer.parse::<SocketAddr>().expect("an address").into());
        assert_eq!(AllowedPeers::parse(list).admit(&peer), want);
    }

    #[test]
    fn addresses_are_compared_not_texts() {
        check(None, "10.0.0.1:5", true);
        check(Some("127.0.0.1, 10.0.0.1"), "10.0.0.1:5", true);
        check(Some("127.0.0.1,10.0.0.1"), "10.0.0.2:5", false);
        check(Some("10.0.0.1"), "[::ffff:10.0.0.1]:5", true);
        check(Some("0:0::1"), "[::1]:5", true);
        check(Some(""), "10.0.0.1:5", false);
        check(Some("x,10.0.0.1"), "10.0.0.1:5", true);
        check(Some("10.0.0.1x"), "10.0.0.1:5", false);
    }

    #[test]
    fn a_unix_socket_has_no_address() {
        let peer = Peer::new(&SockAddr::unix("/s").expect("short"));
        assert!(AllowedPeers::parse(None).admit(&peer));
        assert!(!AllowedPeers::parse(Some("127.0.0.1")).admit(&peer));
    }
}
