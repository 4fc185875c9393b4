//! What a supervisor leaves to the program that takes its place in the same process: a text in the environment.

use std::env;
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use crate::Error;
use crate::process::watch::Version;
use crate::sys::CallerSignals;

/// The variable it is in.
pub(crate) const VARIABLE: &str = "FCGI_SPAWN_STATE";

/// Changes when what is written changes its meaning.
const VERSION: u32 = 1;

/// All that cannot be found out from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The open descriptor of the listening socket.
    pub(crate) listener: RawFd,
    /// Device and inode of the socket's file.
    pub(crate) socket_file: Option<(u64, u64)>,
    /// The folders that were made for it, and for the pid file.
    pub(crate) folders: [Vec<PathBuf>; 2],
    /// What was ignored and blocked when the first of us was started.
    pub(crate) signals: (u64, u64),
    /// How many workers there are to be.
    pub(crate) workers: usize,
    pub(crate) slots: Vec<Slot>,
    pub(crate) pipes: Vec<Pipes>,
    pub(crate) hearts: Option<Hearts>,
    /// The open descriptor of the log, if it is the stderr we were started with.
    pub(crate) log: Option<RawFd>,
    /// What the workers were started from: each watched file, if it was there.
    pub(crate) watched: Vec<Option<Version>>,
}

/// The open descriptors to which a worker's process writes, as far as there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pipes {
    /// Its slot's number, counted from 1.
    pub(crate) number: usize,
    pub(crate) pid: i32,
    pub(crate) stdout: Option<RawFd>,
    pub(crate) stderr: Option<RawFd>,
}

/// The socket for heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hearts {
    /// The open descriptors: our end, and the workers'.
    pub(crate) ends: (RawFd, RawFd),
    /// The processes whose next beat is expected.
    pub(crate) beating: Vec<i32>,
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) life: Life,
    pub(crate) short_lives: u32,
    pub(crate) quick_exits: u32,
    pub(crate) ends: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Empty,
    /// The next start is so far away.
    Waiting(Duration),
    /// A process, how old it is, and whether it is up.
    Process {
        pid: i32,
        age: Duration,
        up: bool,
    },
}

/// The listening socket that was handed over to this process, if one was.
pub(crate) fn listener() -> Result<Option<RawFd>, Error> {
    Ok(received()?.map(|task| match task {
        Task::Prove(state) | Task::TakeOver(state) => state.listener,
    }))
}

/// What somebody who was given a state is to do with it.
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
        // It came down from somewhere else.
        _ => return Ok(None),
    };
    let state = State::read(rest).filter(|_| version == Some(VERSION)).ok_or_else(unclear)?;
    Ok(Some(task(state)))
}

/// What the one that proves itself says when it could take over.
pub(crate) fn proof(supervisor: u32) -> String {
    format!("ready to take over from {supervisor}\n")
}

impl State {
    /// The text that this process leaves to itself, or shows to a child.
    pub(crate) fn variable(&self) -> OsString {
        format!("{VERSION} {}\n{}", process::id(), self.text()).into()
    }

    pub(crate) fn caller_signals(&self) -> CallerSignals {
        CallerSignals::from_bits(self.signals.0, self.signals.1)
    }

    /// The pipes of this process, to be filled in.
    pub(crate) fn pipes_of(&mut self, number: usize, pid: i32) -> &mut Pipes {
        let at = self.pipes.iter().position(|pipes| pipes.pid == pid).unwrap_or_else(|| {
            self.pipes.push(Pipes { number, pid, stdout: None, stderr: None });
            self.pipes.len() - 1
        });
        &mut self.pipes[at]
    }

    fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes all");
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "listener {}", self.listener)?;
        if let Some((device, inode)) = self.socket_file {
            writeln!(text, "socket-file {device} {inode}")?;
        }
        for (name, folders) in FOLDERS.iter().zip(&self.folders) {
            for folder in folders {
                writeln!(text, "{name} {}", hex(folder.as_os_str().as_bytes()))?;
            }
        }
        writeln!(text, "signals {} {}", self.signals.0, self.signals.1)?;
        writeln!(text, "workers {}", self.workers)?;
        if let Some(log) = self.log {
            writeln!(text, "log {log}")?;
        }
        if let Some(Hearts { ends: (ours, theirs), beating }) = &self.hearts {
            write!(text, "hearts {ours} {theirs}")?;
            beating.iter().try_for_each(|pid| write!(text, " {pid}"))?;
            text.push('\n');
        }
        for version in &self.watched {
            match version {
                Some(Version { modified: (seconds, nanoseconds), size, file: (device, inode) }) => {
                    writeln!(text, "watched {seconds} {nanoseconds} {size} {device} {inode}")?;
                }
                None => text.push_str("watched\n"),
            }
        }
        for Pipes { number, pid, stdout, stderr } in &self.pipes {
            writeln!(text, "pipes {number} {pid} {} {}", fd(*stdout), fd(*stderr))?;
        }
        for slot in &self.slots {
            let past = format!("{} {} {}", slot.short_lives, slot.quick_exits, slot.ends);
            match slot.life {
                Life::Empty => writeln!(text, "empty {past}")?,
                Life::Waiting(pause) => writeln!(text, "waiting {past} {}", pause.as_millis())?,
                Life::Process { pid, age, up } => {
                    writeln!(text, "{} {past} {pid} {}", if up { "up" } else { "starting" }, age.as_millis())?;
                }
            }
        }
        Ok(())
    }

    fn read(text: &str) -> Option<Self> {
        let mut state = State::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next()? {
                "listener" => state.listener = number(&mut words)?,
                "socket-file" => state.socket_file = Some((number(&mut words)?, number(&mut words)?)),
                "signals" => state.signals = (number(&mut words)?, number(&mut words)?),
                "log" => state.log = Some(number(&mut words)?),
                "hearts" => state.hearts = Some(hearts(&mut words)?),
                "pipes" => state.pipes.push(pipes(&mut words)?),
                "workers" => state.workers = number(&mut words)?,
                "watched" => state.watched.push(version(&mut words)?),
                name => match FOLDERS.iter().position(|known| *known == name) {
                    Some(at) => state.folders[at].push(PathBuf::from(OsString::from_vec(unhex(words.next()?)?))),
                    None => state.slots.push(slot(name, &mut words)?),
                },
            }
            if words.next().is_some() {
                return None;
            }
        }
        Some(state)
    }
}

