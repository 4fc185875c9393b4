//! The connections of the listening socket, and which process has which of them, from /proc.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str;

use crate::sys::{Pid, Stat, directory_of, numbers_in};

/// How many threads and descriptors of a worker's session are looked at: it can have as many as it likes.
pub(crate) const MOST: usize = 4096;

/// What clients do, as far as the kernel shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Busy {
    /// Workers with a connection that they or processes of their sessions have accepted.
    pub(crate) workers: Option<usize>,
    /// Connections that have not been accepted yet.
    pub(crate) waiting: Option<usize>,
}

impl Busy {
    /// Of the workers with these leaders at the listening socket with this inode.
    pub(crate) fn of(listener: u64, leaders: &[Pid]) -> Self {
        let clients = Connections::of(listener);
        let workers = clients.as_ref().and_then(|clients| Self::workers(clients, leaders));
        Busy { workers, waiting: clients.map(|clients| clients.waiting) }
    }

    fn workers(connections: &Connections, leaders: &[Pid]) -> Option<usize> {
        if connections.accepted.is_empty() {
            return Some(0);
        }
        let mut busy = vec![false; leaders.len()];
        for pid in numbers_in("/proc") {
            let Some(stat) = Stat::of(pid) else { continue };
            let Some(at) = leaders.iter().position(|leader| leader.number() == stat.session) else { continue };
            busy[at] = busy[at] || connections.at(pid, &mut MOST.clone())?;
        }
        Some(busy.into_iter().filter(|is_busy| *is_busy).count())
    }
}

/// What a look at the sockets of some processes has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// None of them was accepted at our listening socket.
    None,
    Some,
    /// One is not in the table: it is of another kind, or the kernel has left it out, since the table changed while it was
    /// read.
    Unknown,
    /// They cannot be seen.
    Nothing,
}

/// The connections of our listening socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Those that were accepted, by any process, by inode, sorted.
    accepted: Vec<u64>,
    /// The inodes of all sockets in the table, sorted.
    known: Vec<u64>,
    /// How many were not.
    waiting: usize,
}

impl Connections {
    /// Of the listening socket with this inode; `None` if the kernel does not say.
    pub(crate) fn of(listener: u64) -> Option<Self> {
        let unix = lines("/proc/net/unix").and_then(|lines| Self::unix(&lines, listener));
        unix.or_else(|| {
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| lines(table).unwrap_or_default());
            Self::tcp(&tables.concat(), listener)
        })
    }

    fn new(accepted: impl Iterator<Item = u64>, known: impl Iterator<Item = u64>, waiting: usize) -> Self {
        let sorted = |mut inodes: Vec<u64>| {
            inodes.sort_unstable();
            inodes
        };
        Connections { accepted: sorted(accepted.collect()), known: sorted(known.collect()), waiting }
    }

    /// `NUM REFS PROTOCOL FLAGS TYPE STATE INODE PATH`: the other ends of clients have their listener's path. The kernel
    /// shows one that was not accepted as if it were connecting.
    fn unix(lines: &[Vec<u8>], listener: u64) -> Option<Self> {
        let parse = |line: &Vec<u8>| {
            let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
            let state = fields.nth(5)?.to_vec();
            let inode: u64 = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            Some((state, inode, fields.collect::<Vec<_>>().join(&b' ')))
        };
        let sockets: Vec<_> = lines.iter().filter_map(parse).collect();
        let (_, _, path) = sockets.iter().find(|(_, inode, _)| *inode == listener)?;
        let in_state =
            |wanted: &'static [u8]| sockets.iter().filter(move |(state, _, its)| state == wanted && its == path);
        let accepted = in_state(b"03").map(|(_, inode, _)| *inode);
        let known = sockets.iter().map(|(_, inode, _)| *inode);
        Some(Connections::new(accepted, known, in_state(b"02").count()))
    }

    /// `SL: ADDRESS:PORT PEER STATE QUEUES ... INODE`: an accepted socket has its listener's port, and is in another state;
    /// the second of a listener's queues has the connections that were not accepted.
    fn tcp(lines: &[Vec<u8>], listener: u64) -> Option<Self> {
        let parse = |line: &Vec<u8>| {
            let line = str::from_utf8(line).ok()?;
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let port = fields.get(1)?.rsplit_once(':')?.1.to_owned();
            let queue = usize::from_str_radix(fields.get(4)?.split_once(':')?.1, 16).ok()?;
            Some((port, *fields.get(3)? == "0A", queue, fields.get(9)?.parse::<u64>().ok()?))
        };
        let sockets: Vec<_> = lines.iter().filter_map(parse).collect();
        let (port, _, waiting, _) = sockets.iter().find(|(.., inode)| *inode == listener)?;
        // Those that are closed for good, or not accepted yet, have none.
        let accepted = sockets.iter().filter(|(its, listens, _, inode)| its == port && !listens && *inode != 0);
        let known = sockets.iter().map(|(.., inode)| *inode);
        Some(Connections::new(accepted.map(|(.., inode)| *inode), known, *waiting))
    }

    /// Whether one that was accepted is open in one of these processes, if that can be seen.
    pub(crate) fn any_at(&self, pids: &[u32], left: &mut usize) -> Seen {
        let mut seen = Seen::None;
        for pid in pids {
            let Some(descriptors) = descriptors(*pid) else {
                match Stat::of(*pid).is_some_and(|stat| stat.is_alive()) {
                    true => return Seen::Nothing,
                    false => continue,
                }
            };
            for socket in at_most(left, descriptors).flatten() {
                if self.accepted.binary_search(&socket).is_ok() {
                    return Seen::Some;
                }
                if self.known.binary_search(&socket).is_err() {
                    seen = Seen::Unknown;
                }
            }
        }
        seen
    }

    /// Whether one that was accepted is open in this process, or may be.
    pub(crate) fn are_at(&self, pid: u32, left: &mut usize) -> bool {
        self.at(pid, left).unwrap_or(true)
    }

    /// Whether one that was accepted is open in this process, if that can be seen.
    fn at(&self, pid: u32, left: &mut usize) -> Option<bool> {
        Some(at_most(left, descriptors(pid)?).flatten().any(|socket| self.accepted.binary_search(&socket).is_ok()))
    }
}

