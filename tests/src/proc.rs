//! What the kernel says of processes, from /proc.

use std::fs;
use std::path::PathBuf;

/// The fields of /proc/PID/stat that we need.
#[derive(Debug, PartialEq)]
struct Stat {
    state: char,
    parent: u32,
    session: u32,
    terminal: i32,
    start_time: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (NAME) STATE PPID ...`, where NAME may contain blanks and parentheses. See proc(5).
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            terminal: fields.get(4)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Whether process `pid` runs: it exists and is not a zombie.
///
/// A killed process shows as a zombie as soon as its first thread has ended. While others are still ending, they can
/// take connections off a listening socket, so it counts as running until they are gone.
pub fn is_alive(pid: u32) -> bool {
    let Some(stat) = Stat::of(pid) else { return false };
    !matches!(stat.state, 'Z' | 'X') || numbers_in(&format!("/proc/{pid}/task")).len() > 1
}

/// Whether it was stopped by a signal. A parent that waits for the child of a vfork to execute stops after that.
pub fn is_stopped(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.state == 'T')
}

/// Where in the kernel a process waits: the name of a function, for root.
pub fn wait_channel(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

/// When it was started, in clock ticks since boot.
pub fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_time)
}

/// Its name as `ps` and `pgrep -x` see it, at most 15 bytes.
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

/// Its session's id: its own pid when it leads one.
pub fn session(pid: u32) -> Option<u32> {
    Stat::of(pid).map(|stat| stat.session)
}

/// The device number of its controlling terminal, 0 without one.
pub fn terminal(pid: u32) -> Option<i32> {
    Stat::of(pid).map(|stat| stat.terminal)
}

/// Its arguments, its name in front. Empty for a zombie.
pub fn command_line(pid: u32) -> Vec<String> {
    strings_in(pid, "cmdline")
}

/// The environment it was started with, as `NAME=VALUE`.
pub fn environment(pid: u32) -> Vec<String> {
    strings_in(pid, "environ")
}

/// What one of its links says: `exe`, `cwd` or `root`.
pub fn link(pid: u32, name: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/{name}")).ok()
}

/// The line `NAME:` of /proc/PID/status, in words; empty when there is none.
pub fn status(pid: u32, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

/// What its descriptor `fd` refers to, such as `socket:[4711]`. Two processes with the same answer share it.
pub fn descriptor(pid: u32, fd: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// The numbers of its open descriptors.
pub fn descriptors(pid: u32) -> Vec<u32> {
    let mut numbers = numbers_in(&format!("/proc/{pid}/fd"));
    numbers.sort_unstable();
    numbers
}

/// Its children that run, oldest first.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found: Vec<(u64, u32)> = numbers_in("/proc")
        .into_iter()
        .filter_map(|child| Some((child, Stat::of(child)?)))
        .filter(|(_, stat)| stat.parent == pid && !matches!(stat.state, 'Z' | 'X'))
        .map(|(child, stat)| (stat.start_time, child))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, child)| child).collect()
}

/// Its children, their children and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = children(pid);
    let mut next = 0;
    while let Some(&child) = all.get(next) {
        all.extend(children(child));
        next += 1;
    }
    all
}

/// Those of its descendants that are called `name`: `pgrep -x name`, but blind to what other tests run.
pub fn descendants_named(pid: u32, wanted: &str) -> Vec<u32> {
    descendants(pid).into_iter().filter(|&pid| name(pid).as_deref() == Some(wanted)).collect()
}

/// The strings of a file in /proc/PID, each of which ends in a NUL.
fn strings_in(pid: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mut strings: Vec<String> = bytes.split(|&byte| byte == 0).map(|s| String::from_utf8_lossy(s).into()).collect();
    strings.pop();
    strings
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::eventually;
    use crate::process::Process;
    use std::process::Command;

    #[test]
    fn a_name_may_contain_anything() {
        let line = "42 (a) b (c)) S 7 8 9 -1 0 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'S', parent: 7, session: 9, terminal: -1, start_time: 4711 }));
        assert_eq!(Stat::parse("42 (cut"), None);
    }

    #[test]
    fn grandchildren_are_found_by_name() {
        let process = Process::start(Command::new("/bin/sh").args(["-c", "sh -c 'sleep 1000; :'; :"]));
        let found = eventually("a grandchild named sleep", || {
            let found = descendants_named(process.pid(), "sleep");
            (!found.is_empty()).then_some(found)
        });
        // The shells do not pass SIGTERM on.
        let _sleep = crate::Stray::adopt(found[0]);
        assert_eq!(found.len(), 1);
        assert!(is_alive(found[0]) && descriptors(found[0]).contains(&2));
        assert!(children(process.pid()).len() == 1 && !children(process.pid()).contains(&found[0]));
    }
}
