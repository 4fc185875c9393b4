//! Processes that are left over, found in one pass over /proc.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process that was killed may take to be gone.
const TIME: Duration = Duration::from_secs(3);

/// A process that knows a directory: by its environment, its command line or its working directory.
#[derive(Debug)]
pub(crate) struct Left {
    pid: i32,
    pub(crate) command: String,
}

/// All processes that know `directory`, except this one.
pub(crate) fn that_know(directory: &Path) -> Vec<Left> {
    let mark = directory.as_os_str().as_bytes();
    let has_mark = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let ours = i32::try_from(std::process::id()).unwrap_or(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != ours)
        .filter_map(|pid| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let command = read("cmdline");
            let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let knows = folder.starts_with(directory) || has_mark(&command) || has_mark(&read("environ"));
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            knows.then(|| Left { pid, command: command.trim_end().to_owned() })
        })
        .collect()
}

/// Kills all processes that know `directory`, and gives those that did not go by themselves in a moment.
pub(crate) fn end_all(directory: &Path) -> Vec<Left> {
    // What was just killed by a test takes a moment to go.
    let deadline = Instant::now() + TIME;
    let mut left = that_know(directory);
    while !left.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
        left = that_know(directory);
    }
    for process in &left {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    left
}

/// What is left in a temporary directory, and then removed.
pub(crate) fn files_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        left.push(path.display().to_string());
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn finds_a_process_by_what_it_knows_and_ends_it() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(that_know(directory.path()).is_empty());
        let mut children = [
            Command::new("sleep").arg("1000").current_dir(directory.path()).spawn().expect("sleep exists"),
            Command::new("sleep").arg("1000").env("X", directory.path()).spawn().expect("sleep exists"),
        ];
        let mut started: Vec<u32> = children.iter().map(std::process::Child::id).collect();
        started.sort_unstable();
        let begun = Instant::now();
        loop {
            let mut found: Vec<u32> = that_know(directory.path()).iter().map(|left| left.pid.unsigned_abs()).collect();
            found.sort_unstable();
            if found == started {
                break;
            }
            // A program that has just begun has no environment yet.
            assert!(begun.elapsed() < Duration::from_secs(20), "{found:?} found, {started:?} started");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(end_all(directory.path()).len(), 2);
        for child in &mut children {
            assert!(!child.wait().expect("a child").success());
        }
    }
}