/// Whether this socket is open in a process; not if that cannot be seen.
pub(crate) fn has_open(pid: u32, socket: u64, left: &mut usize) -> bool {
    descriptors(pid).is_some_and(|descriptors| at_most(left, descriptors).flatten().any(|open| open == socket))
}

/// The descriptors of a process, those of sockets with their inode.
fn descriptors(pid: u32) -> Option<impl Iterator<Item = Option<u64>>> {
    let inode = |target: PathBuf| {
        let inode = target.as_os_str().as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        str::from_utf8(inode).ok()?.parse().ok()
    };
    let entries = fs::read_dir(format!("{}/fd", directory_of(pid))).ok()?;
    Some(entries.map(move |entry| inode(fs::read_link(entry.ok()?.path()).ok()?)))
}

/// So many of them at most, counted down.
pub(crate) fn at_most<T>(left: &mut usize, entries: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    entries.take_while(|_| {
        *left = left.saturating_sub(1);
        *left > 0
    })
}

/// The inode of what a descriptor of ours refers to.
pub(crate) fn inode(fd: i32) -> Option<u64> {
    fs::metadata(format!("/proc/self/fd/{fd}")).ok().map(|metadata| metadata.ino())
}

fn lines(path: &str) -> Option<Vec<Vec<u8>>> {
    let file = BufReader::new(fs::File::open(path).ok()?);
    file.split(b'\n').collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn table(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_look_is_bounded() {
        let mut left = 5;
        assert_eq!((at_most(&mut left, 0..3).count(), left), (3, 2));
        assert_eq!((at_most(&mut left, 0..3).count(), left), (1, 0));
        assert_eq!((at_most(&mut left, 0..3).count(), left), (0, 0));
    }

    #[test]
    fn accepted_unix_sockets_have_the_path() {
        let table = table(
            "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/a b.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/a b.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 02 0 /run/a b.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 102 /run/other\n\
             0000000000000000: 00000003 00000000 00000000 0001 02 0 /run/other\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 103\n",
        );
        assert_eq!(
            Connections::unix(&table, 100),
            Some(Connections { accepted: vec![101], known: vec![0, 0, 100, 101, 102, 103], waiting: 1 })
        );
        assert_eq!(Connections::unix(&table, 99), None);
    }

    #[test]
    fn accepted_tcp_sockets_have_the_port() {
        let table = table(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:2328 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0\n\
             1: 0100007F:2328 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 101 1 0 20 4 30 10 -1\n\
             2: 0100007F:2328 0100007F:9C41 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1\n\
             3: 0100007F:2329 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1\n",
        );
        assert_eq!(
            Connections::tcp(&table, 100),
            Some(Connections { accepted: vec![101], known: vec![0, 100, 101, 102], waiting: 3 })
        );
        assert_eq!(Connections::tcp(&table, 99), None);
    }

    /// The kernel goes on in its table by a number, so that it may leave out one when another is closed.
    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        let us = std::process::id();
        let path = std::env::temp_dir().join(format!("fcgi-spawn-seen-{us}"));
        let unix = UnixListener::bind(&path).expect("bound");
        let of = || Connections::of(inode(unix.as_raw_fd()).expect("a socket")).expect("the kernel says");
        let seen = |connections: &Connections| connections.any_at(&[us], &mut MOST.clone());
        let _client = UnixStream::connect(&path).expect("connected");
        let accepted = unix.accept().expect("accepted").0;
        fs::remove_file(&path).expect("removed");
        let mut connections = of();
        assert_eq!(seen(&connections), Seen::Some);
        let number = inode(accepted.as_raw_fd()).expect("a socket");
        connections.accepted.retain(|inode| *inode != number);
        connections.known.retain(|inode| *inode != number);
        assert_eq!(seen(&connections), Seen::Unknown);
        assert_eq!(connections.any_at(&[u32::MAX], &mut MOST.clone()), Seen::None, "it has ended");
    }

    #[test]
    fn real_connections_are_found() {
        let us = std::process::id();
        let path = std::env::temp_dir().join(format!("fcgi-spawn-usage-{us}"));
        let unix = UnixListener::bind(&path).expect("bound");
        let clients = || Connections::of(inode(unix.as_raw_fd()).expect("a socket")).expect("the kernel says");
        let _client = UnixStream::connect(&path).expect("connected");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (false, 1));
        let _accepted = unix.accept().expect("accepted");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (true, 0));
        fs::remove_file(&path).expect("removed");

        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let clients = || Connections::of(inode(tcp.as_raw_fd()).expect("a socket")).expect("the kernel says");
        let _client = TcpStream::connect(tcp.local_addr().expect("an address")).expect("connected");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (false, 1));
        let _accepted = tcp.accept().expect("accepted");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (true, 0));
    }
}
