//! What a supervisor leaves to the program that takes its place in the same process: a text in the environment.
//!
//! It has the listening socket, the workers' processes, and the pipes that they write to, which nothing could replace.
//! Everything else starts anew.

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use crate::Error;
use crate::sys::CallerSignals;

/// The variable it is in.
pub(crate) const VARIABLE: &str = "FCGI_SPAWN_STATE";

/// Changes when what is written changes its meaning.
const VERSION: u32 = 2;

/// All that cannot be found out from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The open descriptor of the listening socket; there may be none.
    pub(crate) listener: Option<RawFd>,
    /// Device and inode of the socket's file.
    pub(crate) socket_file: Option<(u64, u64)>,
    /// The directories that were made for it, and for the pid file.
    pub(crate) made: [Vec<PathBuf>; 2],
    /// What was ignored and blocked when the first supervisor was started.
    pub(crate) signals: (u64, u64),
    /// The open descriptor of the log, if it is the stderr with which that was started.
    pub(crate) log: Option<RawFd>,
    pub(crate) workers: Vec<Running>,
}

/// A worker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) slot: usize,
    pub(crate) pid: i32,
    pub(crate) age: Duration,
    /// Our open ends of its stdout, its stderr and its channel.
    pub(crate) pipes: [Option<RawFd>; 3],
    /// A heartbeat is expected of it.
    pub(crate) is_due: bool,
}

/// The listening socket that was handed over to this process, if one was.
pub(crate) fn listener() -> Result<Option<RawFd>, Error> {
    Ok(received()?.and_then(|task| match task {
        Task::Prove(state) | Task::TakeOver(state) => state.listener,
    }))
}

/// What a process that was given a state is to do with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Show that it could take over, and end.
    Prove(State),
    TakeOver(State),
}

/// The state that is meant for this process, if there is one.
pub(crate) fn received() -> Result<Option<Task>, Error> {
    let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
    let unclear = || Error::new(format!("the state in {VARIABLE} cannot be read: it is another version's"));
    let text = text.to_str().ok_or_else(unclear)?;
    let (head, rest) = text.split_once('\n').ok_or_else(unclear)?;
    let (version, pid) = head.split_once(' ').ok_or_else(unclear)?;
    let (version, pid): (Option<u32>, Option<u32>) = (version.parse().ok(), pid.parse().ok());
    let task = match pid {
        Some(pid) if pid == process::id() => Task::TakeOver,
        Some(pid) if pid == parent_id() => Task::Prove,
        // It was inherited from a process that is not ours.
        _ => return Ok(None),
    };
    let state = State::read(rest).filter(|_| version == Some(VERSION)).ok_or_else(unclear)?;
    Ok(Some(task(state)))
}

/// What the program prints when it could take over.
pub(crate) fn proof(supervisor: u32) -> String {
    format!("ready to take over from {supervisor}\n")
}

/// The lines of [`State::made`].
const MADE: [&str; 2] = ["socket-directory", "pid-directory"];

impl State {
    /// The text that this process leaves to itself, or shows to a child.
    pub(crate) fn variable(&self) -> OsString {
        format!("{VERSION} {}\n{}", process::id(), self.text()).into()
    }

    pub(crate) fn caller_signals(&self) -> CallerSignals {
        CallerSignals::from_bits(self.signals.0, self.signals.1)
    }

    fn text(&self) -> String {
        let mut text = format!("signals {} {}\n", self.signals.0, self.signals.1);
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{words}");
        };
        if let Some(listener) = self.listener {
            line(format_args!("listener {listener}"));
        }
        if let Some((device, inode)) = self.socket_file {
            line(format_args!("socket-file {device} {inode}"));
        }
        if let Some(log) = self.log {
            line(format_args!("log {log}"));
        }
        for (name, directories) in MADE.iter().zip(&self.made) {
            for directory in directories {
                let hex: String = directory.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                line(format_args!("{name} {hex}"));
            }
        }
        for Running { slot, pid, age, pipes, is_due } in &self.workers {
            let [stdout, stderr, channel] = pipes.map(|fd| fd.unwrap_or(NONE));
            let (age, due) = (age.as_millis(), u8::from(*is_due));
            line(format_args!("worker {slot} {pid} {age} {stdout} {stderr} {channel} {due}"));
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let mut state = State::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let words = &mut words;
            match words.next()? {
                "listener" => state.listener = Some(number(words)?),
                "socket-file" => state.socket_file = Some((number(words)?, number(words)?)),
                "signals" => state.signals = (number(words)?, number(words)?),
                "log" => state.log = Some(number(words)?),
                "worker" => state.workers.push(Running {
                    slot: number(words).filter(|slot| *slot < usize::from(crate::Config::MAX_WORKERS))?,
                    pid: number(words)?,
                    age: Duration::from_millis(number(words)?),
                    pipes: [descriptor(words)?, descriptor(words)?, descriptor(words)?],
                    is_due: number::<u8>(words)? == 1,
                }),
                name => {
                    let made = MADE.iter().position(|known| *known == name)?;
                    state.made[made].push(OsString::from_vec(unhex(words.next()?)?).into());
                }
            }
            if words.next().is_some() {
                return None;
            }
        }
        Some(state)
    }
}

/// In place of a missing descriptor.
const NONE: RawFd = -1;

fn descriptor(words: &mut SplitAsciiWhitespace<'_>) -> Option<Option<RawFd>> {
    number(words).map(|fd| Some(fd).filter(|fd| *fd != NONE))
}

fn number<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if digits.len() % 2 == 0 { digits.chunks(2).map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let state = State {
            listener: Some(3),
            socket_file: Some((u64::MAX, 5)),
            made: [vec!["/a b".into(), OsString::from_vec(b"/\xff\n".to_vec()).into()], vec!["/c".into()]],
            signals: (1 << 63, 7),
            log: Some(9),
            workers: vec![
                Running {
                    slot: 0,
                    pid: 4711,
                    age: Duration::from_secs(60),
                    pipes: [Some(5), None, Some(6)],
                    is_due: true,
                },
                Running { slot: 2, pid: 4712, age: Duration::ZERO, pipes: [None; 3], is_due: false },
            ],
        };
        assert_eq!(State::read(&state.text()), Some(state.clone()));
        assert_eq!(State::read(""), Some(State::default()));
    }

    #[test]
    fn unknown_lines_are_refused() {
        let cut = ["listener", "worker 1 2 3", "signals 1", "\n", "socket-directory 0"];
        let wrong = ["listener x", "listener 3 4", "future 1", "worker 1024 2 3 -1 -1 -1 0", "worker 0 1 2 3 4 5 6 7"];
        for text in cut.into_iter().chain(wrong) {
            assert_eq!(State::read(text), None, "{text:?}");
        }
    }

    /// A variable of the kernel's default limit holds the most workers there can be.
    #[test]
    fn it_fits_into_a_variable() {
        let age = Duration::from_secs(10_000_000);
        let worker = Running { slot: 1023, pid: i32::MAX, age, pipes: [Some(99_999); 3], is_due: true };
        let workers = vec![worker; crate::Config::MAX_WORKERS.into()];
        assert!(State { workers, ..State::default() }.variable().len() < 120_000);
    }
}