const FOLDERS: [&str; 2] = ["socket-folder", "pid-folder"];

/// Nothing behind the name is a file that was not there.
fn version(words: &mut SplitAsciiWhitespace<'_>) -> Option<Option<Version>> {
    let Some(seconds) = words.next() else { return Some(None) };
    let modified = (seconds.parse().ok()?, number(words)?);
    Some(Some(Version { modified, size: number(words)?, file: (number(words)?, number(words)?) }))
}

fn hearts(words: &mut SplitAsciiWhitespace<'_>) -> Option<Hearts> {
    let ends = (number(words)?, number(words)?);
    let beating = words.map(|pid| pid.parse().ok()).collect::<Option<_>>()?;
    Some(Hearts { ends, beating })
}

fn pipes(words: &mut SplitAsciiWhitespace<'_>) -> Option<Pipes> {
    let (slot, pid) = (number(words)?, number(words)?);
    let mut fd = || number(words).map(|fd| Some(fd).filter(|fd| *fd != NONE));
    Some(Pipes { number: slot, pid, stdout: fd()?, stderr: fd()? })
}

/// In place of a descriptor that there is not.
const NONE: RawFd = -1;

fn fd(fd: Option<RawFd>) -> RawFd {
    fd.unwrap_or(NONE)
}

fn slot(kind: &str, words: &mut SplitAsciiWhitespace<'_>) -> Option<Slot> {
    let (short_lives, quick_exits, ends) = (number(words)?, number(words)?, number(words)?);
    let milliseconds = |words: &mut SplitAsciiWhitespace<'_>| Some(Duration::from_millis(number(words)?));
    let life = match kind {
        "empty" => Life::Empty,
        "waiting" => Life::Waiting(milliseconds(words)?),
        "up" | "starting" => Life::Process { pid: number(words)?, age: milliseconds(words)?, up: kind == "up" },
        _ => return None,
    };
    Some(Slot { life, short_lives, quick_exits, ends })
}

fn number<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let past = |life| Slot { life, short_lives: 1, quick_exits: 2, ends: 3 };
        let state = State {
            listener: 3,
            socket_file: Some((u64::MAX, 5)),
            folders: [vec!["/a b".into(), OsString::from_vec(b"/\xff\n".to_vec()).into()], vec!["/c".into()]],
            signals: (1 << 63, 7),
            workers: 3,
            pipes: vec![
                Pipes { number: 1, pid: 4711, stdout: Some(5), stderr: None },
                Pipes { number: 2, pid: 4712, stdout: None, stderr: Some(8) },
            ],
            hearts: Some(Hearts { ends: (10, 11), beating: vec![4711, 4712] }),
            log: Some(9),
            watched: vec![None, Some(Version { modified: (-1, 999), size: u64::MAX, file: (3, 4) })],
            slots: vec![
                past(Life::Empty),
                past(Life::Waiting(Duration::from_millis(1500))),
                past(Life::Process { pid: 4711, age: Duration::from_secs(60), up: true }),
                past(Life::Process { pid: 4712, age: Duration::ZERO, up: false }),
            ],
        };
        assert_eq!(State::read(&state.text()), Some(state.clone()));
        assert_eq!(State::read(""), Some(State::default()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let cut = ["listener", "up 1 2 3", "hearts 1", "watched 1", "\n"];
        let wrong = ["listener x", "listener 3 4", "future 1", "hearts 1 2 x", "socket-folder 0"];
        for text in cut.into_iter().chain(wrong) {
            assert_eq!(State::read(text), None, "{text:?}");
        }
    }

    /// A variable of the kernel's default limit holds the most workers there can be.
    #[test]
    fn it_fits_into_a_variable() {
        let life = Life::Process { pid: i32::MAX, age: Duration::from_secs(10_000_000), up: true };
        let slot = Slot { life, short_lives: 1_000_000, quick_exits: 1_000_000, ends: 1_000_000_000 };
        let slots = vec![slot; crate::Config::MAX_WORKERS.into()];
        let fd = Some(9999);
        let pipes = Pipes { number: 1024, pid: i32::MAX, stdout: fd, stderr: fd };
        let pipes = vec![pipes; crate::Config::MAX_WORKERS.into()];
        let hearts = Some(Hearts { ends: (9998, 9999), beating: vec![i32::MAX; crate::Config::MAX_WORKERS.into()] });
        assert!(State { slots, pipes, hearts, ..State::default() }.variable().len() < 120_000);
    }
}
