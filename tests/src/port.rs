//! Free TCP ports.

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up, unless changed):
/// a port that was free a moment ago is not handed to somebody's `connect` before our program binds it, as
/// it would be with `bind(0)`.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A TCP port on which nothing listens at 127.0.0.1 and `[::1]`, given out once on this machine as long as this process
/// lives.
///
/// Programs that take their listener as descriptor 0 need none: let [`Address::listen`](crate::Address::listen)
/// bind port 0 for those.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at the same time start at different places, to meet seldom.
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = start.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than COUNT");
        if !reserve(port) {
            continue;
        }
        // Not found out by listening there: a child that another test forks meanwhile would have the listener until
        // its exec, and the port would be taken for the program that is to have it.
        let over_ipv4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let over_ipv6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port));
        if over_ipv4.is_err() && over_ipv6.is_err() {
            return port;
        }
    }
    panic!("no TCP port is free between {FIRST} and {}", FIRST + COUNT);
}

/// Whether no other test process has this port: a name in the network namespace, which goes with the process.
fn reserve(port: u16) -> bool {
    static RESERVED: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("fcgi-tests-port-{port}")).expect("a short name");
    match UnixDatagram::bind_addr(&name) {
        Ok(socket) => {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let (first, second) = (free_port(), free_port());
        assert_ne!(first, second);
        assert!(!reserve(first), "another process would step over it");
    }
}
