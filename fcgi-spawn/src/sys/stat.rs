//! What the kernel shows of a process in /proc.

use std::fs::{self, File};
use std::io::{self, Read};
use std::str;

/// How much of a file is read: what a process makes longer than that is cut.
const MOST: u64 = 1 << 20;

/// The fields of /proc/PID/stat that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// In user and kernel mode, in ticks of the kernel.
    pub(crate) cpu: u64,
    /// How many threads the process has. It may go on without its first one, which shows in the state.
    threads: u64,
    /// When the process was started, in ticks since the boot.
    pub(crate) start: u64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&content_of(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (NAME) STATE PPID PGRP SESSION ...`, where NAME may be anything: proc(5).
    fn parse(line: &[u8]) -> Option<Self> {
        let behind_name = line.iter().rposition(|byte| *byte == b')')? + 1;
        let fields = str::from_utf8(&line[behind_name..]).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            cpu: number(11)? + number(12)?,
            threads: number(17)?,
            start: number(19)?,
        })
    }

    /// Of a thread of a process.
    pub(crate) fn of_thread(pid: u32, thread: u32) -> Option<Self> {
        Self::parse(&content_of(&format!("/proc/{pid}/task/{thread}/stat")).ok()?)
    }

    /// It waits for something.
    pub(crate) fn is_sleeping(&self) -> bool {
        self.state == 'S'
    }

    /// A signal has stopped it, or a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Of a thread; of a process, whether its first one has.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether a thread of the process runs.
    pub(crate) fn is_alive(&self) -> bool {
        !self.has_ended() || self.threads > 1
    }
}

/// What a file of /proc says, in the fewest calls: none of them tells its size.
pub(crate) fn content_of(path: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(1024);
    File::open(path)?.take(MOST).read_to_end(&mut content)?;
    Ok(content)
}

/// Where the kernel shows what a process has open and executes: that is with a thread that has not ended.
pub(crate) fn directory_of(pid: u32) -> String {
    let process = format!("/proc/{pid}");
    if Stat::of(pid).is_none_or(|stat| !stat.has_ended()) {
        return process;
    }
    let runs = |thread: &u32| Stat::of_thread(pid, *thread).is_some_and(|stat| !stat.has_ended());
    let thread = numbers_in(&format!("{process}/task")).take(4096).find(runs);
    thread.map_or(process, |thread| format!("/proc/{pid}/task/{thread}"))
}

/// The entries of a directory of /proc that are numbers.
pub(crate) fn numbers_in(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its first thread has ended, and the process goes on.
    #[test]
    fn a_process_lives_as_long_as_a_thread() {
        let stat = |state: char, threads: u64| {
            let line = format!("42 (a) {state} 7 8 9 -1 0 0 0 0 0 0 5 6 0 0 20 0 {threads} 0 4711 0 0");
            Stat::parse(line.as_bytes()).expect("a line")
        };
        for (state, threads, is_alive, has_ended) in
            [('S', 1, true, false), ('Z', 1, false, true), ('Z', 2, true, true), ('X', 0, false, true)]
        {
            let stat = stat(state, threads);
            assert_eq!((stat.is_alive(), stat.has_ended()), (is_alive, has_ended), "{stat:?}");
        }
        assert_eq!(directory_of(std::process::id()), format!("/proc/{}", std::process::id()));
    }

    #[test]
    fn a_name_may_contain_anything() {
        let line = b"42 (a) b (c)) S 7 8 9 -1 0 0 0 0 0 0 5 6 0 0 20 0 1 0 4711 0 0";
        assert_eq!(
            Stat::parse(line),
            Some(Stat { state: 'S', group: 8, session: 9, cpu: 11, threads: 1, start: 4711 })
        );
        assert_eq!(Stat::parse(b"42 (cut"), None);
        assert!(Stat::of(std::process::id()).is_some_and(|stat| stat.is_alive()));
    }
}
