//! What processes use, from /proc.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::str;

use crate::fleet::Usage;
use crate::sys::{self, Pid, Stat};

/// The memory of a process, in bytes.
pub(crate) fn rss(pid: Pid) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * sys::page_size()
}

/// How many threads and descriptors of a worker's session are looked at: it can have as many as it likes.
const MOST: usize = 4096;

/// All a worker and the processes of its session use. What cannot be read, or is more than [`MOST`], counts as connected.
pub(crate) fn of_worker(leader: Pid, clients: Option<&Clients>) -> Usage {
    let mut usage = Usage { rss: rss(leader), work: 0, connected: true };
    let Some(clients) = clients else { return usage };
    let (mut found, mut connected, mut left) = (false, false, MOST);
    for pid in numbers_in("/proc") {
        let Some(stat) = Stat::of(pid).filter(|stat| stat.session == leader.number()) else { continue };
        found = true;
        usage.work = usage.work.wrapping_add(stat.cpu).wrapping_add(switches(pid, &mut left));
        connected = connected || clients.are_at(pid, &mut left);
        if connected || left == 0 {
            return usage;
        }
    }
    // Where /proc hides processes there is nothing to go by.
    usage.connected = !found;
    usage
}

/// So many of them at most, counted down.
fn at_most<T>(left: &mut usize, entries: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    entries.take_while(|_| {
        *left = left.saturating_sub(1);
        *left > 0
    })
}

/// How often the threads of a process have begun to wait for something: every request wakes one of them, which waits
/// again afterwards, however short it was. /proc/PID/status has those of the first thread alone.
fn switches(pid: u32, left: &mut usize) -> u64 {
    let threads = format!("/proc/{pid}/task");
    let of_thread = |thread: u32| switches_in(&fs::read(format!("{threads}/{thread}/status")).ok()?);
    at_most(left, numbers_in(&threads)).filter_map(of_thread).fold(0, u64::wrapping_add)
}

/// In /proc/PID/task/TID/status, since Linux 2.6.23.
fn switches_in(status: &[u8]) -> Option<u64> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let count = lines.find_map(|line| line.strip_prefix(b"voluntary_ctxt_switches:"))?;
    str::from_utf8(count).ok()?.trim().parse().ok()
}

/// The entries of a directory of /proc that are numbers.
fn numbers_in(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

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
        let clients = Clients::of(listener);
        let workers = clients.as_ref().and_then(|clients| Self::workers(clients, leaders));
        Busy { workers, waiting: clients.map(|clients| clients.waiting) }
    }

    fn workers(clients: &Clients, leaders: &[Pid]) -> Option<usize> {
        if clients.accepted.is_empty() {
            return Some(0);
        }
        let mut busy = vec![false; leaders.len()];
        for pid in numbers_in("/proc") {
            let Some(stat) = Stat::of(pid) else { continue };
            let Some(at) = leaders.iter().position(|leader| leader.number() == stat.session) else { continue };
            busy[at] = busy[at] || clients.at(pid, &mut MOST.clone())?;
        }
        Some(busy.into_iter().filter(|is_busy| *is_busy).count())
    }
}

/// The connections of our listening socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Clients {
    /// Those that were accepted, by any process, by inode.
    accepted: Vec<u64>,
    /// How many were not.
    waiting: usize,
}

impl Clients {
    /// Of the listening socket with this inode; `None` if the kernel does not say.
    pub(crate) fn of(listener: u64) -> Option<Self> {
        let unix = lines("/proc/net/unix").and_then(|lines| Self::unix(&lines, listener));
        unix.or_else(|| {
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| lines(table).unwrap_or_default());
            Self::tcp(&tables.concat(), listener)
        })
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
        let accepted = in_state(b"03").map(|(_, inode, _)| *inode).collect();
        Some(Clients { accepted, waiting: in_state(b"02").count() })
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
        Some(Clients { accepted: accepted.map(|(.., inode)| *inode).collect(), waiting: *waiting })
    }

    /// Whether one that was accepted is open in this process, or may be.
    fn are_at(&self, pid: u32, left: &mut usize) -> bool {
        self.at(pid, left).unwrap_or(true)
    }

    /// Whether one that was accepted is open in this process, if that can be seen.
    fn at(&self, pid: u32, left: &mut usize) -> Option<bool> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = at_most(left, entries).filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Some(links.any(|target| {
            let inode =
                target.as_os_str().as_bytes().strip_prefix(b"socket:[").and_then(|rest| rest.strip_suffix(b"]"));
            let inode = inode.and_then(|inode| str::from_utf8(inode).ok()?.parse().ok());
            inode.is_some_and(|inode: u64| self.accepted.contains(&inode))
        }))
    }
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
    fn voluntary_switches_are_read() {
        let status = b"Name:\tvoluntary_ctxt_switches:\t1\nThreads:\t2\nvoluntary_ctxt_switches:\t150\n\
            nonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(switches_in(status), Some(150));
        assert_eq!(switches_in(b"nonvoluntary_ctxt_switches:\t545\n"), None);
    }

    #[test]
    fn switches_of_every_thread_count() {
        let us = std::process::id();
        let (to_worker, from_us) = std::sync::mpsc::channel::<()>();
        let (to_us, from_worker) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || from_us.iter().for_each(|()| to_us.send(()).expect("sent")));
        for _ in 0..100 {
            to_worker.send(()).expect("sent");
            from_worker.recv().expect("received");
        }
        let of_all = switches(us, &mut MOST.clone());
        let of_first = switches_in(&fs::read("/proc/self/status").expect("read")).expect("a number");
        drop(to_worker);
        worker.join().expect("it ends");
        assert!(of_all > of_first, "{of_all} {of_first}");
    }

    #[test]
    fn a_worker_that_is_hidden_counts_as_connected() {
        let clients = Clients::default();
        assert!(of_worker(Pid::for_test(i32::MAX), Some(&clients)).connected);
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
        assert_eq!(Clients::unix(&table, 100), Some(Clients { accepted: vec![101], waiting: 1 }));
        assert_eq!(Clients::unix(&table, 99), None);
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
        assert_eq!(Clients::tcp(&table, 100), Some(Clients { accepted: vec![101], waiting: 3 }));
        assert_eq!(Clients::tcp(&table, 99), None);
    }

    #[test]
    fn real_connections_are_found() {
        let us = std::process::id();
        let path = std::env::temp_dir().join(format!("fcgi-spawn-usage-{us}"));
        let unix = UnixListener::bind(&path).expect("bound");
        let clients = || Clients::of(inode(unix.as_raw_fd()).expect("a socket")).expect("the kernel says");
        let _client = UnixStream::connect(&path).expect("connected");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (false, 1));
        let _accepted = unix.accept().expect("accepted");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (true, 0));
        fs::remove_file(&path).expect("removed");

        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let clients = || Clients::of(inode(tcp.as_raw_fd()).expect("a socket")).expect("the kernel says");
        let _client = TcpStream::connect(tcp.local_addr().expect("an address")).expect("connected");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (false, 1));
        let _accepted = tcp.accept().expect("accepted");
        assert_eq!((clients().are_at(us, &mut MOST.clone()), clients().waiting), (true, 0));
    }
}
