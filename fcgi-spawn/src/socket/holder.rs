//! The processes that hold a listening socket, from `/proc`.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path};
use std::str;

use crate::Address;
use crate::error::Escaped;

/// As many as are named.
const NAMED: usize = 3;

/// The processes that listen at an address, as far as the kernel lets us see them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders(Vec<(u32, String)>);

impl Holders {
    pub(crate) fn of(address: &Address) -> Self {
        let inodes = match address {
            Address::Tcp(address) => listening_tcp(*address),
            Address::Unix(path) => listening_unix(path),
            Address::Abstract(name) => {
                let name = [b"@", name.as_bytes()].concat();
                listeners(&table("unix"), |its| its == name)
            }
            Address::Inherited(_) => Vec::new(),
        };
        if inodes.is_empty() { Holders::default() } else { Holders(processes_with(&inodes)) }
    }
}

/// ` by pid 4711 (php-cgi)`, or nothing.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named = String::new();
        for (pid, name) in self.0.iter().take(NAMED) {
            let _ = write!(named, "{}{pid} ({})", if named.is_empty() { "" } else { ", " }, Escaped(name.as_ref()));
        }
        match self.0.len() {
            0 => Ok(()),
            1 => write!(f, " by pid {named}"),
            count if count <= NAMED => write!(f, " by pids {named}"),
            count => write!(f, " by pids {named} and {} more", count - NAMED),
        }
    }
}

/// The inodes of unix sockets that listen at a path: as it is, as an absolute one, or else by its last name alone,
/// which a process may have bound in its working directory.
fn listening_unix(path: &Path) -> Vec<u64> {
    let table = table("unix");
    let absolute = path::absolute(path).unwrap_or_default();
    let whole = [path, &absolute].map(|path| path.as_os_str().as_bytes());
    let found = listeners(&table, |its| whole.contains(&its));
    match path.file_name() {
        Some(name) if found.is_empty() => listeners(&table, |its| its == name.as_bytes()),
        _ => found,
    }
}

/// `NUM: REFS PROTOCOL FLAGS TYPE STATE INODE PATH`, where the path may contain blanks.
fn listeners(table: &[u8], matches: impl Fn(&[u8]) -> bool) -> Vec<u64> {
    /// `__SO_ACCEPTCON` of the kernel.
    const LISTENS: &[u8] = b"00010000";
    let parse = |line: &[u8]| {
        let (mut fields, mut rest) = ([&b""[..]; 7], line);
        for field in &mut fields {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            (*field, rest) = rest.split_at(end);
        }
        let path = rest.strip_prefix(b" ").unwrap_or_default();
        let inode = str::from_utf8(fields[6]).ok()?.parse().ok()?;
        (fields[3] == LISTENS && matches(path)).then_some(inode)
    };
    table.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// `SL: ADDRESS:PORT PEER STATE ... INODE`: those that a bind to `wanted` collides with.
fn listening_tcp(wanted: SocketAddr) -> Vec<u64> {
    let tables = ["tcp", "tcp6"].map(table).concat();
    let lines = str::from_utf8(&tables).unwrap_or_default().lines();
    lines.filter_map(|line| colliding(line, wanted)).collect()
}

fn colliding(line: &str, wanted: SocketAddr) -> Option<u64> {
    /// `TCP_LISTEN` of the kernel.
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = parse_ip(address)?;
    let collides = address.is_unspecified() || wanted.ip().is_unspecified() || address == wanted.ip().to_canonical();
    let is_it = *fields.get(3)? == LISTENS && u16::from_str_radix(port, 16) == Ok(wanted.port()) && collides;
    if is_it { fields.get(9)?.parse().ok() } else { None }
}

/// An address as the kernel prints it: words of 32 bits in its own byte order, one of them for IPv4 and four for IPv6.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

fn table(name: &str) -> Vec<u8> {
    fs::read(format!("/proc/net/{name}")).unwrap_or_default()
}

/// The processes that have one of these sockets open, the oldest number first.
fn processes_with(inodes: &[u64]) -> Vec<(u32, String)> {
    let wanted: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |pid: u32| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| wanted.iter().any(|socket| link.as_os_str() == socket.as_str()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<_> = pids.filter(|pid| holds(*pid)).map(|pid| (pid, name_of(pid))).collect();
    found.sort_unstable();
    found
}

fn name_of(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
    use std::process;

    use super::*;
    use crate::files::scratch::Scratch;

    #[test]
    fn a_unix_listener_is_found_by_its_path() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff8880: 00000002 00000000 00010000 0001 01 100 /run/a b.sock\n\
            ffff8880: 00000003 00000000 00000000 0001 03   101 /run/a b.sock\n\
            ffff8880: 00000002 00000000 00010000 0001 01   102 /run/a\n\
            ffff8880: 00000003 00000000 00000000 0001 03 103\n";
        let found = |path: &[u8]| listeners(table, |its| its == path);
        assert_eq!((found(b"/run/a b.sock"), found(b"/run/a"), found(b"")), (vec![100], vec![102], vec![]));
    }

    #[test]
    fn a_tcp_listener_is_found_by_what_collides() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let line = |address: &str, state: &str| {
            format!("0: {address}:2328 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 100 1 0 100 0")
        };
        let loopback = line(&hex([127, 0, 0, 1]), "0A");
        let collides = |line: &str, wanted: &str| colliding(line, wanted.parse().expect("an address")).is_some();
        assert!(collides(&loopback, "127.0.0.1:9000") && collides(&loopback, "0.0.0.0:9000"));
        assert!(!collides(&loopback, "127.0.0.1:9001") && !collides(&loopback, "127.0.0.2:9000"));
        assert!(!collides(&line(&hex([127, 0, 0, 1]), "01"), "127.0.0.1:9000"));
        assert!(collides(&line(&"0".repeat(32), "0A"), "127.0.0.1:9000"));
        let mapped = ["0".repeat(16), hex([0, 0, 255, 255]), hex([127, 0, 0, 1])].concat();
        assert!(collides(&line(&mapped, "0A"), "127.0.0.1:9000"));
    }

    #[test]
    fn a_few_are_named() {
        let show = |count: u32| Holders((1..=count).map(|pid| (pid, "a\nb".into())).collect()).to_string();
        assert_eq!((show(0), show(1)), (String::new(), r" by pid 1 (a\nb)".into()));
        assert_eq!(show(2), r" by pids 1 (a\nb), 2 (a\nb)");
        assert_eq!(show(5), r" by pids 1 (a\nb), 2 (a\nb), 3 (a\nb) and 2 more");
    }

    #[test]
    fn real_listeners_are_found() {
        let us = process::id();
        let is_ours = |address: &Address| Holders::of(address).0.iter().any(|(pid, _)| *pid == us);
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let address = Address::Unix(path.clone());
        assert!(!is_ours(&address));
        let _unix = UnixListener::bind(&path).expect("bound");
        assert!(is_ours(&address));

        let name = format!("fcgi-spawn-holder-{us}");
        let in_kernel = UnixAddress::from_abstract_name(&name).expect("a name");
        let address = Address::Abstract(name.into());
        assert!(!is_ours(&address));
        let _abstract = UnixListener::bind_addr(&in_kernel).expect("bound");
        assert!(is_ours(&address));

        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(tcp) = TcpListener::bind(ip) else { continue };
            let address = tcp.local_addr().expect("an address");
            assert!(is_ours(&Address::Tcp(address)), "{address}");
        }
    }
}
