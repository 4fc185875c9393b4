//! strace: what it is told, and what it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::Program;
use crate::proc;

/// What is done to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The call's name.
    pub call: String,
    /// Which of these calls of a process, counted from 1.
    pub nth: usize,
    /// What happens to it.
    pub what: What,
}

/// What happens to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It fails, once.
    Error(String),
    /// It fails, and so do all after it.
    Errors(String),
    /// This signal arrives at it.
    Signal(&'static str),
}

/// How far the launcher is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// The process itself.
    Process,
    /// What it forks as well, until that executes a program.
    Children,
}

/// The lines that say where `main` begins: an image is executed, and the standard library asks for
/// the handler of a signal.
const BORDERS: &str = "execve,rt_sigaction";

/// One tracing of the launcher.
pub(super) struct Strace<'a> {
    pub(super) follow: Follow,
    /// Without it, all calls are listed and none is changed.
    pub(super) injection: Option<&'a Injection>,
}

impl Strace<'_> {
    /// A command that traces what is added to it: a program and its arguments, or `-p` and a process.
    pub(super) fn command(&self, trace: &Path) -> Command {
        let strace = Program::installed("strace").expect("looked for before");
        let mut command = strace.command();
        // Fatal signals end it while it waits: so it is detached.
        command.args(["-qq", "-I2", "-y", "-ttt", "-s", "64", "-e", "signal=none", "-o"]).arg(trace);
        if self.follow == Follow::Children {
            command.arg("-f");
        }
        let executes = self.injection.is_some_and(|injection| injection.call == "execve");
        if self.follow == Follow::Children && !executes {
            command.args(["-b", "execve"]);
        }
        if let Some(Injection { call, nth, what }) = self.injection {
            let what = match what {
                What::Error(error) => format!("error={error}:when={nth}"),
                What::Errors(error) => format!("error={error}:when={nth}+"),
                What::Signal(signal) => format!("signal={signal}:when={nth}"),
            };
            command.arg("-e").arg(format!("trace={call},{BORDERS}"));
            command.arg("-e").arg(format!("inject={call}:{what}"));
        }
        command
    }
}

/// A call that was traced.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The process, if several are followed.
    pub(super) pid: Option<u32>,
    /// Seconds since 1970.
    pub(super) time: f64,
    pub(super) call: String,
    /// What it was called with and what came of it, as strace has it.
    pub(super) arguments: String,
    /// Which of these calls of its process, counted from 1.
    pub(super) nth: usize,
    /// It is one of the dynamic loader, or of Rust's runtime.
    pub(super) before_main: bool,
}

impl Line {
    /// `[PID ]TIME CALL(ARGUMENTS...`, but not the end of a call that another has interrupted.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, arguments) = text.split_once('(')?;
        let mut words = head.split_ascii_whitespace();
        let (first, second, third) = (words.next()?, words.next()?, words.next());
        let (pid, time, call) = match third {
            Some(call) => (Some(u32::from_str(first).ok()?), second, call),
            None => (None, first, second),
        };
        let is_name = call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let (call, arguments) = (call.to_owned(), arguments.to_owned());
        is_name.then_some(Line { pid, time: time.parse().ok()?, call, arguments, nth: 0, before_main: false })
    }
}

/// The last call before `main`: the standard library asks whether this signal is handled.
const LAST: &str = "SIGBUS, NULL";

/// What was traced.
#[derive(Debug, Default)]
pub(super) struct Trace(pub(super) Vec<Line>);

impl Trace {
    /// Reads it. `executed` says whether the process began as strace; otherwise it ran when it was attached.
    pub(super) fn read(path: &Path, executed: bool) -> Self {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let mut lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
        let first = lines.first().and_then(|line| line.pid);
        // For each process, how often it has called what, and whether `main` has begun.
        let mut counts: Vec<(Option<u32>, String, usize)> = Vec::new();
        let mut waiting: Vec<Option<u32>> = Vec::new();
        if executed {
            waiting.push(first);
        }
        for line in &mut lines {
            let known = counts.iter_mut().find(|(pid, call, _)| *pid == line.pid && *call == line.call);
            match known {
                Some((_, _, count)) => {
                    *count += 1;
                    line.nth = *count;
                }
                None => {
                    line.nth = 1;
                    counts.push((line.pid, line.call.clone(), 1));
                }
            }
            line.before_main = waiting.contains(&line.pid);
            match line.call.as_str() {
                "execve" if line.arguments.ends_with("= 0") => waiting.push(line.pid),
                "rt_sigaction" if line.arguments.starts_with(LAST) => waiting.retain(|pid| *pid != line.pid),
                _ => {}
            }
        }
        Trace(lines)
    }

    /// The process that was traced first.
    pub(super) fn first_process(&self) -> Option<u32> {
        self.0.first().and_then(|line| line.pid)
    }

    /// The calls that were changed.
    pub(super) fn changed(&self, injection: &Injection) -> Vec<&Line> {
        let of = |line: &&Line| {
            line.call == injection.call
                && match injection.what {
                    What::Errors(_) => line.nth >= injection.nth,
                    What::Error(_) | What::Signal(_) => line.nth == injection.nth,
                }
        };
        self.0.iter().filter(of).collect()
    }
}

/// The process that traces `pid`.
pub(super) fn tracer(pid: u32) -> Option<u32> {
    proc::status(pid, "TracerPid").first()?.parse().ok().filter(|pid| *pid != 0)
}

/// The file of a trace, beside the files of the launcher.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join("trace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_and_without_a_process() {
        let line = Line::parse("17.5 openat(AT_FDCWD</tmp>, \"/x\", O_RDONLY) = 3").expect("a line");
        assert_eq!((line.pid, line.time, line.call.as_str()), (None, 17.5, "openat"));
        let line = Line::parse("4711  17.5 setsid() = 3 (INJECTED)").expect("a line");
        assert_eq!((line.pid, line.call.as_str(), line.arguments.as_str()), (Some(4711), "setsid", ") = 3 (INJECTED)"));
        for text in ["4711 17.5 <... clone resumed>) = 0", "17.5 +++ exited with 0 +++", ""] {
            assert!(Line::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn main_begins_behind_the_question_for_a_handler() {
        let path = crate::temp_dir();
        let path = path.path().join("trace");
        let text = "1.0 execve(\"/x\", [], 0x1) = 0\n1.1 brk(NULL) = 1\n1.2 rt_sigaction(SIGBUS, NULL, {sa_handler=SIG_DFL}, 8) = 0\n\
            1.3 brk(NULL) = 1\n1.4 execve(\"/x\", [], 0x1) = 0\n1.5 brk(NULL) = 1\n";
        fs::write(&path, text).expect("written");
        let trace = Trace::read(&path, true);
        let seen: Vec<(usize, bool)> =
            trace.0.iter().filter(|line| line.call == "brk").map(|line| (line.nth, line.before_main)).collect();
        assert_eq!(seen, [(1, true), (2, false), (3, true)]);
    }
}
