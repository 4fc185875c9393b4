//! What the kernel shows of a process in /proc.

use std::{fs, str};

/// The fields of /proc/PID/stat that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// In user and kernel mode, in ticks of the kernel.
    pub(crate) cpu: u64,
    /// When the process was started, in ticks since the boot.
    pub(crate) start: u64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
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
            start: number(19)?,
        })
    }

    /// Of a thread of a process.
    pub(crate) fn of_thread(pid: u32, thread: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/task/{thread}/stat")).ok()?)
    }

    /// It waits for something.
    pub(crate) fn is_sleeping(&self) -> bool {
        self.state == 'S'
    }

    /// A signal has stopped it, or a debugger.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// The entries of a directory of /proc that are numbers.
pub(crate) fn numbers_in(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let line = b"42 (a) b (c)) S 7 8 9 -1 0 0 0 0 0 0 5 6 0 0 20 0 1 0 4711 0 0";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'S', group: 8, session: 9, cpu: 11, start: 4711 }));
        assert_eq!(Stat::parse(b"42 (cut"), None);
        assert!(Stat::of(std::process::id()).is_some_and(|stat| stat.is_alive()));
    }
}
