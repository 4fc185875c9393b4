//! Free TCP ports.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up, unless changed):
/// a port that was free a moment ago is not handed to somebody's `connect` before our program binds it, as
/// it would be with `bind(0)`.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A TCP port that is free on 127.0.0.1 and, where there is IPv6, on `[::1]`, and is given out once per process.
///
/// Programs that take their listener as descriptor 0 need none: let [`Address::listen`](crate::Address::listen)
/// bind port 0 for those.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at the same time start at different places.
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = start.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than COUNT");
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        let v6_taken = matches!(&v6, Err(error) if error.kind() == std::io::ErrorKind::AddrInUse);
        if v4.is_ok() && !v6_taken {
            return port;
        }
    }
    panic!("no TCP port is free between {FIRST} and {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let (first, second) = (free_port(), free_port());
        assert_ne!(first, second);
    }
}
