//! Attacks on processes, and on what is known of them.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::home::Home;

/// How many pids ahead of the last one are tried: others take some, too.
const AHEAD: i32 = 8;

/// The pid that was given out last.
fn last_pid() -> Option<i32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Stops the processes that are started next: a new worker can be hit between its change of user and its exec.
pub(crate) fn freeze(home: &Home) {
    let (us, mut next) = (getpid(), Instant::now());
    while !home.is_over() {
        for _ in 0..100 {
            let Some(last) = last_pid() else { continue };
            for pid in (last - 2..=last + AHEAD).filter_map(Pid::from_raw).filter(|pid| *pid != us) {
                let _ = kill_process(pid, Signal::STOP);
            }
        }
        // The other attackers go on.
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(20);
            for pid in home.claimants() {
                let _ = kill_process(pid, Signal::CONT);
            }
        }
    }
}

/// Kills one worker after the other, those that are stopped as well.
pub(crate) fn kill_siblings(home: &Home) {
    for turn in 0.. {
        if home.is_over() {
            return;
        }
        for pid in home.facts("supervisor") {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let children: Vec<Pid> =
                children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
            if let Some(child) = children.get(turn % children.len().max(1)) {
                let _ = kill_process(*child, Signal::KILL);
            }
        }
        thread::sleep(Duration::from_millis(40));
    }
}

/// Tries what should be refused, and notes what was not.
pub(crate) fn intrude(home: &Home) {
    while !home.is_over() {
        for name in ["supervisor", "foreign"] {
            for pid in home.pids(name) {
                for signal in [Signal::STOP, Signal::TERM, Signal::KILL, Signal::HUP, Signal::USR2] {
                    if kill_process(pid, signal).is_ok() {
                        home.loot(&format!("{signal:?} reached {name} {pid:?}"));
                    }
                }
                inspect(home, name, pid);
            }
        }
        for path in home.facts("private") {
            let path = Path::new(&path);
            if File::open(path).is_ok() {
                home.loot(&format!("read {}", path.display()));
            }
            if OpenOptions::new().append(true).open(path).is_ok() {
                home.loot(&format!("may write {}", path.display()));
            }
            if UnixStream::connect(path).is_ok() {
                home.loot(&format!("connected to {}", path.display()));
            }
            if fs::remove_file(path).is_ok() {
                home.loot(&format!("removed {}", path.display()));
            }
        }
        inspect_next(home);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Tries to look into a process of another user.
fn inspect(home: &Home, name: &str, pid: Pid) {
    let root = format!("/proc/{}", pid.as_raw_nonzero());
    for file in ["environ", "maps", "auxv"] {
        // Those of a process that has just ended can be opened, and are empty.
        let read = File::open(format!("{root}/{file}")).and_then(|mut file| file.read(&mut [0]));
        if read.is_ok_and(|count| count > 0) {
            home.loot(&format!("read {file} of {name}"));
        }
    }
    if fs::read_dir(format!("{root}/fd")).is_ok_and(|mut entries| entries.next().is_some()) {
        home.loot(&format!("listed the descriptors of {name}"));
    }
}

/// Tries to read the copy of root's memory that the next process has until it executes the program.
fn inspect_next(home: &Home) {
    for _ in 0..200 {
        let Some(last) = last_pid() else { return };
        for pid in [last, last + 1] {
            if File::open(format!("/proc/{pid}/mem")).is_err() {
                continue;
            }
            // A process that executes the program may be read.
            let is_copy = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("fcgi-spawn"));
            if is_copy {
                home.loot("opened the memory of a process that does not execute the program yet");
            }
        }
    }
}
