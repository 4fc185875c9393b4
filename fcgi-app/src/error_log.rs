//! What requests have to say for the log of their web server: FCGI_STDERR.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::mem;

use fcgi_proto::{RecordType, records};

/// The largest content of a record: mod_fcgid logs no more of one than fits its buffer, and HAProxy 2.6.12 dies of one of
/// 16,400 bytes.
const MAX_CONTENT: u16 = 8184;

/// Text kept for a request until it is sent, in bytes.
const MAX_PENDING: usize = 256 << 10;

thread_local! {
    /// What becomes of lines on this thread. Apart from them, so that a request that has nothing to say touches no more.
    static STATE: Cell<State> = const { Cell::new(State::NoRequest) };
    /// What the request under way on this thread has said and not sent.
    static PENDING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request is under way.
    NoRequest,
    /// One is, and has said nothing that was not sent.
    Silent,
    /// It has.
    Pending,
}

/// A place to write log lines to: the error log of the request under way on this thread, else the process's stderr.
///
/// Give it to a logger, and the lines that are logged while a request is answered go to its `FCGI_STDERR`, and so into
/// the error log of its web server, beside what that knows of the request; all other lines go to stderr as ever. nginx,
/// lighttpd, Apache, HAProxy and h2o log them; Caddy throws them away. With `env_logger` it takes this, before
/// [`run`](crate::run), which installs a logger only if there is none:
///
/// ```no_run
/// let logger = env_logger::Target::Pipe(Box::new(fcgi_app::ErrorLog));
/// env_logger::Builder::from_default_env().target(logger).init();
/// ```
///
/// Lines are sent with the end of the answer, as [`Response::error_log`](crate::Response::error_log) says; up to 256
/// KiB wait for that, and what is more goes to stderr. Threads that a handler starts have no request.
///
/// # Errors
/// Those of writing to stderr.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorLog;

impl Write for ErrorLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if append(bytes) { Ok(()) } else { io::stderr().write_all(bytes) }
    }

    /// What is formatted is one line: control characters in it, line ends among them, are escaped, but for a last one.
    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let mut formatted = String::new();
        fmt::write(&mut formatted, text).map_err(io::Error::other)?;
        let text = formatted;
        let (line, end) = text.strip_suffix('\n').map_or((&text[..], ""), |line| (line, "\n"));
        self.write_all((escaped(line) + end).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text of which some may be another's: its control characters neither end a line of a log nor speak to a terminal.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() && c != '\t' { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line
}

/// Adds to what the request under way has to say; `false` if there is no request or no room.
fn append(bytes: &[u8]) -> bool {
    let append = |pending: &RefCell<Vec<u8>>| {
        // Borrowed only if an allocator logs; and then what it says cannot wait.
        let Ok(mut pending) = pending.try_borrow_mut() else { return false };
        let fits = pending.len() + bytes.len() <= MAX_PENDING;
        if fits {
            pending.extend_from_slice(bytes);
            STATE.set(State::Pending);
        }
        fits
    };
    STATE.get() != State::NoRequest && PENDING.try_with(append).unwrap_or(false)
}

/// What was said and not sent.
fn take_pending() -> Vec<u8> {
    PENDING.with_borrow_mut(mem::take)
}

/// That a request is under way on this thread. One within another, as a test of a handler may be, has a log of its own.
pub(crate) struct Scope {
    outer: State,
    outer_pending: Vec<u8>,
    /// Whether something was sent, so that the stream has to be ended.
    is_open: bool,
    _of_this_thread: PhantomData<*const ()>,
}

impl Scope {
    pub(crate) fn enter() -> Self {
        let outer = STATE.replace(State::Silent);
        let outer_pending = if outer == State::Pending { take_pending() } else { Vec::new() };
        Self { outer, outer_pending, is_open: false, _of_this_thread: PhantomData }
    }

    /// Takes what is to be sent, in whole lines.
    pub(crate) fn take(&mut self) -> Lines {
        if STATE.get() != State::Pending {
            return Lines::default();
        }
        STATE.set(State::Silent);
        let mut text = take_pending();
        self.is_open |= !text.is_empty();
        if text.last().is_some_and(|&last| last != b'\n') {
            text.push(b'\n');
        }
        Lines(text)
    }

    /// Whether something was taken, so that the stream has to be ended.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if STATE.replace(self.outer) == State::Pending {
            Lines(take_pending()).spill();
        }
        if self.outer == State::Pending {
            PENDING.set(mem::take(&mut self.outer_pending));
        }
    }
}

/// Whole lines for a web server's log.
#[derive(Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records that say them, one for each, as web servers log them: nginx no more than 2 KiB of a record, and
    /// several as C strings. Control characters become `?`, so that they never speak to a terminal.
    pub(crate) fn records(&self, id: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in self.0.split_inclusive(|&byte| byte == b'\n') {
            for (header, content) in records(RecordType::Stderr, id, line, MAX_CONTENT) {
                bytes.extend(header.encode());
                let is_text = |byte: u8| matches!(byte, b'\n' | b'\t') || !byte.is_ascii_control();
                bytes.extend(content.iter().map(|&byte| if is_text(byte) { byte } else { b'?' }));
            }
        }
        bytes
    }

    /// Says them on the process's stderr, since the web server does not hear them.
    pub(crate) fn spill(&self) {
        if !self.is_empty() {
            // Nobody is left to be told.
            let _ = io::stderr().write_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_records() {
        #[track_caller]
        fn check(text: &[u8], want: &[&[u8]]) {
            let mut records = &Lines(text.to_vec()).records(0x102)[..];
            let mut got = Vec::new();
            while let &[1, 7, 1, 2, hi, lo, 0, 0, ref rest @ ..] = records {
                let (content, rest) = rest.split_at(usize::from(hi) << 8 | usize::from(lo));
                got.push(content);
                records = rest;
            }
            assert_eq!((records, &got[..]), (&b""[..], want));
        }
        check(b"", &[]);
        check(b"one\n\ntwo\n", &[b"one\n", b"\n", b"two\n"]);
        check(b"a\0b\x1b[0m\tc\r\n", &[b"a?b?[0m\tc?\n"]);
        let long = [&[b'x'; 8184][..], b"\n"].concat();
        check(&long[1..], &[&long[1..]]);
        check(&long, &[&long[..8184], b"\n"]);
    }

    #[test]
    fn lines_belong_to_the_innermost_request_of_their_thread() {
        assert!(!append(b"nobody's"));
        let mut outer = Scope::enter();
        assert!(append(b"out"));
        {
            let mut inner = Scope::enter();
            ErrorLog.write_all(b"in\n").expect("nothing is written");
            assert_eq!(inner.take().0, b"in\n");
            assert!(inner.is_open());
        }
        assert!(!std::thread::spawn(|| append(b"another's")).join().expect("no panic"));
        assert!(append(b"er"));
        assert_eq!(outer.take().0, b"outer\n");
        assert!(outer.take().is_empty());
        drop(outer);
        assert!(!append(b"nobody's"));
    }

    #[test]
    fn what_waits_is_limited() {
        let mut scope = Scope::enter();
        assert!(append(&[b'x'; MAX_PENDING]));
        assert!(!append(b"y"));
        assert_eq!(scope.take().0.len(), MAX_PENDING + 1);
        assert!(append(b"y"));
        scope.take();
    }
}
