//! One line of the log, in the form that each kind of log wants.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process;
use std::time::Duration;

use crate::error::Escaped;
use crate::output::escape;
use crate::output::lines::Lines;
use crate::output::utc::Utc;
use crate::sys::Pid;

/// A line and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) priority: Priority,
    pub(crate) from: From<'a>,
    pub(crate) text: &'a [u8],
    /// How many bytes were cut off behind.
    pub(crate) cut: u64,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From<'a> {
    /// The launcher's, by its name.
    Us(&'a str),
    Worker(Tag),
}

/// A worker by its slot, counted from 1, and its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) number: usize,
    pub(crate) pid: Pid,
}

/// How important a line is, by syslog's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// syslog's number for daemons, where its priorities begin.
const DAEMON: u8 = 3 << 3;

impl Entry<'_> {
    /// For a terminal, or for a program that collects stderr and adds the time.
    pub(crate) fn plain(&self) -> Vec<u8> {
        self.line(format!("{}: ", self.from))
    }

    /// For a file.
    pub(crate) fn dated(&self, now: Duration) -> Vec<u8> {
        self.line(format!("{} {}: ", Utc(now), self.from))
    }

    /// For syslog, whose daemon adds the time: RFC 3164 without what is left to it, and the NUL that ends a message in a
    /// stream.
    pub(crate) fn syslog(&self, us: &str) -> Vec<u8> {
        let mut front = format!("<{}>{}[{}]: ", DAEMON | self.priority as u8, From::Us(us), process::id());
        if let From::Worker(tag) = self.from {
            let _ = write!(front, "{tag}: ");
        }
        self.ended(front, 0)
    }

    fn line(&self, front: String) -> Vec<u8> {
        self.ended(front, b'\n')
    }

    /// The text, of which no byte can be taken for the end.
    fn ended(&self, front: String, end: u8) -> Vec<u8> {
        let mut line = front.into_bytes();
        // Of a line that ends in CR LF.
        let text = self.text.strip_suffix(b"\r").unwrap_or(self.text);
        let shown = escape::push(&mut line, text, Lines::MAX);
        let cut = self.cut + (text.len() - shown) as u64;
        if cut > 0 {
            let _ = write!(line, " ... ({cut} bytes cut)");
        }
        line.push(end);
        line
    }
}

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Us(name) => Escaped(OsStr::new(name)).fmt(f),
            From::Worker(tag) => tag.fmt(f),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (pid {})", self.number, self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("it was text")
    }

    #[test]
    fn each_log_has_its_form() {
        let us = Entry { priority: Priority::Error, from: From::Us("it"), text: b"oh", cut: 0 };
        let tag = Tag { number: 2, pid: Pid::for_test(4711) };
        let worker = Entry { priority: Priority::Info, from: From::Worker(tag), text: b"ah", cut: 17 };
        let pid = process::id();
        assert_eq!(text(us.plain()), "it: oh\n");
        assert_eq!(text(us.dated(Duration::ZERO)), "1970-01-01T00:00:00Z it: oh\n");
        assert_eq!(text(us.syslog("it")), format!("<27>it[{pid}]: oh\0"));
        let said = "worker 2 (pid 4711): ah ... (17 bytes cut)";
        assert_eq!(text(worker.plain()), format!("{said}\n"));
        assert_eq!(text(worker.dated(Duration::ZERO)), format!("1970-01-01T00:00:00Z {said}\n"));
        assert_eq!(text(worker.syslog("it")), format!("<30>it[{pid}]: {said}\0"));
    }

    #[test]
    fn no_text_can_end_a_line() {
        let tag = Tag { number: 2, pid: Pid::for_test(4711) };
        let worker = Entry { priority: Priority::Info, from: From::Worker(tag), text: b"a\n\0\x1b\tb", cut: 0 };
        let said = "worker 2 (pid 4711): a\\x0a\\x00\\x1b\tb";
        assert_eq!(text(worker.plain()), format!("{said}\n"));
        let dos = Entry { text: b"a\r", ..worker };
        assert_eq!(text(dos.plain()), "worker 2 (pid 4711): a\n");
        assert_eq!(text(worker.syslog("i\nt")), format!("<30>i\\nt[{}]: {said}\0", process::id()));
    }

    #[test]
    fn longest_line_is_an_atomic_write() {
        let tag = Tag { number: 1024, pid: Pid::for_test(i32::MAX) };
        for (byte, cut) in [(b'x', u64::MAX), (0x1b, u64::MAX - Lines::MAX as u64)] {
            let long = [byte; Lines::MAX];
            let entry = Entry { priority: Priority::Info, from: From::Worker(tag), text: &long, cut };
            assert!(entry.dated(Duration::ZERO).len() <= libc::PIPE_BUF);
            assert!(entry.syslog("fcgi-spawn").len() <= libc::PIPE_BUF);
        }
    }

    #[test]
    fn text_that_grows_is_cut_and_counted() {
        let long = [0x1b; Lines::MAX];
        let entry = Entry { priority: Priority::Info, from: From::Us("it"), text: &long, cut: 7 };
        let shown = Lines::MAX / 4;
        let want = format!("it: {} ... ({} bytes cut)\n", r"\x1b".repeat(shown), Lines::MAX - shown + 7);
        assert_eq!(text(entry.plain()), want);
    }
}
