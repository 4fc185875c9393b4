//! What processes use, from /proc.

use std::str;

use crate::fleet::Usage;
use crate::process::connections::{Connections, MOST, at_most};
use crate::sys::{self, Pid, Stat, content_of, numbers_in};

/// The memory of a process, in bytes.
pub(crate) fn rss(pid: Pid) -> u64 {
    let statm = content_of(&format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = str::from_utf8(&statm).unwrap_or_default().split_ascii_whitespace().nth(1);
    let pages = pages.and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * sys::page_size()
}

/// All a worker and the processes of its session use. What cannot be read, or is more than [`MOST`], counts as connected.
pub(crate) fn of_worker(leader: Pid, clients: Option<&Connections>) -> Usage {
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

/// How often the threads of a process have begun to wait for something: every request wakes one of them, which waits
/// again afterwards, however short it was. /proc/PID/status has those of the first thread alone.
fn switches(pid: u32, left: &mut usize) -> u64 {
    let threads = format!("/proc/{pid}/task");
    let of_thread = |thread: u32| switches_in(&content_of(&format!("{threads}/{thread}/status")).ok()?);
    at_most(left, numbers_in(&threads)).filter_map(of_thread).fold(0, u64::wrapping_add)
}

/// In /proc/PID/task/TID/status, since Linux 2.6.23.
fn switches_in(status: &[u8]) -> Option<u64> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let count = lines.find_map(|line| line.strip_prefix(b"voluntary_ctxt_switches:"))?;
    str::from_utf8(count).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let of_first = switches_in(&content_of("/proc/self/status").expect("read")).expect("a number");
        drop(to_worker);
        worker.join().expect("it ends");
        assert!(of_all > of_first, "{of_all} {of_first}");
    }

    #[test]
    fn a_worker_that_is_hidden_counts_as_connected() {
        let clients = Connections::default();
        assert!(of_worker(Pid::for_test(i32::MAX), Some(&clients)).connected);
    }
}
